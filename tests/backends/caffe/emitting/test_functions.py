"""Functions of one and two blobs, each in real Caffe against numpy in float64."""

import math

import numpy as np
import pytest

from nuqconv.backends.caffe.emitting.functions import FUNCTIONS
from nuqconv.backends.caffe.emitting.pairs import PAIRS, part_of

from .test_parts import floats, probe

pytestmark = pytest.mark.caffe

_erf = np.vectorize(math.erf)
_NUMPY = {
    "abs": np.abs,
    "ceil": np.ceil,
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "log": np.log,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "neg": np.negative,
    "not": lambda x: 1 - x,
    "positive": lambda x: x > 0,
    "reciprocal": np.reciprocal,
    "round": np.rint,
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_of_one_blob(judge, name):
    data = np.concatenate([np.linspace(-8, 8, 398, dtype=np.float32), np.float32([0, 0.5])]).reshape(2, 4, 5, 10)
    if name in ("log", "sqrt"):
        data = np.abs(data) + np.float32(1e-3)
    elif name == "reciprocal":
        data[data == 0] = 1
    elif name == "not":
        data = (data > 0).astype(np.float32)
    probe(
        judge,
        FUNCTIONS[name],
        lambda x: _NUMPY[name](x.astype(np.float64)).astype(np.float32),
        data,
        exact=name in ("abs", "ceil", "floor", "neg", "not", "positive", "round", "sign"),
        rtol=3e-6,
        atol=5e-7,
    )


_PAIRS = {
    "add": np.add,
    "and": np.multiply,
    "div": np.divide,
    "equal": np.equal,
    "greater": np.greater,
    "greater_or_equal": np.greater_equal,
    "less": np.less,
    "less_or_equal": np.less_equal,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "or": np.maximum,
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


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_functions_of_two_blobs(judge, name, left, right):
    x, y = floats(*left), floats(*right, seed=5)
    if name in ("and", "or", "xor"):
        x, y = (x > 0).astype(np.float32), (y > 0).astype(np.float32)
    elif name in ("equal", "greater_or_equal", "less_or_equal"):
        x, y = np.rint(x), np.rint(y)
    probe(
        judge,
        PAIRS[name],
        lambda x, y: _PAIRS[name](x, y).astype(np.float32),
        x,
        y,
        exact=name != "div",
        rtol=1e-6,
    )


def test_parts():
    assert part_of((2, 4, 5), (4, 1)) == (1, (4,))
    assert part_of((1, 4, 5), (1, 4, 1)) == (0, (1, 4))
    assert part_of((2, 4, 5), (2, 1, 5)) is None
    assert part_of((2, 4, 5), (1, 1)) == (0, ())
    assert part_of((4,), (2, 4)) is None
