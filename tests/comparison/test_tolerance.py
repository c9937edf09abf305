"""Tolerances of blobs, shares of numbers, the smallest that would pass, a function of the user's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nuqconv import CompareOptions, compare
from nuqconv.comparison import Tolerance, compare_blob
from nuqconv.comparison.measure import QUANTILES
from nuqconv.comparison.tolerance import Needed, Tolerances, parse_tolerances
from nuqconv.errors import ConfigError
from tests.comparison.test_layer_errors import chain

ORT = ("onnxruntime", "onnxruntime")


def compared(a, b, tolerance):
    return compare_blob("x", "layer", "Type", a, b, tolerance)


def two_digits_less(number):
    digit = 10.0 ** (np.floor(np.log10(number)) - 1)
    return number - 1.01 * digit


@pytest.mark.parametrize("quantile", [1.0, 0.9])
@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_tolerances_pass_and_smaller_ones_do_not(seed, quantile):
    rng = np.random.default_rng(seed)
    b = rng.standard_normal(200) * 10.0 ** rng.integers(-3, 4)
    a = b + rng.standard_normal(200) * 10.0 ** rng.integers(-6, 1)
    tolerance = Tolerance(1e-5, 1e-6, quantile)
    found = compared(a, b, tolerance)
    needed = found.needed
    for key in ("rtol", "atol"):
        value = getattr(needed, key)
        assert compared(a, b, replace(tolerance, **{key: value})).agrees
        if value:
            assert not compared(a, b, replace(tolerance, **{key: max(0.0, two_digits_less(value))})).agrees
    assert found.agrees == (needed.rtol <= tolerance.rtol and needed.atol <= tolerance.atol)


def test_what_no_tolerance_accepts():
    tolerance = Tolerance(quantile=0.5)
    assert compared(np.array([1.0, 2]), np.array([1.0, np.nan]), tolerance).needed is None
    assert not compared(np.array([1.0, 2]), np.array([1.0, np.nan]), tolerance).agrees
    assert compared(np.ones((2, 3)), np.ones((3, 2)), tolerance).needed is None
    assert compared(np.array([0.5]), np.array([0.0]), tolerance).needed == Needed(None, 0.51)
    assert compared(np.ones(3), np.ones(3), tolerance).needed == Needed(0.0, 0.0)
    assert Needed.of_all([Needed(0.1, 0.3), Needed(None, 0.2)]) == Needed(None, 0.3)
    assert Needed.of_all([Needed(0.1, 0.3), None]) is None


def test_quantiles_are_those_of_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1000)).astype(np.float32)
    found = compared(a, b, Tolerance())
    errors = np.abs(a.astype(np.float64) - b)
    for share in QUANTILES:
        assert found.quantiles[share] == pytest.approx(np.quantile(errors, share, method="inverted_cdf"), rel=1e-6)
    # Blobs larger than a part are summed up as a whole.
    a, b = rng.standard_normal((2, 600_001)).astype(np.float32).astype(np.float64)
    found = compared(a, b, Tolerance(0.1, 0.1))
    wrong = np.abs(a.astype(np.float64) - b) > 0.1 * max(1, np.abs(b).max()) + 0.1 * np.abs(b.astype(np.float64))
    assert found.differing == np.count_nonzero(wrong)
    assert found.relative == pytest.approx(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b), rel=1e-9)
    assert found.cosine == pytest.approx(a.astype(np.float64) @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-5)


def test_a_share_of_the_numbers():
    b = np.zeros(1000)
    a = b.copy()
    a[:10] = 1
    assert compared(a, b, Tolerance(0, 0, 0.99)).agrees
    assert not compared(a, b, Tolerance(0, 0, 0.991)).agrees
    assert compared(a, b, Tolerance(0, 0, 0.99)).differing == 10


def test_tolerances_by_name_and_pattern():
    default = Tolerance(1e-3, 1e-5)
    found = parse_tolerances(["fc*:rtol=1e-2", "fc1:atol=1", "a:b:quantile=0.9,rtol=2"], default)
    assert found["a:b"] == Tolerance(2, 1e-5, 0.9)
    tolerances = Tolerances(default, found)
    assert tolerances.of("fc1") == Tolerance(1e-3, 1)
    assert tolerances.of("fc7") == Tolerance(1e-2, 1e-5)
    assert tolerances.of("conv") == default
    tolerances.check(["fc1", "a:b"])
    with pytest.raises(ConfigError, match="'a:b' fits none of the 1 blobs: fc1"):
        tolerances.check(["fc1"])
    with pytest.raises(ConfigError) as caught:
        parse_tolerances(["fc", "fc:1", "fc:rtol=x", "fc:size=1", ":rtol=1", "fc:rtol=-1", "fc:quantile=2"], default)
    assert len(caught.value.problems) == 7


@pytest.fixture(scope="module")
def pair():
    """A net, and one whose first bias is another: all blobs differ, by about a hundredth."""
    graph = chain(np.random.default_rng(0), layers=2)
    return graph, replace(graph, params={**graph.params, "conv0/1": graph.params["conv0/1"] + np.float32(0.01)})


def test_each_blob_has_its_tolerance_in_a_comparison(pair):
    loose = Tolerance(1, 1)
    report = compare(*pair, runtimes=ORT, options=CompareOptions(tolerances={"*0": loose, "conv1": loose}))
    assert [row.name for row in report.blobs if not row.agrees] == ["relu1"]
    assert report.blob["relu0"].tolerance == loose
    # What is said of smaller tolerances is about the blobs that have the common one.
    needed = report.columns[0].needed
    passes = CompareOptions(tolerance=Tolerance(1e-3, needed.atol), tolerances={"*0": loose, "conv1": loose})
    assert compare(*pair, runtimes=ORT, options=passes).agrees
    with pytest.raises(ConfigError, match="'nothing' fits none"):
        compare(*pair, runtimes=ORT, options=CompareOptions(tolerances={"nothing": loose}))


def test_a_function_decides(pair):
    seen = []

    def near(name, found, reference):
        seen.append((name, found.shape, reference.shape))
        return np.abs(found - reference).max() < 1 if name != "conv1" else (False, "I do not like it")

    report = compare(*pair, runtimes=ORT, options=CompareOptions(function=near))
    assert [(row.name, row.said) for row in report.blobs if not row.agrees] == [("conv1", "I do not like it")]
    assert [root.layer for root in report.roots] == ["conv1"]
    assert {name for name, _, _ in seen} == {"conv0", "relu0", "conv1", "relu1"}
    for wrong, message in ((lambda *_: "yes", "returned 'yes'"), (lambda *_: 1 / 0, "raised ZeroDivisionError")):
        with pytest.raises(ConfigError, match=message):
            compare(*pair, runtimes=ORT, options=CompareOptions(function=wrong))


def test_options_out_of_range():
    for wrong in ({"rtol": -1}, {"atol": float("nan")}, {"quantile": 0}, {"quantile": 1.1}):
        with pytest.raises(ConfigError):
            Tolerance(**wrong)
    with pytest.raises(ConfigError, match="memory 0"):
        CompareOptions(memory=0)
