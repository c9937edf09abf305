"""Mutations that keep a file readable far enough to reach what lies behind its first parser.

Each mutator takes the bytes of a file, a random generator and libFuzzer's own mutation of bytes, and returns other bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from onnx import ModelProto

from nuqconv.frontends.caffe.schema import NetParameter, message_class

__all__ = ["MUTATORS", "Mutator"]

Raw = Callable[[bytes], bytes]
Mutator = Callable[[bytes, Random, Raw], bytes]

_INTEGERS = (0, 1, 2, 3, 16, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-300, 1e38, 1e300, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", "data", "conv1", "a", "\n", "\0", ";", '"', "../x", "é", "x" * 300, "Convolution", "ReLU", "Input")
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\w.+-]+|\s+|.', re.DOTALL)
_WORDS = (
    *(
        b"layer",
        b"layers",
        b"name:",
        b"type:",
        b"bottom:",
        b"top:",
        b"{",
        b"}",
        b"[",
        b"]",
        b"<",
        b">",
        b":",
        b",",
        b";",
        b"#",
    ),
    *(
        b'"data"',
        b'"a"',
        b'"\\377"',
        b'"\\n"',
        b"true",
        b"nan",
        b"inf",
        b"-1",
        b"0",
        b"99999999999",
        b"1e999",
        b"0x",
        b"input_dim: 1",
    ),
    *(
        b"convolution_param {",
        b"pooling_param {",
        b"inner_product_param {",
        b"reshape_param {",
        b"blobs {",
        b"include {",
        b"param {",
    ),
)
_LARGEST = 1 << 20


def _number(random: Random) -> int:
    number = random.choice((*_INTEGERS, random.randrange(40)))
    return -number if random.random() < 0.3 else number


def _scalar(field: FieldDescriptor, random: Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice((*_FLOATS, random.uniform(-4, 4)))
    if field.cpp_type == field.CPPTYPE_BOOL:
        return random.random() < 0.5
    if field.cpp_type == field.CPPTYPE_ENUM:
        return random.choice(field.enum_type.values).number
    if field.cpp_type == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return random.randbytes(random.choice((0, 1, 3, 4, 16, 36)))
        return random.choice(_TEXTS)
    return _number(random)


def _messages(message: Any, found: list[Any]) -> list[Any]:
    found.append(message)
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            for item in value if hasattr(value, "append") else (value,):
                _messages(item, found)
    return found


def _change_message(root: Any, random: Random) -> None:
    """Changes one field somewhere below a message."""
    message = random.choice(_messages(root, []))
    present = message.ListFields()
    if present and random.random() < 0.6:
        field, value = random.choice(present)
    else:
        field = random.choice(message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
    if random.random() < 0.15:
        message.ClearField(field.name)
    elif not hasattr(value, "append"):
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            value.SetInParent()
        else:
            setattr(message, field.name, _scalar(field, random))
    elif len(value) and random.random() < 0.5:
        place, action = random.randrange(len(value)), random.randrange(3)
        if action == 0:
            del value[place]
        elif action == 1:
            value.extend([value[place]])
        elif field.cpp_type != field.CPPTYPE_MESSAGE:
            value[place] = _scalar(field, random)
    elif field.cpp_type == field.CPPTYPE_MESSAGE:
        value.add()
    else:
        value.extend([_scalar(field, random)] * random.choice((1, 1, 1, 2, 4, 40)))


def _changed(root: Any, random: Random) -> None:
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        # A number may not fit its field.
        try:
            _change_message(root, random)
        except (ValueError, TypeError, OverflowError):
            continue


def _binary(make: Callable[[], Any]) -> Mutator:
    def mutate(data: bytes, random: Random, raw: Raw) -> bytes:
        message = make()
        try:
            message.ParseFromString(data)
        except DecodeError:
            return raw(data)
        if random.random() < 0.2:
            return raw(data)
        _changed(message, random)
        return bytes(message.SerializeToString())

    return mutate


def _tokens(data: bytes, random: Random, raw: Raw) -> bytes:
    del raw
    tokens = _TOKEN.findall(data[:_LARGEST])
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(tokens) + 1)
        end = min(len(tokens), place + random.choice((1, 1, 2, 8, 30)))
        action = random.randrange(5)
        if action == 0:
            del tokens[place:end]
        elif action == 1:
            tokens[place:place] = tokens[place:end] * random.choice((1, 1, 2, 20))
        elif action == 2:
            tokens[place:place] = [b" ", random.choice(_WORDS), b" "]
        elif action == 3:
            tokens[place:end] = [random.choice(_WORDS) if random.random() < 0.5 else str(_number(random)).encode()]
        elif tokens:
            tokens[place:end] = [random.choice(tokens)]
    return b"".join(tokens)


def _prototxt(data: bytes, random: Random, raw: Raw) -> bytes:
    choice = random.random()
    if choice < 0.2:
        return raw(data)
    if choice < 0.6:
        return _tokens(data, random, raw)
    message = NetParameter()
    try:
        text_format.Parse(data.decode(), message, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError):
        return _tokens(data, random, raw)
    _changed(message, random)
    return str(text_format.MessageToString(message)).encode("utf-8", "replace")


def _text(data: bytes, random: Random, raw: Raw) -> bytes:
    return raw(data) if random.random() < 0.3 else _tokens(data, random, raw)


def _bytes(data: bytes, random: Random, raw: Raw) -> bytes:
    del random
    return raw(data)


def _leaf(random: Random) -> Any:
    return random.choice(
        (None, True, False, [], {}, _number(random), random.choice(_FLOATS), random.choice(_TEXTS), "\ud800", 10**400)
    )


def _places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found.append((tree, key))
        _places(value, found)
    return found


def _change_tree(tree: Any, random: Random) -> Any:
    places = _places(tree, [])
    if not places or random.random() < 0.05:
        return _leaf(random)
    holder, key = random.choice(places)
    other_holder, other_key = random.choice(places)
    action = random.randrange(5)
    if action == 0:
        del holder[key]
    elif action == 1:
        holder[key] = _leaf(random)
    elif action == 2:
        holder[key] = json.loads(json.dumps(other_holder[other_key]))
    elif isinstance(holder, dict):
        name = random.choice((*_TEXTS, *(str(item) for _, item in places)))
        holder[name] = holder.pop(key) if action == 3 else _leaf(random)
    else:
        holder.insert(key, _leaf(random))
    return tree


def _json(data: bytes, random: Random, raw: Raw) -> bytes:
    if random.random() < 0.2:
        return raw(data)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return raw(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        tree = _change_tree(tree, random)
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):
        return raw(data)


def _npz(data: bytes, random: Random, raw: Raw) -> bytes:
    """Mutates a member and packs it again, with the right checksum."""
    if random.random() < 0.3:
        return raw(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [[info.filename, archive.read(info)] for info in archive.infolist() if info.file_size < _LARGEST]
    except Exception:  # noqa: BLE001 - zipfile raises many kinds for damaged files
        return raw(data)
    if not members:
        return raw(data)
    chosen = random.choice(members)
    if random.random() < 0.2:
        members.append([random.choice(("label.npy", "scale.npy", "data.npy", "x")), chosen[1]])
    else:
        start = 10 if random.random() < 0.7 else 0
        header, rest = chosen[1][:128], chosen[1][128:]
        chosen[1] = header[:start] + _text(header[start:], random, raw)[:60_000] + rest
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _frames(data: bytes, random: Random, raw: Raw) -> bytes:
    if random.random() < 0.2 or len(data) < 8:
        return raw(data)
    (length,) = struct.unpack("<I", data[4:8])
    header, rest = _json(data[8 : 8 + length], random, raw), data[8 + length :]
    return data[:4] + struct.pack("<I", len(header)) + header + (raw(rest) if random.random() < 0.2 else rest)


def _integers(data: bytes, random: Random, raw: Raw) -> bytes:
    line, newline, rest = data.partition(b"\n")
    return raw(data) if random.random() < 0.2 else _json(line, random, raw) + newline + rest


_COLUMNS = {
    "trials": [
        "number",
        "step",
        "digest",
        "plan",
        "metric",
        "accepted",
        "bytes",
        "float_layers",
        "seconds",
        "worker",
        "finished",
    ],
    "search": ["created", "original", "float_bytes", "space"],
}


def _journal(data: bytes, random: Random, raw: Raw) -> bytes:
    """Writes anything into a cell, with SQLite's own means."""
    if random.random() < 0.3:
        return raw(data)
    with tempfile.NamedTemporaryFile(suffix=".journal") as file:
        file.write(data)
        file.flush()
        try:
            with contextlib.closing(sqlite3.connect(file.name, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
                table = random.choice(list(_COLUMNS))
                column = random.choice(_COLUMNS[table])
                old = connection.execute(f"SELECT {column} FROM {table}").fetchone()
                value = (
                    _json(old[0].encode(), random, raw).decode("utf-8", "replace")
                    if old and isinstance(old[0], str)
                    else 0
                )
                value = (
                    value
                    if random.random() < 0.5
                    else random.choice((*_FLOATS, *_INTEGERS[:-1], *_TEXTS, None, b"\xff"))
                )
                connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        except (sqlite3.Error, OverflowError, UnicodeError):
            return raw(data)
        return Path(file.name).read_bytes()


_DATUM: Any = message_class("AnnotatedDatum")

MUTATORS: Mapping[str, Mutator] = {
    "prototxt": _prototxt,
    "convert": _prototxt,
    "caffemodel": _binary(NetParameter),
    "config": _json,
    "definition": _text,
    "mapping": _json,
    "record": _text,
    "plan": _json,
    "integers": _integers,
    "npz": _npz,
    "onnx": _binary(ModelProto),
    "network": _binary(ModelProto),
    "frames": _frames,
    "inspect": _json,
    "preparation": _json,
    "picture": _bytes,
    "datum": _binary(_DATUM),
    "list": _text,
    "labels": _text,
    "annotation": _text,
    "words": _text,
    "aipp": _text,
    "mnn": _json,
    "data_layer": _prototxt,
    "codebooks": _json,
    "results": _npz,
    "journal": _journal,
}
