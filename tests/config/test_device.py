"""The device's own rule, held against its published decisions for ResNet-50."""

from __future__ import annotations

import math

import pytest

from nuqconv.config import DEFAULT_DDR_RATE, DeviceRule, LayerFacts
from nuqconv.errors import ConfigError

from .facts import NET, conv, holds, problems, resnet50

COMPRESSED = [
    "res5a_branch1",
    *(f"res5{block}_branch{part}" for block in "abc" for part in ("2a", "2b", "2c")),
    "fc1000",
]


@pytest.mark.parametrize("rate", [49.24, 50, 64, DEFAULT_DDR_RATE, 120, 159.9, 160])
def test_published_resnet50(rate: float) -> None:
    layers = resnet50()
    assert sum(layer.type == "Convolution" for layer in layers) == 53
    assert list(DeviceRule(rate).select(layers)) == COMPRESSED


@pytest.mark.parametrize("rate", [49.2, 160.1])
def test_outside_the_range_another_choice_is_made(rate: float) -> None:
    assert list(DeviceRule(rate).select(resnet50())) != COMPRESSED


def test_conditions_one_by_one() -> None:
    rule = DeviceRule(1)
    assert rule.compresses(conv("c", (512, 1024, 1, 1), 1))
    assert not rule.compresses(conv("c", (512, 512, 1, 1), 1)), "262144 bytes are not more than 262144"
    assert rule.compresses(conv("c", (512, 513, 1, 1), 1))
    assert not rule.compresses(conv("c", (513, 513, 1, 1), 1)), "not a multiple of 512"
    assert not rule.compresses(LayerFacts("d", "Deconvolution", True, False, "", (512, 1024, 1, 1), (1, 1)))
    assert rule.compresses(LayerFacts("fc", "InnerProduct", True, True, "", (3, 5)))


def test_only_nuq_capable_layers_are_chosen() -> None:
    assert DeviceRule().select([conv("c", (512, 1024, 1, 1), 1, nuq=False)]) == ()
    assert DeviceRule().select(NET) == ("fc",)


def test_unknown_shapes_are_named() -> None:
    layers = [
        LayerFacts("a", "Convolution", True, True, "", (8, 8, 3, 3), None),
        LayerFacts("b", "Convolution", True, True),
    ]
    holds(problems(ConfigError, DeviceRule().select, layers), "layer 'a'.*None", "layer 'b'.*shape None")


@pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf, True, "64"])
def test_wrong_rate(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"device_rule.ddr_rate: found .*; expected a finite number above 0"):
        DeviceRule(rate)
