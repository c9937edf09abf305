"""Objects in pictures and what a net might have found of them, drawn at random."""

from __future__ import annotations

import numpy as np

from nuqconv.search.metrics import Boxes

STEPS = 16
"""Corners lie on a grid of so many steps, so that many boxes are equal or overlap exactly by a threshold."""


def random_boxes(random: np.random.Generator, count: int, *, grid: bool) -> np.ndarray:
    """Boxes with an extent, (count, 4), within the picture."""
    if grid:
        low = random.integers(0, STEPS - 1, (count, 2))
        high = low + 1 + random.integers(0, STEPS - low)
        return np.concatenate([low, np.minimum(high, STEPS)], axis=1) / STEPS
    low = random.uniform(0, 0.7, (count, 2))
    return np.concatenate([low, low + random.uniform(0.05, 0.3, (count, 2))], axis=1)


def random_set(
    seed: int, *, pictures: int = 12, classes: int = 3, grid: bool = True, flagged: float = 0.2
) -> tuple[list[Boxes], list[np.ndarray]]:
    """Truths and rows of a DetectionOutput (found, 7) of each picture; some have neither.

    Detections are objects that were moved a little, with a wrong class now and then, and boxes of nothing. Scores have few values, so that
    there are ties.
    """
    random = np.random.default_rng(seed)
    truths, rows = [], []
    for picture in range(pictures):
        count = int(random.integers(0, 6)) * int(random.random() < 0.8)
        boxes = random_boxes(random, count, grid=grid)
        labels = random.integers(1, classes + 1, count)
        truths.append(
            Boxes(labels, boxes, random.random(count) < flagged, random.random(count) < flagged, size=(480, 640))
        )
        again = np.repeat(np.arange(count), random.integers(0, 3, count))
        steps = random.integers(-1, 2, (len(again), 4)) * (random.random((len(again), 4)) < 0.3)
        moved = boxes[again] + steps / (STEPS if grid else 50)
        moved = np.stack([moved[:, 0], moved[:, 1], np.maximum(moved[:, 2], moved[:, 0] + 1 / 64),
                          np.maximum(moved[:, 3], moved[:, 1] + 1 / 64)], axis=1)  # fmt: skip
        nothing = random_boxes(random, int(random.integers(0, 4)), grid=grid)
        found = np.concatenate([moved, nothing])
        called = np.concatenate([labels[again], random.integers(1, classes + 1, len(nothing))])
        called = np.where(random.random(len(called)) < 0.1, random.integers(1, classes + 2, len(called)), called)
        scores = random.integers(1, 9, len(found)) / 8
        table = np.concatenate([np.full((len(found), 1), picture), called[:, None], scores[:, None], found], axis=1)
        rows.append(table.astype(np.float32))
    return truths, rows


def as_output(rows: list[np.ndarray]) -> np.ndarray:
    """What the layer gives for a batch: rows numbered by the place in the batch; without any, a row that fills up."""
    tables = [table.copy() for table in rows]
    for place, table in enumerate(tables):
        table[:, 0] = place
    joined = np.concatenate(tables)
    if not len(joined):
        joined = np.full((1, 7), -1, np.float32)
        joined[0, 0] = 0
    return joined[np.newaxis, np.newaxis]
