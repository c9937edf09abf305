"""docs/layers.md says what the registries say."""

from __future__ import annotations

import build_layer_table
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES


def test_the_table_is_current():
    text = build_layer_table.TARGET.read_text(encoding="utf-8")
    assert text == build_layer_table.table(), "run python tools/build_layer_table.py"


def test_every_type_that_is_read_is_there():
    rows = build_layer_table.table().splitlines()
    for name in LAYER_TYPES:
        assert sum(row.startswith(f"| {name} |") for row in rows) == 1


def test_what_is_told():
    assert build_layer_table.row("InnerProduct")[:6] == ("InnerProduct", "InnerProduct", "yes", "yes", "yes", "yes")
    assert build_layer_table.row("Convolution")[6] == "NUQ needs dilation 1; NUQ needs group 1"
    assert build_layer_table.row("Pooling")[4:6] == ("yes", "")
    assert build_layer_table.row("SoftmaxWithLoss")[1] == "cut off, see formats.md"
    assert build_layer_table.row("NobodyKnows") == ("NobodyKnows", "kept", "", "yes", "", "", "")
