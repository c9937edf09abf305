"""Functions of one and two blobs, each in real Caffe against numpy in float64."""

import math

import numpy as np
import pytest

from nuqconv.backends.caffe.emitting.parts.functions import FUNCTIONS
from nuqconv.backends.caffe.emitting.parts.pairs import PAIRS, part_of
from nuqconv.ir import Graph, Input, Node

from .test_parts import Probe, floats, probe

pytestmark = pytest.mark.caffe

_erf = np.vectorize(math.erf)
_NUMPY = {
    "abs": np.abs,
    "acosh": np.arccosh,
    "asinh": np.arcsinh,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cosh": np.cosh,
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "log": np.log,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "neg": np.negative,
    "nonzero": lambda x: x != 0,
    "not": lambda x: 1 - x,
    "positive": lambda x: x > 0,
    "reciprocal": np.reciprocal,
    "round": np.rint,
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "sinh": np.sinh,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "trunc": np.trunc,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_of_one_blob(judge, name):
    data = np.concatenate([np.linspace(-8, 8, 398, dtype=np.float32), np.float32([0, 0.5])]).reshape(2, 4, 5, 10)
    if name in ("log", "sqrt"):
        data = np.abs(data) + np.float32(1e-3)
    elif name == "acosh":
        data = np.abs(data) + np.float32(1)
    elif name == "atanh":
        data = data / np.float32(8.1)
    elif name == "reciprocal":
        data[data == 0] = 1
    elif name == "not":
        data = (data > 0).astype(np.float32)
    probe(
        judge,
        FUNCTIONS[name],
        lambda x: _NUMPY[name](x.astype(np.float64)).astype(np.float32),
        data,
        exact=name in ("abs", "ceil", "floor", "neg", "nonzero", "not", "positive", "round", "sign", "trunc"),
        rtol=3e-6,
        atol=5e-7,
    )


_PAIRS = {
    "add": np.add,
    "and": np.multiply,
    "div": np.divide,
    "equal": np.equal,
    "fmod": np.fmod,
    "integer_div": lambda x, y: np.trunc(x.astype(np.float64) / y),
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "max": np.maximum,
    "min": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "or": np.maximum,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "sub": np.subtract,
    "xor": np.not_equal,
}
SHAPES = [
    ((2, 4, 5, 3), (2, 4, 5, 3)),
    ((2, 4, 5, 3), (2, 4, 1, 1)),
    ((2, 4, 1, 1), (2, 4, 5, 3)),
    ((2, 4, 5, 3), (4, 1, 1)),
    ((2, 4, 5, 3), (3,)),
    ((2, 4, 5, 3), (1,)),
    ((2, 4, 1, 3), (2, 1, 5, 3)),
    ((2, 4, 5, 3), (2, 1, 1, 3)),
    ((4, 1), (5,)),
    ((3,), (2, 4, 1)),
]


GROUPS = {
    "numbers": ("add", "greater", "less", "max", "min", "mul", "prelu", "sub"),
    "quotients": ("div",),
    "equals": ("equal", "greater_equal", "less_equal"),
    "truth": ("and", "or", "xor"),
    "whole numbers": ("fmod", "integer_div", "mod"),
}


def test_every_function_is_in_a_group():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(PAIRS)


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_functions_of_two_blobs(judge, group, left, right):
    x, y = floats(*left), floats(*right, seed=5)
    if group == "truth":
        x, y = (x > 0).astype(np.float32), (y > 0).astype(np.float32)
    elif group == "equals":
        x, y = np.rint(x), np.rint(y)
    elif group == "whole numbers":
        x, y = np.rint(x * np.float32(40)), np.rint(y * np.float32(4))
        y[y == 0] = 7
    wanted = {name: _PAIRS[name](x, y).astype(np.float32) for name in GROUPS[group]}
    nodes = tuple(Node(f"{name}_", Probe(PAIRS[name], wanted[name].shape), ("x", "y"), (name,)) for name in wanted)
    graph = Graph("pairs", (Input("x", left), Input("y", right)), nodes, {}, tuple(wanted))
    judge.check(graph, wanted, feeds={"x": x, "y": y}, exact=group != "quotients", rtol=1e-6)


def test_parts():
    assert part_of((2, 4, 5), (4, 1)) == (1, (4,))
    assert part_of((1, 4, 5), (1, 4, 1)) == (0, (1, 4))
    assert part_of((2, 4, 5), (2, 1, 5)) is None
    assert part_of((2, 4, 5), (1, 1)) == (0, ())
    assert part_of((4,), (2, 4)) is None


@pytest.mark.parametrize("name", ["fmod", "mod", "integer_div"])
def test_whole_numbers_divide_exactly(judge, name):
    rng = np.random.default_rng(0)
    divisors = rng.integers(1, 3000, 2000) * rng.choice([-1, 1], 2000)
    numbers = divisors * rng.integers(0, 3000, 2000) + rng.integers(-1, 2, 2000)
    x, y = numbers.astype(np.float32).reshape(2, -1), divisors.astype(np.float32).reshape(2, -1)
    assert np.abs(numbers).max() < 2**24
    probe(judge, PAIRS[name], lambda x, y: _PAIRS[name](x, y).astype(np.float32), x, y)
