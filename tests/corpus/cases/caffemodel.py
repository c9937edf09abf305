"""Trained weights; the net beside them is the small valid one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.frontends.caffe.schema import NetParameter
from tests.corpus.cases.case import Case

__all__ = ["CASES"]

VALID = Path(__file__).parents[1] / "valid" / "model.caffemodel"


def _net() -> Any:
    net = NetParameter()
    net.ParseFromString(VALID.read_bytes())
    return net


def _bytes(net: Any) -> bytes:
    data: bytes = net.SerializeToString(deterministic=True)
    return data


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    net = _net()
    change({layer.name: layer for layer in net.layer})
    return _bytes(net)


def _case(name: str, data: bytes | Callable[[], bytes], error: str, text: str) -> Case:
    return Case("caffemodel", name, data, error, text)


def _numbers(blob: Any, *numbers: float) -> None:
    """Puts numbers at the front of a blob."""
    array = np.frombuffer(b"".join(blob.data), "<f4").copy()
    array[: len(numbers)] = numbers
    del blob.data[:]
    blob.data.append(array.tobytes())


def _shape(*dims: int) -> bytes:
    def change(layers: dict[str, Any]) -> None:
        layers["conv1"].blobs[0].shape.dim[:] = dims

    return _changed(change)


def _legacy(**sizes: int) -> bytes:
    def change(layers: dict[str, Any]) -> None:
        blob = layers["conv1"].blobs[0]
        blob.ClearField("shape")
        for name, size in sizes.items():
            setattr(blob, name, size)

    return _changed(change)


def _doubles(layers: dict[str, Any]) -> None:
    blob = layers["conv1"].blobs[0]
    del blob.data[:]
    blob.double_data.append(np.full(216, 1e300).tobytes())


def _nothing_of_much(layers: dict[str, Any]) -> None:
    blob = layers["conv1"].blobs[0]
    del blob.data[:]
    blob.shape.dim[:] = [0, 2**62, 2**62]


def _raw(kind: int, data: bytes) -> bytes:
    """conv1 with a blob in raw_data: its type, field 10, is a varint, and the numbers are field 12."""
    blob = bytes([0x50, kind, 0x62, len(data)]) + data
    layer = b"\x0a\x05conv1\x3a" + bytes([len(blob)]) + blob
    return b"\xa2\x06" + bytes([len(layer)]) + layer


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _nested_groups(depth: int) -> bytes:
    # Groups of an unknown field, one in the other.
    return b"\xf3\x3f" * depth + b"\xf4\x3f" * depth


_DATA = VALID.read_bytes()

_BROKEN = (
    _case("empty", b"", "FormatError", "is empty"),
    _case("text", b'layer { name: "a" }', "FormatError", "is no .caffemodel"),
    _case("cut-in-the-middle", _DATA[:4000], "FormatError", "truncated or damaged"),
    _case("cut-at-the-end", _DATA[:-1], "FormatError", "truncated or damaged"),
    _case("ones", b"\xff" * 64, "FormatError", "truncated or damaged"),
    _case("zeros", bytes(64), "FormatError", "truncated or damaged"),
    _case("length-huge", b"\xa2\x06" + _varint(2**62), "FormatError", "truncated or damaged"),
    _case("length-4-gigabytes", b"\xa2\x06" + _varint(2**32 - 1) + b"abc", "FormatError", "truncated or damaged"),
    _case("varint-endless", b"\xa2\x06" + b"\xff" * 40, "FormatError", "truncated or damaged"),
    _case("field-number-0", b"\x00\x01", "FormatError", "truncated or damaged"),
    _case("groups-deep", _nested_groups(10_000), "FormatError", "truncated or damaged"),
    _case("group-never-ends", b"\xf3\x3f", "FormatError", "truncated or damaged"),
    _case("only-a-name", b"\x0a\x01x", "FormatError", "holds no layer"),
    _case("only-unknown-fields", b"\xf8\x3f\x01", "FormatError", "holds no layer"),
    _case("name-not-utf8", _field(100, b"\x0a\x02\xff\xfe"), "FormatError", "UTF-8"),
    _case("v1-name-not-utf8", _field(2, b"\x22\x02\xff\xfe"), "FormatError", "UTF-8"),
    _case("v0-type", _field(2, _field(1, b"\x0a\x01a\x12\x04warp")), "ModelError", "no layer type 'warp'"),
    _case("v0-type-not-utf8", _field(2, _field(1, b"\x0a\x01a\x12\x02\xff\xfe")), "FormatError", "UTF-8"),
    _case("name-newline", _field(100, b"\x0a\x03a\nb" + _field(7, b"")), "ModelError", "control character"),
    _case("name-long", _field(100, _field(1, b"n" * 10_000)), "ModelError", "characters long"),
)

_BLOBS = (
    _case("shape-zero", _shape(0, 3, 3, 3), "ModelError", "but its shape is 0x3x3x3"),
    _case("shape-negative", _shape(-8, 3, -3, 3), "ModelError", "but its shape is -8x3x-3x3"),
    _case("shape-huge", _shape(2**31, 2**31, 4, 4), "ModelError", "holds 216 numbers"),
    _case("shape-overflows-to-fit", _shape(2**61, 2**61, 216, 1), "ModelError", "holds 216 numbers"),
    _case("shape-zero-and-huge", _changed(_nothing_of_much), "ModelError", "holds 0 numbers"),
    _case("shape-minimum", _shape(-(2**63), 2), "ModelError", "holds 216 numbers"),
    _case("shape-33-axes", _shape(216, *[1] * 32), "ModelError", "33 axes"),
    _case("shape-100-axes", _shape(*[1] * 100, 216), "ModelError", "101 axes"),
    _case("shape-10000-axes", _shape(*[2] * 10_000), "ModelError", "10000 axes"),
    _case("shape-other", _shape(216), "ModelError", "parameters have shapes 216"),
    _case("legacy-negative", _legacy(num=-8, channels=-3, height=3, width=3), "ModelError", "-8x-3x3x3"),
    _case("legacy-huge", _legacy(num=2**31 - 1, channels=2**31 - 1, height=2**31 - 1, width=4), "ModelError", "216"),
    _case(
        "no-numbers",
        _changed(lambda layers: layers["conv1"].blobs[0].ClearField("data")),
        "ModelError",
        "holds 0 numbers",
    ),
    _case(
        "ragged",
        _changed(lambda layers: layers["conv1"].blobs[0].data.append(b"abc")),
        "ModelError",
        "no multiple of 4",
    ),
    _case(
        "too-many",
        _changed(lambda layers: layers["conv1"].blobs[0].data.append(b"abcd")),
        "ModelError",
        "holds 217 numbers",
    ),
    _case("nan", _changed(lambda layers: _numbers(layers["conv1"].blobs[0], np.nan)), "ModelError", "NaN or infinite"),
    _case(
        "infinite",
        _changed(lambda layers: _numbers(layers["fc"].blobs[1], 1, -np.inf)),
        "ModelError",
        "NaN or infinite",
    ),
    _case("double-overflows", _changed(_doubles), "ModelError", "NaN or infinite"),
    _case(
        "varints-cut",
        _changed(
            lambda layers: (
                layers["conv1"].blobs[0].ClearField("data")
                or setattr(layers["conv1"].blobs[0], "uint64_data", b"\x80\x80")
            )
        ),
        "ModelError",
        "cut off",
    ),
    _case(
        "varints-long",
        _changed(
            lambda layers: (
                layers["conv1"].blobs[0].ClearField("data")
                or setattr(layers["conv1"].blobs[0], "uint64_data", b"\xff" * 11 + b"\x01")
            )
        ),
        "ModelError",
        "more than 10 bytes",
    ),
    _case("no-blobs", _changed(lambda layers: layers["conv1"].ClearField("blobs")), "ModelError", "has 0 blobs"),
    _case(
        "blobs-many",
        _changed(lambda layers: [layers["conv1"].blobs.add() for _ in range(1000)]),
        "ModelError",
        "has 1001 blobs",
    ),
    _case("raw-type", _raw(3, b"abcd"), "ModelError", "raw_data_type 3"),
    _case("raw-ragged", _raw(1, b"abc"), "ModelError", "raw_data_type 1 and 3 bytes"),
    _case("raw-overflows", _raw(0, np.full(4, 1e300).tobytes()), "ModelError", "holds 4 numbers"),
)

_LARGE = (
    _case("large-layers", lambda: b"\xa2\x06\x00" * 330_000, "FormatError", "330000 layers"),
    _case(
        "large-blobs", lambda: _field(100, b"\x0a\x05conv1" + b"\x3a\x00" * 490_000), "ModelError", "has 490000 blobs"
    ),
    _case("large-v1-layers", lambda: b"\x12\x00" * 490_000, "FormatError", "490000 layers"),
    _case(
        "large-v0-layers", lambda: _field(2, _field(1, b"\x12\x04warp")) * 90_000, "ModelError", "no layer type 'warp'"
    ),
    _case("large-v1-rates", lambda: _field(2, _field(7, bytes(990_000))), "ModelError", "needs 1 blobs"),
    _case(
        "large-dims",
        lambda: _field(100, b"\x0a\x05conv1" + _field(7, _field(7, _field(1, b"\x02" * 990_000)))),
        "ModelError",
        "990000 axes",
    ),
    _case(
        "large-dims-of-10-bytes",
        lambda: _field(100, b"\x0a\x05conv1" + _field(7, _field(7, _field(1, (b"\xff" * 8 + b"\x7f") * 110_000)))),
        "ModelError",
        "110000 axes",
    ),
    _case(
        "large-pieces",
        lambda: _field(100, b"\x0a\x05conv1" + _field(7, b"\x2a\x00" * 490_000)),
        "ModelError",
        "holds 0 numbers",
    ),
    _case("large-unknown", lambda: b"\xf8\x3f\x01" * 330_000, "FormatError", "holds no layer"),
)

CASES = _BROKEN + _BLOBS + _LARGE
