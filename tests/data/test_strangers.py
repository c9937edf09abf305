"""Files of strangers, changed at random: they are read, or refused with an error of this package."""

from __future__ import annotations

import contextlib
import io
import json
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.data import open_data
from nuqconv.data.labels import read_classes, read_labels, read_voc
from nuqconv.data.pictures import Channels, decode
from nuqconv.data.preparation import MeanImage, read_preparation
from nuqconv.errors import NuqconvError
from tests.data.test_preparation import AIPP
from tests.data.test_sources import LABEL_MAP, VOC
from tests.support.datasets import AnnotatedDatum, image, picture, raw_datum, write_lmdb, write_mean

RNG = np.random.default_rng(0)


def encoded(kind: str) -> bytes:
    data = io.BytesIO()
    image(picture(RNG, 12, 12)).save(data, kind)
    return data.getvalue()


def database(path, data: bytes) -> None:
    write_lmdb(path.with_suffix(""), [data])
    list(open_data(path.with_suffix("")).batches(1))


def mean(path) -> bytes:
    return write_mean(path, np.ones((3, 2, 2))).read_bytes()


LAYER = (
    'layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 3 mean_value: 1 scale: 0.5 mirror: true } '
    'data_param { source: "x" backend: LMDB } }'
)
MNN = json.dumps({"format": "RGB", "mean": [1, 2.5, 3], "normal": [0.5], "width": 3, "height": 4, "path": "x"})
ANNOTATED = AnnotatedDatum(datum=raw_datum(np.ones((1, 2, 2), np.uint8), 3))
ANNOTATED.annotation_group.add(group_label=2).annotation.add().bbox.xmax = 0.5

READERS = {
    "aipp": (AIPP.encode(), ".cfg", lambda path, _: read_preparation(path)),
    "words": (
        b"bgr, resize short 256 area, crop 3x4 at 1 2, mean 1 2 3",
        ".txt",
        lambda path, _: read_preparation(path),
    ),
    "ncnn": (b"mean=[1,2,3] norm=[1,1,1] shape=[3,4,3] pixel=BGR", ".txt", lambda path, _: read_preparation(path)),
    "mnn": (MNN.encode(), ".json", lambda path, _: read_preparation(path)),
    "data layer": (LAYER.encode(), ".prototxt", lambda path, _: read_preparation(path)),
    "list": (b"a.png 1\r\nb c.png 2\nd.png\te f\n", ".txt", lambda path, _: open_data(path)),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(600), ".h5", lambda path, _: open_data(path)),
    "datum": (raw_datum(np.ones((1, 2, 2), np.float32), 3).SerializeToString(), ".mdb", database),
    "annotated": (ANNOTATED.SerializeToString(), ".mdb", database),
    "labels": (b"a 1\nb 2\nc 3\n", ".txt", lambda path, _: read_labels(path, ["x/a.png", "x/b.png", "x/c.png"])),
    "classes": (LABEL_MAP.encode(), ".prototxt", lambda path, _: read_classes(path)),
    "voc": (VOC.encode(), ".xml", lambda path, _: read_voc(path, {"dog": 1, "cat": 2})),
    "mean": (None, ".binaryproto", lambda path, _: MeanImage.read(path)),
    **{
        kind: (encoded(kind), f".{kind}", lambda path, data: decode(data, Channels.COLOUR, str(path)))
        for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
    },
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_errors_of_this_package(tmp_path_factory, name, data):
    content, suffix, read = READERS[name]
    path = tmp_path_factory.mktemp("stranger") / f"file{suffix}"
    changed = bytearray(mean(path) if content is None else content)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, max(0, len(changed) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "twice"]))
        if kind == "set" and changed:
            changed[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[place:]
        elif kind == "insert":
            changed[place:place] = data.draw(st.binary(max_size=8))
        else:
            changed[place:place] = changed[place : place + 30]
    path.write_bytes(bytes(changed))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(NuqconvError):
            read(path, bytes(changed))
