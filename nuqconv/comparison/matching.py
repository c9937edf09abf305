"""Detections are a set: the order of their rows says nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir import Array
from nuqconv.search.metrics.boxes import real_rows

__all__ = ["detections", "match_detections"]

_CLASS = 2
"""Rows begin with the picture and the class, which both have to be the same."""


def detections(rows: Array) -> Array:
    """Returns the rows (1, 1, found, 7) of a DetectionOutput without those that only fill up; -1 or zeros, by the runtime's taste."""
    return real_rows(rows).reshape(1, 1, -1, 7)


def match_detections(a: Array, b: Array) -> tuple[Array, Array]:
    """Brings the detections of two sides into one order: nearest pairs of one picture and class, then those that only one side has.

    Args:
        a: Rows (1, 1, found, 7) of one side: picture, class, score and the box.
        b: Rows of the other.

    Returns:
        Both, where pairs stand at the same places.
    """
    one, two = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    places: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
    for key in np.unique(np.concatenate([one[:, :_CLASS], two[:, :_CLASS]]), axis=0):
        ours, theirs = (np.flatnonzero((rows[:, :_CLASS] == key).all(axis=1)) for rows in (one, two))
        first, second = _nearest(one[ours, _CLASS:], two[theirs, _CLASS:])
        places[0].append(ours[first])
        places[1].append(theirs[second])
    return tuple(  # type: ignore[return-value]
        _in_order(rows, found).reshape(*array.shape[:-2], -1, array.shape[-1])
        for array, rows, found in zip((a, b), (one, two), places, strict=True)
    )


def _in_order(rows: Array, places: list[NDArray[np.intp]]) -> Array:
    paired = np.concatenate([np.empty(0, np.intp), *places])
    left = np.setdiff1d(np.arange(len(rows)), paired)
    ordered: Array = rows[np.concatenate([paired, left])]
    return ordered


def _nearest(one: Array, two: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns places of as many pairs as there can be, the nearest of all first; distance is the largest difference of a number."""
    distances = np.abs(one[:, None].astype(np.float64) - two[None]).max(axis=2)
    count = min(distances.shape)
    pairs = np.empty((count, 2), np.intp)
    for number in range(count):
        pairs[number] = np.unravel_index(int(distances.argmin()), distances.shape)
        distances[pairs[number, 0]] = distances[:, pairs[number, 1]] = np.inf
    # In the order of the first side, so that what is in order already stays so.
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    return pairs[:, 0], pairs[:, 1]
