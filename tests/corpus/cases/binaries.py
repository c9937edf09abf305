"""Data sets, stored integers, frames of the Caffe process, and what `inspect` is shown."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from tests.corpus.cases.case import Case

__all__ = ["CASES", "results"]

DATA = np.zeros((2, 3, 4, 4), np.float32)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _header(shape: str, kind: str = "<f4", more: str = "") -> bytes:
    """A .npy file whose header says anything, without data."""
    text = (
        f"{{'descr': {kind if kind.startswith('[') else repr(kind)}, 'fortran_order': False, 'shape': {shape}, {more}}}"
    )
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


def _zip(*members: tuple[str, bytes], compressed: bool = False) -> bytes:
    file = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive,
    ):
        # A name may come twice here.
        warnings.simplefilter("ignore")
        for name, data in members:
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            archive.writestr(info, data)
    return file.getvalue()


def _npz(**arrays: np.ndarray | bytes) -> bytes:
    return _zip(*((f"{name}.npy", data if isinstance(data, bytes) else _npy(data)) for name, data in arrays.items()))


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def _declared_size(data: bytes, size: int) -> bytes:
    """The archive with another uncompressed size in its directory."""
    start = data.rindex(b"PK\x01\x02")
    return data[: start + 24] + struct.pack("<I", size) + data[start + 28 :]


def _pickled() -> bytes:
    # What numpy writes for objects: a header of type O and a pickle, here one that would call a function.
    return _header("(1,)", "|O") + b"cos\nsystem\n(S'true'\ntR."


def _case(target: str, name: str, data: bytes | Callable[[], bytes], error: str, text: str) -> Case:
    return Case(target, name, data, error, text)


def _data(name: str, data: bytes | Callable[[], bytes], text: str) -> Case:
    return _case("npz", name, data, "FormatError", text)


_GOOD = _npz(data=DATA)

_NPZ = (
    _data("empty", b"", "is no .npz file"),
    _data("text", b"data: 1", "is no .npz file"),
    _data("cut", _GOOD[:-30], "is no .npz file"),
    _data("cut-in-the-middle", _GOOD[:100], "is no .npz file"),
    _data("damaged", _flipped(_GOOD, 200), "is no .npz file"),
    _data("single-array", _npy(DATA), "is a single array"),
    _data("pickle", b"cos\nsystem\n(S'true'\ntR.", "is no .npz file"),
    _data("pickled-array", _npz(data=_pickled()), "is no .npz file"),
    _data("pickled-beside", _npz(data=DATA, other=_pickled()), "is no .npz file"),
    _data("nothing-in-it", _zip(), "is missing"),
    _data("other-files", _zip(("data.txt", b"hello")), "which is no array"),
    _data("name-twice", _zip(("data.npy", _npy(DATA)), ("data.npy", _npy(DATA))), "twice"),
    _data("path-in-name", _zip(("../../data.npy", _npy(DATA))), "is missing"),
    _data("shape-huge", _npz(data=_header("(1000000, 1000000)")), "is no .npz file"),
    _data("shape-overflows", _npz(data=_header(f"({2**62}, 16)")), "is no .npz file"),
    _data("shape-negative", _npz(data=_header("(-1,)")), "is no .npz file"),
    _data("shape-no-tuple", _npz(data=_header("7")), "is no .npz file"),
    _data("shape-deep", _npz(data=_header("(" * 2000 + ")" * 2000)), "is no .npz file"),
    _data("shape-calls", _npz(data=_header("__import__('os').system('true')")), "is no .npz file"),
    _data("shape-200-axes", _npz(data=_header("(" + "1," * 200 + ")")), "is no .npz file"),
    _data("shape-bool", _npz(data=_header("(True, True)") + bytes(4)), "has the shape"),
    _data("type-unknown", _npz(data=_header("(1,)", "<q9")), "is no .npz file"),
    _data("type-huge", _npz(data=_header("(1,)", "|V2147483647")), "is no .npz file"),
    _data("type-fields", _npz(data=_header("(1,)", "[('a', '<f4'), ('a', '<f4')]")), "is no .npz file"),
    _data("key-more", _npz(data=_header("(1,)", "<f4", "'x': 1")), "is no .npz file"),
    _data("version-9", _npz(data=b"\x93NUMPY\x09\x00" + bytes(60)), "is no .npz file"),
    _data("header-cut", _npz(data=b"\x93NUMPY\x01\x00\xff\xff"), "is no .npz file"),
    _data("header-4-gigabytes", _npz(data=b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "is no .npz file"),
    _data("size-declared", _declared_size(_GOOD, 2**32 - 2), "is no .npz file"),
    _data("texts", _npz(data=np.array(["a", "b"])), "expected numbers"),
    _data("complex", _npz(data=np.zeros(2, np.complex64)), "expected numbers"),
    _data("a-number", _npz(data=np.float32(1)), "is a single number"),
    _data("no-samples", _npz(data=np.zeros((0, 3), np.float32)), "at least 1"),
    _data("label-count", _npz(data=DATA, label=np.zeros(3)), "3 labels for 2 samples"),
    _data("label-text", _npz(data=DATA, label=np.array(["a", "b"])), "label"),
    _data("label-fraction", _npz(data=DATA, label=np.array([0.5, 1])), "label"),
    _data("scale-array", _npz(data=DATA, scale=np.ones(3)), "expected one number"),
    _data("scale-nan", _npz(data=DATA, scale=np.float32(np.nan)), "scale"),
    _data("nan", _npz(data=np.full((2, 3), np.nan, np.float32)), "NaN or infinite"),
    _data("infinite", _npz(data=np.full((2, 3), np.inf, np.float32)), "NaN or infinite"),
    _data("double-overflows", _npz(data=np.full((2, 3), 1e300)), "NaN or infinite"),
    _data("large-bomb", lambda: _zip(("data.npy", _npy(np.zeros(2**28, np.int8))), compressed=True), "unpack to"),
    _data("large-members", lambda: _zip(*((f"{n}.npy", _npy(np.zeros(1, np.int8))) for n in range(3_000))), "holds"),
)


ABOUT: dict[str, object] = {
    "kind": "nuqconv results",
    "version": 1,
    "label": "real Caffe: a.prototxt",
    "runtime": "caffe",
    "own": False,
    "files": [],
    "source": "random numbers of seed 0",
    "names": ["ip1"],
    "states": {"ip1": ["ip1@ip1"]},
    "outputs": ["ip1"],
    "layers": {"ip1": ["relu", "ReLU"]},
}


def results(text: str | None = None, **arrays: np.ndarray | bytes) -> bytes:
    """Returns a file of results; ``text`` is what it says of them, ``arrays`` are beside the usual ones or instead of them."""
    said = np.frombuffer((json.dumps(ABOUT) if text is None else text).encode(), np.uint8)
    blobs = {"input/data": DATA, "blob/ip1": DATA, "blob/ip1@ip1": DATA}
    return _npz(**{"about": said, **blobs, **arrays})


def _results(name: str, data: bytes | Callable[[], bytes], text: str) -> Case:
    return _case("results", name, data, "FormatError", text)


_RESULTS = (
    _results("empty", b"", "is no .npz file"),
    _results("of-data", _npz(data=DATA), "holds no results"),
    _results("about-floats", results(about=DATA), "holds no results"),
    _results("about-no-json", results("{"), "is no JSON"),
    _results("about-not-utf8", _npz(about=np.full(3, 255, np.uint8)), "is no JSON"),
    _results("about-deep", results("[" * 10_000), "nested"),
    _results("about-key-twice", results('{"kind": 1, "kind": 2}'), "twice"),
    _results("about-a-list", results("[]"), "object"),
    _results("about-lacks", results("{}"), "no results that this version reads"),
    _results("about-more", results(json.dumps({**ABOUT, "more": 1})), "more"),
    _results("version-2", results(json.dumps({**ABOUT, "version": 2})), "version"),
    _results("names-numbers", results(json.dumps({**ABOUT, "names": [1]})), "names"),
    _results("blob-missing", results(json.dumps({**ABOUT, "names": ["ip2"]})), "lacks the results of 'ip2'"),
    _results("blob-texts", results(**{"blob/ip1": np.array(["a"])}), "no numbers"),
    _results("blob-pickled", results(**{"blob/ip1": _pickled()}), "is no .npz file"),
    _results("blob-shape-huge", results(**{"blob/ip1": _header("(1000000, 1000000)")}), "is no .npz file"),
)


def _integers(name: str, header: object, data: bytes, text: str) -> Case:
    line = header if isinstance(header, bytes) else json.dumps(header).encode()
    return _case("integers", name, line + b"\n" + data, "FormatError", text)


_INTEGERS = (
    _case("integers", "empty", b"", "FormatError", "no header"),
    _integers("header-no-json", b"{", b"", "no header"),
    _integers("header-deep", b"[" * 2000, b"", "no header"),
    _integers("header-keys", {"weights": [1], "scales": 1}, bytes(5), "no header"),
    _integers("sizes-huge", {"weights": [2**62, 2**62], "scales": 1, "bias": None}, bytes(9), "have the sizes"),
    _integers("sizes-negative", {"weights": [-4, -1], "scales": 1, "bias": None}, bytes(8), "have the sizes"),
    _integers("sizes-text", {"weights": "4", "scales": 1, "bias": None}, bytes(8), "have the sizes"),
    _integers("sizes-bool", {"weights": [True], "scales": True, "bias": None}, bytes(5), "have the sizes"),
    _integers("axes-many", {"weights": [1] * 200, "scales": 1, "bias": None}, bytes(5), "have the sizes"),
    _integers("sizes-zero-and-huge", {"weights": [0, 2**62, 2**62], "scales": 1, "bias": None}, bytes(4), "sizes"),
)


def _frame(header: object, data: bytes = b"", length: int | None = None, magic: bytes = b"NQC1") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return magic + struct.pack("<I", len(text) if length is None else length) + text + data


def _frames(name: str, data: bytes, text: str) -> Case:
    return _case("frames", name, data, "CaffeProcessError", text)


_FRAMES = (
    _frames("garbage", b"I0101 hello from a print", "is no frame of the protocol"),
    _frames("magic", _frame({"ok": True, "arrays": []}, magic=b"NQC2"), "is no frame of the protocol"),
    _frames("cut", _frame({"ok": True, "arrays": []})[:-3], "end"),
    _frames("header-4-gigabytes", _frame(b"{}", length=2**32 - 1), "a header of 4294967295 bytes"),
    _frames("header-no-json", _frame(b"{]"), "header"),
    _frames("header-not-utf8", _frame(b'"\xff\xfe"'), "header"),
    _frames("header-deep", _frame(b"[" * 10_000), "header"),
    _frames("header-a-list", _frame([]), "header"),
    _frames("header-without-arrays", _frame({"ok": True}), "header"),
    _frames("ok-no-bool", _frame({"ok": "yes", "arrays": []}), "header"),
    _frames("arrays-no-list", _frame({"ok": True, "arrays": 7}), "header"),
    _frames("array-no-pair", _frame({"ok": True, "arrays": [["a"]]}), "header"),
    _frames("array-name", _frame({"ok": True, "arrays": [[1, [1]]]}, bytes(4)), "header"),
    _frames("array-shape-text", _frame({"ok": True, "arrays": [["a", "1"]]}, bytes(4)), "header"),
    _frames("array-type", _frame({"ok": True, "arrays": [["a", [2], "<f8"]]}, bytes(16)), "has the type '<f8'"),
    _frames("array-of-objects", _frame({"ok": True, "arrays": [["a", [2], "|O"]]}, bytes(16)), "has the type '|O'"),
    _frames("array-negative", _frame({"ok": True, "arrays": [["a", [-1]]]}, bytes(4)), "header"),
    _frames("array-huge", _frame({"ok": True, "arrays": [["a", [2**40]]]}, bytes(4)), "header"),
    _frames("array-overflows", _frame({"ok": True, "arrays": [["a", [2**62, 16]]]}, bytes(4)), "header"),
    _frames("array-fraction", _frame({"ok": True, "arrays": [["a", [1.5]]]}, bytes(4)), "header"),
    _frames("array-bool", _frame({"ok": True, "arrays": [["a", [True]]]}, bytes(4)), "header"),
    _frames("array-axes", _frame({"ok": True, "arrays": [["a", [1] * 100]]}, bytes(4)), "header"),
    _frames("array-cut", _frame({"ok": True, "arrays": [["a", [4]]]}, bytes(4)), "end"),
    _frames("error-without-message", _frame({"ok": False, "arrays": []}), "header"),
)


def _inspected(name: str, data: bytes, text: str) -> Case:
    return _case("inspect", name, data, "FormatError", text)


_INSPECT = (
    _inspected("no-json", b"{", "is no JSON file"),
    _inspected("deep", b"[" * 1000 + b"]" * 1000, "nested more than 64 deep"),
    _inspected("a-list", b"[1]", "expected an object"),
    _inspected("not-utf8", b"\xff", "is no text"),
    _inspected("report", b'{"trials": 1}', "is neither"),
    _inspected("report-types", b'{"trials": [], "sizes": [], "original_metric": "x"}', "is neither"),
    _inspected("graph", b'{"graph": {"a": 1}}', "is neither"),
    _inspected("graph-types", b'{"graph": [{"op": [{"type": [], "attr": 1}]}]}', "is neither"),
    _inspected("key-twice", b'{"a": 1, "a": 2}', "come twice"),
)

CASES = (*_NPZ, *_RESULTS, *_INTEGERS, *_FRAMES, *_INSPECT)
