"""Include and exclude rules."""

import pytest
from google.protobuf import text_format

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.phase import NetState, is_included
from nuqconv.frontends.caffe.schema import LayerParameter


@pytest.mark.parametrize(
    ("rules", "state", "expected"),
    [
        ("", NetState(), True),
        ("include { phase: TEST }", NetState(), True),
        ("include { phase: TRAIN }", NetState(), False),
        ("include { phase: TRAIN } include { stage: 'deploy' }", NetState(stages=frozenset({"deploy"})), True),
        ("include { stage: 'a' stage: 'b' }", NetState(stages=frozenset({"a"})), False),
        ("include { not_stage: 'a' }", NetState(stages=frozenset({"a"})), False),
        ("include { min_level: 1 }", NetState(), False),
        ("include { min_level: 1 max_level: 3 }", NetState(level=2), True),
        ("include { max_level: 1 }", NetState(level=2), False),
        ("exclude { phase: TEST }", NetState(), False),
        ("exclude { phase: TEST stage: 'x' }", NetState(), True),
        ("exclude { phase: TRAIN } exclude { phase: TEST }", NetState(), False),
        ("exclude { phase: TEST }", NetState("TRAIN"), True),
    ],
)
def test_rules(rules, state, expected):
    assert is_included(text_format.Parse(rules, LayerParameter()), state) is expected


def test_both_kinds_are_refused():
    layer = text_format.Parse("name: 'x' include { phase: TEST } exclude { phase: TRAIN }", LayerParameter())
    with pytest.raises(ModelError, match="'x'"):
        is_included(layer, NetState())
