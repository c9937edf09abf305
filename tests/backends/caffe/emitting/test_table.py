"""docs/onnx-to-caffe.md says what the registry says."""

import pytest

import build_caffe_table
from nuqconv.backends.caffe.emitting.registry import emits, refuses
from nuqconv.ir.families import operators
from nuqconv.ir.ops import ReLU


def test_the_table_is_current():
    text = build_caffe_table.TARGET.read_text(encoding="utf-8")
    assert text == build_caffe_table.table(), "run python tools/build_caffe_table.py"


def test_no_operator_is_registered_twice():
    with pytest.raises(ValueError, match="ReLU is registered already"):
        refuses(ReLU, "")
    with pytest.raises(ValueError, match="ReLU is registered already"):
        emits(ReLU, construct="")(lambda b, op: None)


def test_every_operator_is_told():
    rows = build_caffe_table.table()
    missing = [name for name in operators() if f"\n| {name} |" not in rows]
    assert missing == []
