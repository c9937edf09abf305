"""Boxes that a net found: the rows of a DetectionOutput layer, and how much boxes overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.truth import Boxes

__all__ = ["by_picture", "real_rows", "truths_of", "unions"]

COLUMNS = 7
"""Picture, class, score, xmin, ymin, xmax, ymax."""


def real_rows(rows: Array) -> Array:
    """Returns the rows (found, 7) of a DetectionOutput without those that only fill up; -1 or zeros, by the runtime's taste.

    Raises:
        EvaluatorError: The array is no output of a DetectionOutput layer.
    """
    if rows.shape[-1:] != (COLUMNS,) or rows.dtype.kind != "f":
        raise EvaluatorError(
            f"expected the boxes of a DetectionOutput layer, shape (1, 1, found, {COLUMNS}), found {rows.shape} of {rows.dtype}"
        )
    table = rows.reshape(-1, COLUMNS)
    found: Array = table[(table[:, 1] >= 0) & (table[:, 1:] != 0).any(axis=1)]
    return found


def by_picture(rows: Array, count: int) -> Iterator[Array]:
    """Yields the rows of each picture, float64 (found, 7), in the order in which they are.

    Args:
        rows: Rows without those that fill up.
        count: How many pictures there are.

    Raises:
        EvaluatorError: A row is of no picture, or holds what is no number.
    """
    table = rows.astype(np.float64)
    pictures = table[:, 0]
    if not np.isfinite(table).all():
        raise EvaluatorError("the detections hold NaN or infinity")
    if not np.isin(pictures, np.arange(count)).all():
        raise EvaluatorError(f"detections are of picture {pictures.max():g}, in a batch of {count} pictures")
    order = np.argsort(pictures, kind="stable")
    edges = np.searchsorted(pictures[order], np.arange(count + 1))
    for start, end in itertools.pairwise(edges):
        yield table[order[start:end]]


def truths_of(truths: Any, first: int) -> Sequence[Boxes]:
    """Returns the objects of each picture.

    Raises:
        EvaluatorError: They are something else.
    """
    for number, truth in enumerate(truths):
        if not isinstance(truth, Boxes):
            raise EvaluatorError(
                f"the label of sample {first + number} is {type(truth).__name__}, expected the objects of a picture (nuqconv's Boxes)"
            )
    found: Sequence[Boxes] = truths
    return found


def unions(found: Array, wanted: Array, crowd: Array | None = None, pixel: float = 0.0) -> Array:
    """Returns the intersection over union of every two boxes, (found, wanted).

    Args:
        found: Boxes (found, 4): xmin, ymin, xmax, ymax.
        wanted: Boxes (wanted, 4).
        crowd: For each wanted box whether it is around many objects; the union is then the found box alone.
        pixel: What is added to each length: 1 where the ends are whole pixels that belong to the box.
    """
    low = np.maximum(found[:, np.newaxis, :2], wanted[np.newaxis, :, :2])
    high = np.minimum(found[:, np.newaxis, 2:], wanted[np.newaxis, :, 2:])
    sides = np.maximum(high - low + pixel, 0)
    inner = sides[..., 0] * sides[..., 1]
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2] + pixel, axis=1) for boxes in (found, wanted)]
    whole = areas[0][:, np.newaxis] + areas[1][np.newaxis] - inner
    if crowd is not None:
        whole = np.where(crowd[np.newaxis], areas[0][:, np.newaxis], whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Array = np.where(inner > 0, inner / whole, 0.0)
    return ratios
