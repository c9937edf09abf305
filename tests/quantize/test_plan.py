"""Plans as values, and their JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import ConfigError, QuantizationError
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.plan import LayerPlan, Plan, Precision

activations = st.builds(ActivationQuant, st.floats(2.0**-126, 2.0**126, width=32), st.integers(-128, 127))
books = st.sets(st.integers(-128, 127), min_size=1, max_size=32).map(lambda levels: tuple(sorted(levels)))
layer_plans = st.one_of(
    st.builds(LayerPlan, st.just(Precision.FLOAT), channel_wise=st.booleans()),
    st.builds(LayerPlan, st.just(Precision.INT8), activation=st.none() | activations, channel_wise=st.booleans()),
    st.builds(
        lambda book, room, activation: LayerPlan(Precision.NUQ, book, min(256, len(book) + room), activation),
        books,
        st.integers(0, 32),
        st.none() | activations,
    ),
)
plans = st.dictionaries(st.text(max_size=12), layer_plans, max_size=6).map(Plan.of)

INT8 = LayerPlan(Precision.INT8, activation=ActivationQuant(0.5, -14))
NUQ = LayerPlan(Precision.NUQ, (-5, 0, 9), 16, ActivationQuant(float(np.float32(1.0745)), -14))
FLOAT = LayerPlan(Precision.FLOAT)
PLAN = Plan.of({"conv1": INT8, "conv2": NUQ, "fc": FLOAT})


@given(plans)
def test_json_gives_the_same_plan_back(plan):
    text = plan.to_json()
    again = Plan.from_json(text)
    assert again == plan
    assert list(again) == list(plan)
    assert hash(again) == hash(plan)
    assert again.to_json() == text
    assert again.digest() == plan.digest()
    assert text.isascii()


@given(plans, plans)
def test_digests_tell_plans_apart(a, b):
    assert (a == b) == (a.digest() == b.digest())


def test_golden_text():
    assert PLAN.to_json() == (
        '{"version":1,"layers":{'
        '"conv1":{"precision":"int8","channel_wise":true,"num_steps":null,"codebook":null,'
        '"activation":{"scale":0.5,"offset":-14}},'
        '"conv2":{"precision":"nuq","channel_wise":true,"num_steps":16,"codebook":[-5,0,9],'
        '"activation":{"scale":1.0744999647140503,"offset":-14}},'
        '"fc":{"precision":"float","channel_wise":true,"num_steps":null,"codebook":null,"activation":null}}}'
    )
    assert PLAN.digest() == "084d03c79848dff6be314d3caebe3d2a4a1c98ddcd937c7eae64d7f04974f9dc"


def test_a_plan_is_a_mapping_in_order():
    assert list(PLAN) == ["conv1", "conv2", "fc"]
    assert len(PLAN) == 3
    assert PLAN["conv2"] is NUQ
    assert PLAN.get("nothing") is None
    assert "fc" in PLAN
    assert dict(PLAN.items()) == {"conv1": INT8, "conv2": NUQ, "fc": FLOAT}
    with pytest.raises(KeyError):
        PLAN["nothing"]
    assert Plan.of([("a", INT8), ("b", FLOAT)]) != Plan.of([("b", FLOAT), ("a", INT8)])
    assert len({PLAN, Plan(PLAN.layers)}) == 1
    assert Plan() == Plan.of({})


def test_exchanging_layers():
    changed = PLAN.replace("conv1", NUQ)
    assert changed["conv1"] is NUQ
    assert list(changed) == list(PLAN)
    assert PLAN["conv1"] is INT8
    assert PLAN.with_layers({}) == PLAN
    assert PLAN.with_layers({"fc": INT8, "conv1": FLOAT}) == Plan.of({"conv1": FLOAT, "conv2": NUQ, "fc": INT8})
    with pytest.raises(QuantizationError, match=r"no such layers[\s\S]*'x'[\s\S]*'y'"):
        PLAN.with_layers({"x": INT8, "fc": INT8, "y": INT8})


def test_plans_cannot_be_changed():
    with pytest.raises(AttributeError):
        PLAN.layers = ()
    with pytest.raises(AttributeError):
        INT8.precision = Precision.FLOAT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "int8"}, "must be a Precision"),
        ({"precision": Precision.INT8, "codebook": (1,)}, "belong to a nuq layer"),
        ({"precision": Precision.FLOAT, "num_steps": 16}, "belong to a nuq layer"),
        ({"precision": Precision.FLOAT, "activation": ActivationQuant(1.0, 0)}, "float layer has no activation"),
        ({"precision": Precision.INT8, "activation": (1.0, 0)}, "must be an ActivationQuant"),
        ({"precision": Precision.INT8, "channel_wise": 1}, "channel_wise"),
        ({"precision": Precision.NUQ}, "num_steps"),
        ({"precision": Precision.NUQ, "codebook": (1,), "num_steps": True}, "num_steps"),
        ({"precision": Precision.NUQ, "codebook": (1,), "num_steps": 257}, "num_steps"),
        ({"precision": Precision.NUQ, "num_steps": 16}, "tuple of integers"),
        ({"precision": Precision.NUQ, "codebook": (), "num_steps": 16}, "tuple of integers"),
        ({"precision": Precision.NUQ, "codebook": [1, 2], "num_steps": 16}, "tuple of integers"),
        ({"precision": Precision.NUQ, "codebook": (1, 2.0), "num_steps": 16}, "tuple of integers"),
        ({"precision": Precision.NUQ, "codebook": (1, 2, 3), "num_steps": 2}, "3 levels, more than num_steps 2"),
        ({"precision": Precision.NUQ, "codebook": (2, 1), "num_steps": 16}, "strictly ascending"),
        ({"precision": Precision.NUQ, "codebook": (1, 1), "num_steps": 16}, "strictly ascending"),
        ({"precision": Precision.NUQ, "codebook": (-129, 1), "num_steps": 16}, "strictly ascending"),
        ({"precision": Precision.NUQ, "codebook": (1, 128), "num_steps": 16}, "strictly ascending"),
    ],
)
def test_layer_plans_that_make_no_sense(fields, message):
    with pytest.raises(QuantizationError, match=message):
        LayerPlan(**fields)


def test_plans_that_make_no_sense():
    with pytest.raises(QuantizationError, match="'a' comes twice"):
        Plan((("a", INT8), ("a", FLOAT)))
    with pytest.raises(QuantizationError, match="tuple of pairs"):
        Plan([("a", INT8)])
    with pytest.raises(QuantizationError, match="LayerPlan, found 'a'"):
        Plan((("a", "int8"),))


def edited(*path, value):
    document = json.loads(PLAN.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"version": 1, "version": 1, "layers": {}}', "come twice"),
        ("[]", "top level: found []; expected an object"),
        ('{"layers": {}}', "- version: missing"),
        ('{"version": 2, "layers": {}}', "version: found 2; expected 1"),
        ('{"version": true, "layers": {}}', "version: found true; expected 1"),
        ('{"version": 1, "layers": []}', "layers: found []; expected an object"),
        (edited("extra", value=1), "- extra: unknown key"),
        (edited("layers", "fc", value=None), "layers.fc: found null; expected an object"),
        (edited("layers", "fc", "size", value=1), "layers.fc.size: unknown key"),
        (
            edited("layers", "fc", "precision", value="int4"),
            "layers.fc.precision: found \"int4\"; expected 'float', 'int8' or 'nuq'",
        ),
        (
            edited("layers", "fc", "precision", value=[]),
            "layers.fc.precision: found []; expected 'float', 'int8' or 'nuq'",
        ),
        (edited("layers", "fc", "channel_wise", value=1), "layers.fc.channel_wise: found 1; expected true or false"),
        (edited("layers", "conv2", "num_steps", value=16.0), "layers.conv2.num_steps: found 16.0; expected an integer"),
        (edited("layers", "conv2", "codebook", value="123"), 'layers.conv2.codebook: found "123"; expected a list'),
        (edited("layers", "conv2", "codebook", value=[3, 1]), "layers.conv2: the codebook"),
        (
            edited("layers", "conv2", "codebook", 0, value=-5.0),
            "layers.conv2.codebook[0]: found -5.0; expected an integer",
        ),
        (edited("layers", "conv1", "activation", value=3), "layers.conv1.activation: found 3; expected an object"),
        (edited("layers", "conv1", "activation", value={"scale": 1.0}), "layers.conv1.activation.offset: missing"),
        (
            edited("layers", "conv1", "activation", "scale", value=0.1),
            "layers.conv1.activation: scale must be a float32",
        ),
        (
            edited("layers", "conv1", "activation", "scale", value="1"),
            'layers.conv1.activation.scale: found "1"; expected a number',
        ),
        (
            edited("layers", "conv1", "activation", "scale", value=True),
            "layers.conv1.activation.scale: found true; expected a number",
        ),
        (
            edited("layers", "conv1", "activation", "scale", value=float("nan")),
            "layers.conv1.activation: scale must be",
        ),
        (edited("layers", "conv1", "activation", "scale", value=10**400), "layers.conv1.activation.scale: found 1000"),
        (edited("layers", "conv1", "activation", "offset", value=200), "layers.conv1.activation: offset must lie"),
    ],
)
def test_json_that_is_no_plan(text, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.").replace("[", r"\[")):
        Plan.from_json(text)


def test_all_problems_at_once():
    document = json.loads(PLAN.to_json())
    document["layers"]["conv1"]["activation"]["offset"] = 200
    document["layers"]["fc"]["precision"] = "half"
    with pytest.raises(ConfigError) as caught:
        Plan.from_json(json.dumps(document))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "layers.conv1.activation",
        "layers.fc.precision",
    ]


def test_whole_scales_may_be_written_without_a_point():
    plan = Plan.from_json(edited("layers", "conv1", "activation", "scale", value=2))
    assert plan["conv1"].activation == ActivationQuant(2.0, -14)
