"""Integers chosen by the error of a layer's output: against brute force, and against what onnxruntime computes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct
from nuqconv.job.fitted_weights import gather_moments
from nuqconv.quantize import moments as moments_module
from nuqconv.quantize.codebook import assign, histogram, optimal_codebooks
from nuqconv.quantize.compensate import UNIFORM, WeightMethod, solve_layer
from nuqconv.quantize.moments import FewPatches, Moments, MomentSum, patches
from nuqconv.quantize.weights import quantize_weights, weight_importance, weight_scales
from nuqconv.runtimes.onnxruntime.session import OnnxSession

LAYERS = {
    "plain": (Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), (6, 4, 3, 3)),
    "stride, dilation, pad": (Convolution(6, (3, 2), (2, 1), (2, 1), (2, 1)), (6, 4, 3, 2)),
    "groups": (Convolution(6, (3, 3), (1, 1), (0, 0), (1, 1), 2), (6, 2, 3, 3)),
    "depthwise": (Convolution(4, (3, 3), (1, 1), (1, 1), (1, 1), 4), (4, 1, 3, 3)),
    "deconvolution": (Deconvolution(5, (4, 4), (2, 2), (1, 1), (1, 1)), (4, 5, 4, 4)),
    "inner product": (InnerProduct(7), (7, 4 * 9 * 8)),
}


def layer(kind, bias=True, seed=0):
    op, shape = LAYERS[kind]
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=shape).astype(np.float32)
    offset = rng.normal(size=op.num_output).astype(np.float32)
    # Inputs that go together and have a mean, as behind a ReLU.
    x = rng.normal(size=(40, 4, 9, 8))
    mixed = np.einsum("ij,njhw->nihw", rng.normal(size=(4, 4)), x)
    return op, weights, offset if bias else None, np.maximum(mixed + np.roll(mixed, 1, 3), 0).astype(np.float32)


def output(op, weights, bias, x):
    params = {"w": weights} | ({} if bias is None else {"b": bias})
    node = Node("layer", replace(op, bias_term=bias is not None), ("data",), ("y",), tuple(params))
    graph = Graph("net", (Input("data", x.shape),), (node,), params, ("y",)).verify()
    return OnnxSession(graph).run({"data": x})["y"].astype(np.float64), graph


def moments_of(op, x, weights):
    rows = patches(op, x)
    total = MomentSum(rows.shape[1], rows.shape[2])
    total.update(rows)
    assert op.to_matrix(weights).shape[::2] == rows.shape[1:]
    return total.moments()


def solved(kind, method=None, steps=(16,), bias=True, **options):
    op, weights, offset, x = layer(kind, bias)
    axis = None if isinstance(op, InnerProduct) else op.weight_output_axis
    scales = weight_scales(weights, axis)
    moments = moments_of(op, x, weights)
    found = solve_layer(op, weights, offset, scales, moments, steps, method or WeightMethod(), **options)
    return op, weights, offset, x, axis, scales, found


def dequantized(weights, scales, axis):
    shape = [1] * weights.ndim
    if scales.size > 1:
        shape[axis] = -1
    return weights.astype(np.float32) * scales.reshape(shape)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_error_is_what_onnxruntime_shows(kind, bias):
    op, weights, offset, x, axis, _, found = solved(kind, steps=(4, 16), bias=bias)
    exact, _ = output(op, weights, offset, x)
    signal, _ = output(op, weights, None, x)
    for solution in found:
        new_bias = None if solution.bias is None else solution.bias.astype(np.float32)
        assert (new_bias is None) == (not bias)
        got, _ = output(op, dequantized(solution.weights, solution.scales, axis), new_bias, x)
        measured = np.square(got - exact).sum() / np.square(signal).sum()
        assert solution.error == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("kind", LAYERS)
def test_better_than_the_nearest_levels_of_the_best_codebook(kind):
    op, weights, offset, x, axis, scales, found = solved(kind, steps=(4, 16))
    exact, _ = output(op, weights, offset, x)
    own = quantize_weights(weights, scales, axis)
    curve = optimal_codebooks(histogram(own, weight_importance(scales, axis, weights.shape)))
    for steps, solution in zip((4, 16), found, strict=True):
        assert len(solution.codebook) <= steps
        assert set(np.unique(solution.weights).tolist()) == set(solution.codebook)
        nearest, _ = output(op, dequantized(assign(own, curve.codebook(steps)), scales, axis), offset, x)
        better, _ = output(
            op, dequantized(solution.weights, solution.scales, axis), solution.bias.astype(np.float32), x
        )
        assert np.square(better - exact).sum() < 0.9 * np.square(nearest - exact).sum()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_int8_is_nearer_than_rounding(kind, bias):
    op, weights, offset, x, axis, scales, (_, found) = solved(kind, steps=(16, UNIFORM), bias=bias)
    exact, _ = output(op, weights, offset, x)
    rounded, _ = output(op, dequantized(quantize_weights(weights, scales, axis), scales, axis), offset, x)
    new_bias = None if found.bias is None else found.bias.astype(np.float32)
    fitted, _ = output(op, dequantized(found.weights, found.scales, axis), new_bias, x)
    assert np.square(fitted - exact).sum() < np.square(rounded - exact).sum()
    assert found.weights.min() >= -127
    assert found.scales.shape == scales.shape
    (_, _, _, _, _, _, (alone,)) = solved(kind, steps=(UNIFORM,), bias=bias)
    assert np.array_equal(alone.weights, found.weights)
    assert np.array_equal(alone.scales, found.scales)


def test_tiny_layers_against_all_assignments():
    """Six weights on three levels with fixed step size and codebook: coordinate descent ends in the optimum or near it, on average."""
    op = InnerProduct(1)
    method = WeightMethod(refit_scales=False, rounds=0, sweeps=8)
    ratios = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(1, 6)).astype(np.float32)
        rows = (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)[:, None]
        total = MomentSum(1, 6)
        total.update(rows)
        moments = total.moments()
        (found,) = solve_layer(op, weights, None, weight_scales(weights, None), moments, (3,), method)
        book = [*found.codebook]
        choices = np.array(list(itertools.product(book, repeat=6)), np.float64) * float(found.scales[0])
        errors = moments.output_error(weights.astype(np.float64) - choices[None])[0]
        mine = moments.output_error(weights.astype(np.float64)[None] - found.weights * float(found.scales[0]))[0, 0]
        ratios.append(mine / errors.min())
        assert mine <= np.quantile(errors, 0.05)
    assert np.median(ratios) < 1.3


@pytest.mark.parametrize(
    "change",
    [
        {"compensation": False},
        {"refit_scales": False},
        {"bias_correction": False},
        {"compensation": False, "refit_scales": False, "bias_correction": False, "importance": False},
    ],
)
@pytest.mark.parametrize("kind", ["plain", "depthwise", "inner product"])
def test_each_part_can_be_switched_off_and_helps(kind, change):
    (whole,) = solved(kind)[-1]
    _, _, offset, _, _, scales, (part,) = solved(kind, WeightMethod(**change))
    assert whole.error < part.error
    if not change.get("refit_scales", True):
        np.testing.assert_array_equal(part.scales, scales)
    if not change.get("bias_correction", True):
        np.testing.assert_array_equal(part.bias, offset)


def test_step_sizes_stay_above_their_floor():
    floor = np.full(6, 0.05, np.float32)
    (found,) = solved("plain", floor=floor)[-1]
    assert (found.scales >= floor).all()


def test_importance_moves_the_error_to_where_it_counts_less():
    op, weights, *_ = layer("inner product")
    weighing = np.ones(weights.shape)
    weighing[0] = 1e4
    *_, (plain,) = solved("inner product", steps=(4,))
    _, _, _, x, _, _, (weighed,) = solved("inner product", steps=(4,), importance=weighing)
    exact = output(op, weights, None, x)[0][:, 0]

    def error(found):
        return np.square(output(op, found.weights * found.scales[0], None, x)[0][:, 0] - exact).sum()

    assert error(weighed) < error(plain)


def test_the_same_inputs_give_the_same_integers():
    first, second = (solved("groups", steps=(16, 32))[-1] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.scales.tobytes() == other.scales.tobytes()
        assert one.bias.tobytes() == other.bias.tobytes()


def test_an_input_that_is_always_zero():
    op = InnerProduct(3)
    weights = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    total = MomentSum(1, 50)
    total.update(np.zeros((10, 1, 50), np.float32))
    (found,) = solve_layer(op, weights, None, weight_scales(weights, None), total.moments(), (4,), WeightMethod())
    assert found.error == 0
    assert len(found.codebook) <= 4


@pytest.mark.parametrize("kind", ["plain", "deconvolution", "inner product"])
def test_gathered_moments_are_those_of_all_positions(kind):
    op, weights, offset, x = layer(kind)
    _, graph = output(op, weights, offset, x)
    batches = [{"data": x[:16]}, {"data": x[16:]}]
    ((name, found),) = gather_moments(graph, ["layer"], batches)
    expected = moments_of(op, x, weights)
    assert (name, found.count) == ("layer", expected.count)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6, atol=1e-6)
    rows = patches(op, x).astype(np.float64)
    exact = np.stack([np.cov(rows[:, group].T, bias=True) for group in range(rows.shape[1])])
    for one, other in zip(found.covariance, expected.covariance, strict=True):
        # Products are float32.
        np.testing.assert_allclose(one, exact, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(other, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("columns", "count", "most"), [(600, 20, 600), (600, 8, 400), (700, 110, 700)])
@pytest.mark.parametrize("bias", [True, False])
def test_few_patches_are_solved_as_their_covariances_are(columns, count, most, bias, monkeypatch):
    monkeypatch.setattr(moments_module, "MAX_COLUMNS", most)
    monkeypatch.setattr(moments_module, "BLOCK_COLUMNS", 200)
    rng = np.random.default_rng(columns)
    x = np.maximum(rng.normal(size=(count, 1, columns)) + 0.3, 0).astype(np.float32)
    weights = rng.normal(size=(24, columns)).astype(np.float32)
    total = MomentSum(1, columns)
    total.update(x[:3])
    total.update(x[3:])
    few = total.moments()
    assert isinstance(few, FewPatches)
    flat = x[:, 0].astype(np.float64)
    parts = tuple(np.cov(flat[:, block].T, bias=True)[None] for block in few.blocks)
    whole = Moments(count, flat.mean(axis=0)[None], parts)
    assert all(np.allclose(a, b) for a, b in zip(few.covariance, parts, strict=True))
    assert np.allclose(few.power, whole.power)
    given = (InnerProduct(24), weights, rng.normal(size=24).astype(np.float32) if bias else None)
    one, other = (
        solve_layer(*given, weight_scales(weights, None), moments, (16, 32), WeightMethod()) for moments in (few, whole)
    )
    for thin, dense in zip(one, other, strict=True):
        assert (thin.weights != dense.weights).mean() < 1e-3
        assert thin.error == pytest.approx(dense.error, rel=5e-3)
        assert np.allclose(thin.scales, dense.scales, rtol=1e-3)


def test_patches_that_become_many_are_added_up():
    x = np.random.default_rng(3).normal(size=(90, 2, 60)).astype(np.float32)
    once, parts, merged = (MomentSum(2, 60) for _ in range(3))
    once.update(x)
    for rows in (x[:4], x[4:9], x[9:40]):
        parts.update(rows)
        merged.update(rows)
    other = MomentSum(2, 60)
    other.update(x[40:])
    few = MomentSum(2, 60)
    few.update(x[:5])
    merged.merge(other)
    few.merge(merged)
    parts.update(x[40:])
    assert not any(isinstance(total.moments(), FewPatches) for total in (once, parts, merged, few))
    for total in (parts, merged):
        assert np.allclose(total.moments().covariance[0], once.moments().covariance[0], rtol=1e-5, atol=1e-5)
        assert np.allclose(total.moments().mean, once.moments().mean, atol=1e-6)
    assert few.count == 95
    taken = parts.finish().covariance[0]
    parts.update(x)
    assert np.array_equal(parts.finish().covariance[0], once.moments().covariance[0])
    assert np.allclose(taken, once.finish().covariance[0], rtol=1e-5, atol=1e-5)
    few = MomentSum(2, 60)
    few.merge(other)
    assert np.allclose(few.moments().mean, x[40:].mean(axis=0), atol=1e-6)
