"""Signal to noise, cosine and the largest difference, summed up over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nuqconv.comparison.noise import Noise, NoiseSum
from nuqconv.errors import ModelError


def of(*pairs):
    found = NoiseSum()
    for a, b in pairs:
        found.add(np.asarray(a, np.float32), np.asarray(b, np.float32))
    return found.noise()


def test_as_numpy_says():
    rng = np.random.default_rng(3)
    wanted = rng.normal(size=(7, 3, 5)).astype(np.float32)
    found = (wanted + rng.normal(size=wanted.shape) * 0.01).astype(np.float32)
    noise = of((found, wanted))
    one, two = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    assert noise.relative == pytest.approx(np.linalg.norm(one - two) / np.linalg.norm(two), rel=1e-12)
    assert noise.cosine == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two), rel=1e-12)
    assert noise.largest == np.abs(one - two).max()
    assert noise.snr_db == pytest.approx(10 * np.log10((two**2).sum() / ((one - two) ** 2).sum()))


def test_batches_make_one_whole():
    rng = np.random.default_rng(4)
    found, wanted = rng.normal(size=(2, 12, 4))
    parts = of(*((found[i : i + 5], wanted[i : i + 5]) for i in (0, 5, 10)))
    whole = of((found, wanted))
    assert (parts.relative, parts.cosine) == pytest.approx((whole.relative, whole.cosine), rel=1e-12)
    assert parts.largest == whole.largest


def test_shapes_may_differ_in_axes():
    assert of((np.ones((2, 3)), np.ones((2, 3, 1, 1)))).relative == 0
    with pytest.raises(ModelError, match=r"a value of shape \(2,\) cannot be held against one of shape \(3,\)"):
        of((np.ones(2), np.ones(3)))


@pytest.mark.parametrize(
    ("found", "wanted", "relative", "cosine", "snr"),
    [
        ([0, 0], [0, 0], 0, 1, math.inf),
        ([1, 0], [0, 0], math.inf, 0, -math.inf),
        ([0, 0], [3, 4], 1, 0, 0),
        ([3, 4], [3, 4], 0, 1, math.inf),
        ([-3, -4], [3, 4], 2, -1, -20 * math.log10(2)),
    ],
)
def test_limits(found, wanted, relative, cosine, snr):
    noise = of((found, wanted))
    assert (noise.relative, noise.cosine) == (relative, pytest.approx(cosine))
    assert noise.snr_db == pytest.approx(snr)


def test_for_json():
    assert Noise(0.0123456, 0.99992377, 0.0123456).to_object() == {
        "snr_db": 38.17,
        "cosine": 0.999924,
        "largest": 0.01235,
    }
    assert Noise(0, 1, 0).to_object() == {"snr_db": None, "cosine": 1, "largest": 0}
