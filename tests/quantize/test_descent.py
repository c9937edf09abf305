"""Columns put on levels one after the other: against the method with an inverse, brute force and plain rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nuqconv.quantize.descent import Block, LevelTables, Residuals

RNG = np.random.default_rng(16)


def form(groups, columns, samples=None):
    x = RNG.normal(size=(groups, samples or 3 * columns, columns)) @ RNG.normal(size=(groups, columns, columns))
    return np.swapaxes(x, 1, 2) @ x / x.shape[1] + 0.1 * np.eye(columns)


def book(*levels):
    return np.array(levels, np.int64)


def residuals(block, weights, steps):
    """Rows (groups, rows, columns) of weights for books that all have step sizes (books, groups, rows)."""
    halves = np.moveaxis(2 / steps, 0, 1)[:, None].astype(np.float32)
    return Residuals(block.take(weights)[:, :, None] * halves)


def in_order(block, levels):
    """Levels as (books, groups, rows, columns) in the order of the layer."""
    back = np.argsort(block.order, axis=1)
    found = np.take_along_axis(levels, back[:, :, None, None], 1)
    return np.transpose(found, (2, 0, 3, 1))


def swept_with_an_inverse(hessian, weights, steps, levels):
    """Frantar's method as it is written down: the columns of most power first, each error taken out of those to come by the inverse."""
    order = np.argsort(-np.diagonal(hessian), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T
    left, found = weights[:, order].astype(np.float64), np.zeros(weights.shape, np.int64)
    for column in range(len(order)):
        real = left[:, column] / steps
        chosen = levels[np.abs(real[:, None] - levels).argmin(axis=1)]
        found[:, order[column]] = chosen
        wrong = (left[:, column] - chosen * steps) / factor[column, column]
        left[:, column:] -= wrong[:, None] * factor[column, column:]
    return found


@pytest.mark.parametrize("columns", [1, 5, 33, 150])
def test_the_sweep_is_that_with_an_inverse(columns):
    hessian, weights = form(2, columns), RNG.normal(size=(2, 6, columns)).astype(np.float32)
    books = [book(-90, -20, 0, 30, 100), book(*range(-127, 128, 2))]
    steps = RNG.uniform(0.01, 0.02, size=(2, 2, 6))
    block = Block.of(slice(0, columns), hessian, 1.0, np.zeros(hessian.shape[:2]))
    found = residuals(block, weights, steps)
    found.sweep(block, LevelTables(books))
    levels = in_order(block, found.levels())
    for number, group in itertools.product(range(2), range(2)):
        expected = swept_with_an_inverse(hessian[group], weights[group], steps[number, group], books[number])
        # Single precision may decide a weight in the middle between two levels, and all that follow in its row, otherwise.
        same = (levels[number, group] == expected).all(axis=1)
        assert same.mean() >= 0.8


def test_no_weight_can_move_alone_after_the_descent():
    columns, levels = 40, book(-100, -40, -10, 0, 15, 50, 120)
    hessian, weights = form(1, columns), RNG.normal(size=(1, 4, columns)).astype(np.float32)
    steps = np.full((1, 1, 4), 0.02)
    block = Block.of(slice(0, columns), hessian, 1.0, np.zeros(hessian.shape[:2]))
    found = residuals(block, weights, steps)
    tables = LevelTables([levels])
    found.sweep(block, tables)
    before = block.energy(found.errors)
    for _ in range(50):
        if not found.descend(block, tables):
            break
    else:
        pytest.fail("the descent does not end")
    chosen = in_order(block, found.levels())[0, 0]
    errors = np.einsum("rk,kl,rl->r", chosen * 0.02 - weights[0], hessian[0], chosen * 0.02 - weights[0])
    np.testing.assert_allclose(block.energy(found.errors)[0] * 0.01**2, errors, rtol=1e-4)
    assert (block.energy(found.errors) <= before * (1 + 1e-6)).all()
    for row, column, level in itertools.product(range(4), range(columns), levels):
        other = chosen[row].copy()
        other[column] = level
        change = other * 0.02 - weights[0, row]
        assert change @ hessian[0] @ change >= errors[row] * (1 - 1e-5)


def test_levels_can_be_taken_out_and_put_back():
    block = Block.of(slice(0, 9), given := form(3, 9), 1.0, np.zeros(given.shape[:2]))
    weights = RNG.normal(size=(3, 4, 9)).astype(np.float32)
    steps = np.full((1, 3, 4), 0.05)
    found = residuals(block, weights, steps)
    found.sweep(block, LevelTables([book(-60, 0, 60)]))
    levels, errors = found.levels(), found.errors.copy()
    again = residuals(block, weights, steps)
    again.put(levels)
    np.testing.assert_allclose(again.errors, errors, atol=1e-4)
    np.testing.assert_array_equal(again.levels(), levels)


@pytest.mark.parametrize(
    "levels", [(0,), (-128, 127), (-3, -2, 5), tuple(range(-128, 128)), (-101, -50, -7, 0, 1, 2, 90)]
)
def test_a_table_gives_the_nearest_level_and_of_two_the_lower(levels):
    reals = np.concatenate([np.arange(-300, 300) / 2, RNG.uniform(-200, 200, 2000), [-1e6, 1e6]])
    found = Residuals(2 * reals.astype(np.float32)[None, :, None, None])
    errors = found.nearest(LevelTables([book(*levels)]))
    distance = np.abs(reals[:, None] - np.array(levels))
    expected = np.array(levels)[distance.argmin(axis=1)]
    inside = np.abs(reals) < 200
    np.testing.assert_allclose(errors[0, inside, 0] / 2 + reals[inside], expected[inside], atol=1e-3)
    found.errors = errors
    np.testing.assert_array_equal(found.levels()[0, inside, 0, 0], expected[inside])


@pytest.mark.parametrize("few", [1, 7, 200])
def test_a_thin_block_is_that_of_its_matrix(few):
    """The same columns in the same order, factor and form: what is asked of either gives the same."""
    columns, vectors = 300, 20
    rows, diagonal = RNG.normal(size=(2, few, columns)), RNG.uniform(0.5, 2, size=(2, columns))
    thin = Block.thin(slice(0, columns), rows, diagonal)
    whole = Block.of(slice(0, columns), np.swapaxes(rows, 1, 2) @ rows, 1.0, diagonal)
    assert (thin.order == whole.order).all()
    errors = RNG.normal(size=(2, columns, vectors)).astype(np.float32)
    assert np.allclose(thin.energy(errors), whole.energy(errors), rtol=1e-4)
    for one, other in ((thin.form, whole.form), (thin.factor, whole.factor)):
        upper = np.triu(np.ones((128, 128)), 1)
        assert np.allclose(one.tile(128, 256) * upper, other.tile(128, 256) * upper, atol=1e-5)
    full = [block.form.walk(errors, triangular=False).others(128, 256) for block in (thin, whole)]
    assert np.allclose(*full, atol=1e-3)
    later = np.where(np.arange(columns)[:, None] >= 256, errors, np.float32(0))
    walks = [block.factor.walk(later, triangular=True) for block in (thin, whole)]
    for walk in walks:
        walk.moved(256, columns, later[:, 256:])
    assert np.allclose(*(walk.others(128, 256) for walk in walks), atol=1e-3)
