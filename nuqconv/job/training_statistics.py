"""How unlike its training a net finds its data, by what its first BatchNorm remembers of the training.

A BatchNorm keeps the mean and the variance that each channel of its input had in training. Samples that are prepared as in training give the
first one nearly the same; another order of channels, mean or range does not. The distance of a channel is the Kullback-Leibler divergence of
the two normal distributions (that of the samples from that of the training), cut at `_MOST`; the distance of a data set is the mean over the
channels.

That statistics of BatchNorm tell one distribution of data from another is known from their use in adapting nets (Li and others, Revisiting Batch
Normalization For Practical Domain Adaptation, 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import BatchNorm
from nuqconv.search.metrics import Interval

__all__ = ["Moments", "TrainingStatistics"]

_MOST = 10.0
_DRAWS = 500


@dataclass(frozen=True)
class Moments:
    """What samples gave the first BatchNorm: float64 (samples, channels) each.

    Attributes:
        means: Mean of each channel of each sample.
        squares: Mean of its squares.
    """

    means: Array
    squares: Array

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Returns the moments of a batch (N, C, ...)."""
        flat = values.reshape(*values.shape[:2], -1).astype(np.float64)
        return cls(flat.mean(axis=2), np.square(flat).mean(axis=2))

    @classmethod
    def joined(cls, parts: list[Moments]) -> Moments:
        """Returns the moments of all samples."""
        return cls(np.concatenate([part.means for part in parts]), np.concatenate([part.squares for part in parts]))


class TrainingStatistics:
    """What the first BatchNorm of a net keeps.

    Args:
        graph: The net, BatchNorm not folded.
        node: The BatchNorm.
    """

    def __init__(self, graph: Graph, node: Node) -> None:
        mean, variance, factor = (graph.params[name].astype(np.float64).ravel() for name in node.params)
        scale = 1 / factor[0] if factor[0] else 0.0
        self.layer = node.name
        self.value = node.inputs[0]
        self.mean, self.variance = mean * scale, variance * scale
        self.eps = float(getattr(node.op, "eps", 0.0))

    @classmethod
    def first(cls, graph: Graph) -> TrainingStatistics | None:
        """Returns those of the first BatchNorm that has some; None where there is none."""
        for node in graph.nodes:
            if isinstance(node.op, BatchNorm):
                found = cls(graph, node)
                if (found.variance > 0).any():
                    return found
        return None

    def distance(self, seen: Moments) -> float:
        """Returns how far samples are from the training; 0 is as in training."""
        return float(self._distances(seen, np.full((1, len(seen.means)), 1 / len(seen.means)))[0])

    def gain(self, declared: Moments, other: Moments) -> Interval:
        """Returns by how much nearer other samples are than the declared ones, with the interval of samples drawn again."""
        count = len(declared.means)
        rng = np.random.default_rng(0)
        weights = np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(_DRAWS)]) / count
        drawn = self._distances(declared, weights) - self._distances(other, weights)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Interval(self.distance(declared) - self.distance(other), float(low), float(high), 0.95, count)

    def _distances(self, seen: Moments, weights: Array) -> Array:
        """Returns the distance for several weightings of the samples, (weightings,)."""
        mean = weights @ seen.means
        variance = np.maximum(weights @ seen.squares - mean**2, 0) + self.eps
        stored = self.variance + self.eps
        divergences = (np.log(stored / variance) + (variance + (mean - self.mean) ** 2) / stored - 1) / 2
        found: Array = np.minimum(np.nan_to_num(divergences, nan=_MOST, posinf=_MOST), _MOST).mean(axis=1)
        return found
