"""Models as the configuration sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from nuqconv.config import LayerFacts
from nuqconv.errors import NuqconvError


def conv(name: str, shape: tuple[int, ...] = (64, 64, 3, 3), size: int = 56, *, nuq: bool = True) -> LayerFacts:
    return LayerFacts(name, "Convolution", True, nuq, "" if nuq else "group is 2", shape, (size, size))


NET = (
    conv("conv1"),
    conv("conv2"),
    conv("grouped", nuq=False),
    LayerFacts("relu1", "ReLU", False, False, "ReLU has nothing to quantize"),
    LayerFacts("up", "Deconvolution", True, False, "a Deconvolution has no NUQ", (8, 8, 2, 2), (112, 112)),
    LayerFacts("pool", "Pooling", True, False, "Pooling has no weights", None, (1, 1)),
    LayerFacts("maxpool", "Pooling", False, False, "only AVE can be quantized"),
    LayerFacts("fc", "InnerProduct", True, True, "", (10, 64)),
)


def problems(error: type[NuqconvError], call: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
    """Returns the problems of the error that a call raises."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return list(caught.value.problems)


def holds(found: list[str], *patterns: str) -> None:
    """Checks that there is one problem for each pattern, and no other."""
    assert len(found) == len(patterns), found
    for pattern in patterns:
        assert any(re.search(pattern, problem) for problem in found), (pattern, found)


def resnet50() -> list[LayerFacts]:
    """ResNet-50 v1 for 224 x 224 as its Caffe model has it: the first 1x1 of a stage strides."""
    layers = [conv("conv1", (64, 3, 7, 7), 112)]
    inputs = 64
    for stage, (width, blocks, size) in enumerate([(64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)], 2):
        for block in "abcdef"[:blocks]:
            name = f"res{stage}{block}_branch"
            if block == "a":
                layers.append(conv(f"{name}1", (4 * width, inputs, 1, 1), size))
            layers.append(conv(f"{name}2a", (width, inputs, 1, 1), size))
            layers.append(conv(f"{name}2b", (width, width, 3, 3), size))
            layers.append(conv(f"{name}2c", (4 * width, width, 1, 1), size))
            inputs = 4 * width
    return [*layers, LayerFacts("fc1000", "InnerProduct", True, True, "", (1000, 2048))]
