"""Headers of the child's frames: whatever they are, a header or an error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import CaffeProcessError, OnnxProcessError
from nuqconv.runtimes.caffe.process import CAFFE
from nuqconv.runtimes.child.frames import header_length, read_header
from nuqconv.runtimes.onnxruntime.isolated import ONNXRUNTIME

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ok", "arrays", "error", "a"]), inner),
)
shapes = st.lists(st.integers(0, 5), max_size=4)


@given(st.dictionaries(st.text(), st.integers()), st.lists(st.tuples(st.text(), shapes)))
def test_a_header_comes_back(fields, arrays):
    header = {**fields, "ok": True, "arrays": arrays}
    found, announced = read_header(json.dumps(header).encode(), CAFFE)
    assert found == {key: value for key, value in header.items() if key != "arrays"}
    assert announced == [(name, tuple(shape), "<f4") for name, shape in arrays]


@given(st.binary() | trees.map(lambda tree: json.dumps(tree).encode()))
def test_anything_else_is_refused(text):
    try:
        fields, arrays = read_header(text, CAFFE)
    except CaffeProcessError:
        return
    assert isinstance(fields["ok"], bool)
    assert all(isinstance(name, str) and all(type(size) is int for size in shape) for name, shape, _ in arrays)


@pytest.mark.parametrize(
    ("shape", "accepted"),
    [
        ([2**31 - 1], True),
        ([2**31], False),
        ([0, 2**62], False),
        ([1] * 32, True),
        ([1] * 33, False),
        ([2**16, 2**15], False),
        ([-1], False),
        ([True], False),
        ([1.0], False),
    ],
)
def test_sizes_are_those_of_a_blob(shape, accepted):
    text = json.dumps({"ok": True, "arrays": [["a", shape]]}).encode()
    if accepted:
        assert read_header(text, CAFFE)[1] == [("a", tuple(shape), "<f4")]
    else:
        with pytest.raises(CaffeProcessError, match="array 'a'"):
            read_header(text, CAFFE)


def test_lengths():
    assert header_length(2**26, CAFFE) == 2**26
    with pytest.raises(CaffeProcessError, match="announces a header of 67108865 bytes"):
        header_length(2**26 + 1, CAFFE)


def test_a_key_that_comes_twice_is_refused():
    with pytest.raises(CaffeProcessError, match="come twice in one object"):
        read_header(b'{"ok": false, "ok": true, "arrays": []}', CAFFE)


@pytest.mark.parametrize(
    ("dtype", "kinds"),
    [
        ("<f4", (CAFFE, ONNXRUNTIME)),
        ("<f8", (ONNXRUNTIME,)),
        ("|b1", (ONNXRUNTIME,)),
        ("O", ()),
        ("|O", ()),
        ("<U9", ()),
        ("V8", ()),
        (">f4", ()),
        ("<f4,<f4", ()),
        (["<f4"], ()),
        (4, ()),
        (None, ()),
    ],
)
def test_only_numbers_come_as_arrays(dtype, kinds):
    """Of all that numpy makes of bytes, objects are pointers."""
    text = json.dumps({"ok": True, "arrays": [["a", [2], dtype]]}).encode()
    for kind in (CAFFE, ONNXRUNTIME):
        if kind in kinds:
            assert read_header(text, kind)[1] == [("a", (2,), dtype)]
        else:
            with pytest.raises(
                kind.error, match=f"^{kind.name} answered with a damaged header: array 'a' has the type"
            ):
                read_header(text, kind)


def test_an_array_of_four_parts_is_refused():
    with pytest.raises(OnnxProcessError, match="is no pair of name and shape"):
        read_header(b'{"ok": true, "arrays": [["a", [2], "<f4", 1]]}', ONNXRUNTIME)
