"""Corrected weights: least squares on the patches themselves are the judge."""

import numpy as np
import pytest

from nuqconv.errors import QuantizationError
from nuqconv.quantize.drift import DriftSum
from nuqconv.quantize.moments import MAX_COLUMNS


def patches(count, groups, columns, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, groups, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)
    drifted = mixed @ (np.eye(columns) + 0.1 * rng.normal(size=(columns, columns))) + 0.3
    return mixed.astype(np.float32), (drifted + 0.05 * rng.normal(size=mixed.shape)).astype(np.float32)


def summed(wanted, given, parts=3):
    total = DriftSum(*wanted.shape[1:])
    for one, two in zip(np.array_split(wanted, parts), np.array_split(given, parts), strict=True):
        total.update(one, two)
    return total


@pytest.mark.parametrize("groups", [1, 3])
def test_many_patches_give_the_least_squares_of_numpy(groups):
    wanted, given = patches(60_000, groups, 7)
    rng = np.random.default_rng(5)
    matrix, bias = rng.normal(size=(groups, 4, 7)).astype(np.float32), rng.normal(size=4 * groups)
    moments, weights, offset = summed(wanted, given).corrected(matrix, bias)
    assert moments.count == len(given)
    for group in range(groups):
        aim = wanted[:, group].astype(np.float64) @ matrix[group].T
        design = np.column_stack([given[:, group].astype(np.float64), np.ones(len(given))])
        exact = np.linalg.lstsq(design, aim, rcond=None)[0]
        # A hundredth of the power is added to the diagonal, which holds a little back.
        left = aim - given[:, group] @ weights[group].T - (offset - bias).reshape(groups, 4)[group]
        least, before = aim - design @ exact, aim - given[:, group] @ matrix[group].T
        assert np.square(left).mean() < 1.2 * np.square(least).mean() + 0.02 * np.square(before).mean()
        np.testing.assert_allclose(left.mean(axis=0), 0, atol=2e-3 * np.abs(aim).max())


def test_without_drift_nothing_changes():
    wanted, _ = patches(500, 2, 5)
    matrix = np.random.default_rng(1).normal(size=(2, 3, 5)).astype(np.float32)
    _, weights, offset = summed(wanted, wanted).corrected(matrix, np.arange(6.0))
    np.testing.assert_array_equal(weights, matrix)
    np.testing.assert_allclose(offset, np.arange(6.0), atol=1e-9)


def test_few_patches_change_less_than_would_fit_them():
    """Three patches say little of how five columns go together on other images."""
    wanted, given = patches(3, 1, 5)
    matrix = np.random.default_rng(1).normal(size=(1, 3, 5)).astype(np.float32)
    _, found, _ = summed(wanted, given, parts=1).corrected(matrix, None)
    one, two = (array[:, 0] - array[:, 0].mean(axis=0) for array in (wanted, given))
    fitting = (one - two) @ matrix[0].T
    whole = np.linalg.lstsq(two, fitting, rcond=None)[0].T
    assert np.linalg.norm(found[0] - matrix[0]) < 0.5 * np.linalg.norm(whole)


def test_of_columns_in_several_blocks_only_the_mean_is_made_good():
    wanted, given = patches(40, 1, 3)
    wide = [np.tile(array, (1, 1, MAX_COLUMNS // 2)) for array in (wanted, given)]
    matrix = np.random.default_rng(1).normal(size=(1, 2, wide[0].shape[2])).astype(np.float32)
    _, weights, offset = summed(*wide).corrected(matrix, np.zeros(2))
    np.testing.assert_array_equal(weights, matrix)
    moved = (wide[0] - wide[1]).mean(axis=0, dtype=np.float64)[0] @ matrix[0].T.astype(np.float64)
    np.testing.assert_allclose(offset, moved, rtol=1e-4, atol=1e-3)


def test_patches_must_be_of_the_same_places():
    with pytest.raises(QuantizationError, match="shape"):
        DriftSum(1, 3).update(np.zeros((2, 1, 3)), np.zeros((3, 1, 3)))
    with pytest.raises(QuantizationError, match="no patches"):
        DriftSum(1, 3).corrected(np.zeros((1, 1, 3), np.float32), None)
