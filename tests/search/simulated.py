"""Simulated networks: spaces with predicted losses, and evaluators whose real damage is hidden from the search."""

from __future__ import annotations

import itertools
import math

import numpy as np

from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search import FLOAT_LEVEL, LayerSpace, Option, SearchSpace

INT8 = LayerPlan(Precision.INT8)
NUQ32 = LayerPlan(Precision.NUQ, tuple(range(32)), 32)
NUQ16 = LayerPlan(Precision.NUQ, tuple(range(16)), 16)


def nuq(levels):
    return LayerPlan(Precision.NUQ, tuple(range(levels)) if levels < 128 else tuple(range(-128, levels - 128)), levels)


def layer(name, weights, losses, sizes=(32, 16)):
    """A layer at int8 and with codebooks of some sizes, with the loss of each form."""
    forms = [Option(INT8, float(weights), losses[0])]
    for size, loss in zip(sizes, losses[1:], strict=True):
        forms.append(Option(nuq(size), math.ceil(weights * (size - 1).bit_length() / 8) + float(size), loss))
    return LayerSpace(name, tuple(forms), 4.0 * weights)


def random_space(rng, count, sizes=(32, 16)):
    layers = []
    for index in range(count):
        losses = [10 ** rng.uniform(-5, -3)]
        for number in range(len(sizes)):
            losses.append(losses[-1] * (rng.uniform(2, 5) if number else rng.uniform(1, 8)))
        layers.append(layer(f"l{index}", int(10 ** rng.uniform(2.5, 6)), losses, sizes))
    return SearchSpace(tuple(layers))


def levels_of(space: SearchSpace, plan: Plan):
    return tuple(
        FLOAT_LEVEL
        if plan[item.name].precision is Precision.FLOAT
        else [option.layer_plan for option in item.options].index(plan[item.name])
        for item in space.layers
    )


def hidden_damage(rng, space, spread=0.0, outliers=0.0):
    """Returns each layer's real damage by level: the prediction, off by a random factor."""
    return [
        np.array(item.losses)
        * np.exp(rng.normal(0, spread, len(item.options)))
        * (50 if rng.random() < outliers else 1)
        for item in space.layers
    ]


class Evaluator:
    """Adds up hidden damage; refuses to be asked twice about one plan."""

    def __init__(self, space, damage, limit, twist=None):
        self.space, self.damage, self.limit, self.twist = space, damage, limit, twist
        self.seen = {}

    def true(self, levels):
        total = sum(self.damage[i][level] for i, level in enumerate(levels) if level != FLOAT_LEVEL)
        return float(total if self.twist is None else self.twist(levels, total))

    def evaluate(self, plan):
        assert plan not in self.seen
        self.seen[plan] = self.true(levels_of(self.space, plan))
        return self.seen[plan]

    def satisfied(self, metric):
        return metric <= self.limit


def smallest(evaluator, lowest=0):
    """Returns the size of the smallest state that the evaluator accepts, by trying all; infinite if there is none."""
    space = evaluator.space
    states = itertools.product(*(range(lowest, len(item.options)) for item in space.layers))
    sizes = (space.size(s) for s in states if set(s) != {FLOAT_LEVEL} and evaluator.true(s) <= evaluator.limit)
    return min(sizes, default=math.inf)


class CancellingEvaluator(Evaluator):
    """Errors of layers are vectors of a few outputs, which may cancel; the metric is the length of their sum.

    So it is not monotone along the path, and predictions tell little of how two layers go together.
    """

    def __init__(self, rng, space, outputs, part):
        common = rng.normal(size=(len(space), 1, outputs))
        levels = len(space.layers[0].options)
        direction = rng.normal(size=(len(space), levels, outputs)) + 0.7 * common
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        losses = np.array([layer.losses for layer in space.layers]) * np.exp(rng.normal(0, 0.4, (len(space), levels)))
        self.vectors = direction * np.sqrt(losses)[..., None]
        super().__init__(space, None, math.inf)
        low, high = (self.true(levels) for levels in (space.uniform(), space.smallest()))
        self.limit = low + part * (high - low)

    def true(self, levels):
        changes = [self.vectors[index][level] for index, level in enumerate(levels) if level != FLOAT_LEVEL]
        return float(np.linalg.norm(np.sum(changes, axis=0))) if changes else 0.0
