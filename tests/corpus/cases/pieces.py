"""Pieces of network definitions."""

from __future__ import annotations

from tests.corpus.cases.case import Case

__all__ = ["DATA", "RELU", "convolution", "input_of", "layer_of", "net_case"]

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }\n'


def input_of(*dims: int) -> str:
    sizes = " ".join(f"dim: {dim}" for dim in dims)
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {sizes} }} }} }}\n'


def layer_of(kind: str, params: str = "", name: str = "x", more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "data" top: "x" {more} {params} }}\n'


def convolution(params: str, name: str = "conv1") -> str:
    return layer_of("Convolution", f"convolution_param {{ {params} }}", name)


def net_case(name: str, text: str, error: str, message: str) -> Case:
    return Case("prototxt", name, text.encode(), error, message)
