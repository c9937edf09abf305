"""Pictures, records of databases, lists, labels, annotations and preparations."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from nuqconv.frontends.caffe.schema import message_class
from tests.corpus.cases.case import Case

__all__ = ["CASES", "annotated", "datum", "picture", "voc"]


def datum(kind: str = "Datum", **fields: Any) -> bytes:
    """Returns a record of a database."""
    message: Any = message_class(kind)(**fields)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def annotated(*boxes: tuple[float, float, float, float]) -> bytes:
    """Returns a record with boxes."""
    message: Any = message_class("AnnotatedDatum")()
    message.datum.ParseFromString(datum(channels=1, height=2, width=2, data=bytes(4)))
    group = message.annotation_group.add(group_label=1)
    for xmin, ymin, xmax, ymax in boxes:
        box = group.annotation.add().bbox
        box.xmin, box.ymin, box.xmax, box.ymax = xmin, ymin, xmax, ymax
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes = b"", depth: int = 8, colours: int = 2) -> bytes:
    """A PNG that declares any size."""
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", data or zlib.compress(b"", 0))
        + _chunk(b"IEND", b"")
    )


def _case(target: str, error: str) -> Callable[[str, str | bytes | Callable[[], bytes], str], Case]:
    def make(name: str, data: str | bytes | Callable[[], bytes], text: str) -> Case:
        return Case(target, name, data.encode() if isinstance(data, str) else data, error, text)

    return make


def picture() -> bytes:
    """Returns a small picture as a file whose bytes depend on no library's version."""
    rows = b"".join(b"\0" + bytes(range(15 * row, 15 * row + 15)) for row in range(4))
    return _png(5, 4, zlib.compress(rows, 0))


_picture = _case("picture", "FormatError")
_datum = _case("datum", "FormatError")
_list = _case("list", "FormatError")
_labels = _case("labels", "FormatError")
_annotation = _case("annotation", "FormatError")
_words = _case("words", "ConfigError")
_aipp = _case("aipp", "ConfigError")
_mnn = _case("mnn", "ConfigError")
_layer = _case("data_layer", "ConfigError")

_SOUND = picture()
_PICTURES = (
    _picture("empty", b"", "is empty"),
    _picture("text", b"no picture", "is no picture"),
    _picture("cut", _SOUND[:-30], "is no picture"),
    _picture("cut-head", _SOUND[:20], "is no picture"),
    _picture("checksum", _SOUND[:44] + b"\xff" + _SOUND[45:], "is no picture"),
    _picture(
        "jpeg-cut", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x43\0" + bytes(30), "is no picture"
    ),
    _picture("gif-cut", b"GIF89a\5\0\4\0\xf7\0\0" + bytes(7), "is no picture"),
    _picture("size-none", _png(0, 0), "is no picture"),
    _picture("size-a-row-of-gigabytes", _png(2**31 - 1, 1), "is no picture"),
    _picture("size-100-megapixels", _png(10_000, 10_000), "10000x10000, more than"),
    _picture("size-too-many", _png(2**16, 2**16), "is no picture"),
    _picture("data-missing", _png(8000, 8000), "is no picture"),
    _picture("tiff-endless", b"II*\0\x08\0\0\0\xff\xff" + bytes(50), "is no picture"),
    _picture("large-zeros", lambda: _png(30_000, 30_000, zlib.compress(bytes(2**20))), "is no picture"),
)
_RECORDS = (
    _datum("not-protobuf", b"\xff\xff\xff", "is no Datum"),
    _datum("empty", b"", "the record has 0 numbers"),
    _datum("bytes-missing", datum(channels=3, height=2, width=2, data=bytes(11)), "11 bytes, but its shape 3x2x2"),
    _datum("shape-huge", datum(channels=2**31 - 1, height=2**31 - 1, width=4, data=bytes(4)), "4 bytes, but its shape"),
    _datum("shape-negative", datum(channels=-1, height=-1, width=4, data=bytes(4)), "4 bytes, but its shape"),
    _datum("nan", datum(channels=1, height=1, width=1, float_data=[float("nan")]), "NaN or infinity"),
    _datum("picture-broken", datum(encoded=True, data=_SOUND[:60]), "is no picture"),
    _datum("picture-empty", datum(encoded=True), "is empty"),
    _datum("picture-16-bits", datum(encoded=True, data=_png(1, 1, zlib.compress(bytes(7), 0), 16)), "16 bits"),
    _datum("box-nan", annotated((0, 0, float("nan"), 1)), "annotation is wrong"),
)
_LISTS = (
    _list("empty", "", "is empty"),
    _list("blank", "\r\n\n  \n", "is empty"),
    _list("not-utf8", b"a\xff.png 1\n", "is no text file"),
    _list("nowhere", "nowhere.png 0\n", "there is no such file"),
    _list("outside", "../../secret.png 0\nempty.txt 0\n", "leads outside"),
    _list("label-missing", "blank.txt 1\nblank.txt\n", "the label is missing"),
    _list("nul", "a\0b.png 0\nblank.txt 1\n", "there is no such file"),
    _list("large-lines", lambda: b"nowhere.png 1\n" * 60_000, "not one is there"),
    _list("large-one-line", lambda: b"x.png " * 150_000, "not one is there"),
)
_LABELS = (
    _labels("empty", "", "has 0 labels for 2 samples"),
    _labels("not-utf8", b"\xff\xfe1\0", "is no text file"),
    _labels("too-many", "1\n2\n3\n", "has 3 labels for 2 samples"),
    _labels("one-missing", "one.png 1\n", "two.png has no label"),
    _labels("twice", "one.png 1\none.png 2\ntwo.png 1\n", "has a label already"),
    _labels("unknown", "one.png 1\nthree.png 2\n", "names none of the samples"),
    _labels("large", lambda: b"one.png 1\n" * 100_000, "has a label already"),
)
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>{}</ymax></bndbox>"


def voc(*objects: str, size: str = "<width>10</width><height>10</height>") -> str:
    """Returns an annotation."""
    return f"<annotation><size>{size}</size>{''.join(f'<object>{item}</object>' for item in objects)}</annotation>"


_ANNOTATIONS = (
    _annotation("empty", "", "is no XML"),
    _annotation("cut", voc("<name>dog</name>" + BOX.format(5))[:80], "is no XML"),
    _annotation("entities", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    _annotation(
        "entities-utf16", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"), "declares a document type"
    ),
    _annotation("no-size", "<annotation/>", "size/height is ''"),
    _annotation("size-0", voc(size="<width>0</width><height>0</height>"), "the picture's size is 0x0"),
    _annotation("size-nan", voc(size="<width>nan</width><height>1</height>"), "expected a number"),
    _annotation("size-infinite", voc(size="<width>inf</width><height>1</height>"), "expected a number"),
    _annotation("class-unknown", voc("<name>cat</name>" + BOX.format(5)), "'cat' is none of the classes"),
    _annotation("box-text", voc("<name>dog</name>" + BOX.format("five")), "expected a number"),
    _annotation("box-nan", voc("<name>dog</name>" + BOX.format("nan")), "expected a number"),
    _annotation("box-missing", voc("<name>dog</name>"), "expected a number"),
    _annotation("large-objects", lambda: voc(*["<name>cat</name>"] * 10_000).encode(), "none of the classes"),
    _annotation("large-deep", lambda: b"<a>" * 300_000, "is no XML"),
)
_WORDS = (
    _words("unknown", "bgr, blur 3", "'blur' is not known"),
    _words("twice", "bgr, mean 1, mean 2", "is said twice"),
    _words("colour-no-more", "bgr rgb", "nothing is expected behind"),
    _words("size-missing", "resize", "a size is missing"),
    _words("size-0", "resize 0x5", "is no size"),
    _words("size-digits", f"resize {'9' * 5000}", "is no size"),
    _words("crop-at", "crop 5 at 1", "expected crop HEIGHTxWIDTH"),
    _words("mean-nan", "mean nan", "finite numbers"),
    _words("mean-text", "mean a b c", "expected numbers"),
    _words("mean-count", "bgr, mean 1 2", "expected 1 or 3"),
    _words("mean-file", "mean nowhere.binaryproto", "cannot be read"),
    _words("scale-0", "scale 0", "leaves nothing"),
    _words("std-vanishes", "std 1e-60", "leaves nothing"),
    _words("matrix", "matrix 1 2 3", "takes 9 numbers"),
    _words("matrix-digits", f"matrix {' '.join(['9' * 30] * 9)}", "matrix"),
    _words("ncnn-unknown", "mean=[1,2,3] blur=[1]", "'blur' is not known"),
    _words("ncnn-shape", "shape=[0,0,3]", "expected [width,height,channels]"),
    _words("ncnn-shape-infinite", "shape=[inf,1,3]", "expected [width,height,channels]"),
    _words("ncnn-mean", "mean=[a]", "expected numbers"),
    _words("large", lambda: b"blur, " * 100_000, "'blur' is not known"),
    Case("words", "resize-huge", b"resize 100000x100000", "FormatError", "more than the"),
    Case("words", "resize-huge-pad", b"resize pad 100000x100000", "FormatError", "more than the"),
    Case("words", "crop-outside", b"crop 100000x100000", "FormatError", "too small"),
    Case("words", "not-utf8", b"bgr \xff", "FormatError", "no text"),
)
_AIPP = (
    _aipp("unknown", "aipp_op { blur: 1 }", "'blur' is not known"),
    _aipp("two", "aipp_op { } aipp_op { }", "aipp_op"),
    _aipp("size-text", "aipp_op { aipp_mode: static input_format: RGB888_U8 src_image_size_w: a }", "src_image_size_w"),
    _aipp(
        "size-digits",
        f"aipp_op {{ aipp_mode: static input_format: RGB888_U8 src_image_size_w: {'9' * 5000} }}",
        "src_image_size_w",
    ),
    _aipp("factor-nan", "aipp_op { aipp_mode: static input_format: RGB888_U8 var_reci_chn_0: nan }", "var_reci_chn_0"),
    Case("aipp", "never-closed", b"aipp_op {", "FormatError", "is no AIPP configuration"),
    Case("aipp", "deep", b"aipp_op { a " * 3000, "FormatError", "is no AIPP configuration"),
)


def _json(**more: Any) -> str:
    return json.dumps({"format": "BGR", "mean": [1, 2, 3], "normal": [1, 1, 1], "width": 4, "height": 4, **more})


_MNN = (
    _mnn("unknown", _json(blur=1), "'blur' is not known"),
    _mnn("format", _json(format="CMYK"), "format is 'CMYK'"),
    _mnn("format-list", _json(format=[]), "format is"),
    _mnn("mean-text", _json(mean=["a"]), "expected a list of numbers"),
    _mnn("mean-huge", _json(mean=[10**400] * 3), "mean"),
    _mnn("size-0", _json(width=0), "two positive whole numbers"),
    _mnn("size-bool", _json(width=True), "two positive whole numbers"),
    _mnn("crop", _json(center_crop_h=0.8), "is not read"),
    Case("mnn", "cut", b'{"format": ', "FormatError", "is no JSON"),
    Case("mnn", "deep", b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "FormatError", "is no JSON"),
    Case("mnn", "digits", b'{"width": ' + b"9" * 5000 + b"}", "FormatError", "is no JSON"),
)


def _data(body: str, kind: str = "Data", tops: str = 'top: "data"') -> str:
    return f'layer {{ name: "d" type: "{kind}" {tops} {body} }}\n'


_DATA_LAYERS = (
    _layer("none", 'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }', "expected one data layer"),
    _layer("two", _data("") * 2, "expected one data layer"),
    _layer("no-source", _data("data_param { backend: LMDB }"), "names no source"),
    _layer("leveldb", _data('data_param { source: "a" }'), "LEVELDB"),
    _layer("unknown", _data('data_param { source: "a" backend: LMDB blur: 1 }'), "'blur' of data_param is not known"),
    _layer("colours", _data('image_data_param { source: "a" new_height: 3 }', "ImageData"), "Caffe wants both or none"),
    _layer("window", _data('window_data_param { source: "a" }', "WindowData"), "which reads no file"),
    _layer(
        "mean-nan",
        _data('data_param { source: "a" backend: LMDB } transform_param { mean_value: nan }'),
        "finite numbers",
    ),
    Case(
        "data_layer",
        "mean-file",
        _data('data_param { source: "a" backend: LMDB } transform_param { mean_file: "no.binaryproto" }').encode(),
        "FormatError",
        "cannot be read",
    ),
    *(
        Case(
            "data_layer",
            name,
            _data(f'data_param {{ source: "a" backend: LMDB }} transform_param {{ {field} }}').encode(),
            "FormatError",
            text,
        )
        for name, field, text in (
            ("mean-text", 'mean_value: "a"', "Couldn't parse float"),
            ("crop-huge", "crop_size: 99999999999999999999", "out of range"),
        )
    ),
    Case("data_layer", "cut", _data("data_param {").encode()[:-3], "FormatError", "is never closed"),
)
CASES = (
    *_PICTURES,
    *_RECORDS,
    *_LISTS,
    *_LABELS,
    *_ANNOTATIONS,
    *_WORDS,
    *_AIPP,
    *_MNN,
    *_DATA_LAYERS,
)
