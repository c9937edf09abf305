"""Layers that compare results with labels, as Caffe computes them in a forward pass."""

from __future__ import annotations

from abc import abstractmethod
from math import prod

import numpy as np

from nuqconv.errors import NetError
from nuqconv.pycaffe.memory import Floats
from nuqconv.pycaffe.states import LayerState

__all__ = ["Accuracy", "EuclideanLoss", "Loss", "SigmoidCrossEntropyLoss", "SoftmaxWithLoss"]

_FULL, _VALID, _BATCH_SIZE, _NONE = range(4)
_SMALLEST = np.finfo(np.float32).tiny


class _Comparing(LayerState):
    """What compares scores along an axis with integer labels."""

    def _scores(self, axis: int) -> tuple[Floats, Floats]:
        """Returns the scores as (outer, classes, inner) and the labels as (outer, inner)."""
        scores, labels = self.bottoms[0].data, self.bottoms[1].data
        axis %= scores.ndim
        outer, inner = prod(scores.shape[:axis]), prod(scores.shape[axis + 1 :])
        if labels.size != outer * inner:
            raise NetError(
                f"{self.place}: Number of labels must match number of predictions: {labels.size} labels, {outer * inner} predictions"
            )
        return scores.reshape(outer, scores.shape[axis], inner), labels.reshape(outer, inner)


def _at_labels(values: Floats, labels: Floats, counted: np.ndarray) -> Floats:
    index = np.where(counted, labels, 0).astype(np.int64)
    found: Floats = np.take_along_axis(values, index[:, np.newaxis, :], 1)[:, 0, :]
    return found


class Accuracy(_Comparing):
    """The share of samples whose label is among the ``top_k`` highest scores; a second top has it for each class."""

    def reshape(self) -> None:
        """A number, and one for each class."""
        param = self.text.message.accuracy_param
        self.tops[0].reshape()
        if len(self.tops) > 1:
            self.tops[1].reshape(self.bottoms[0].shape[param.axis])

    def forward(self) -> None:
        """Counts the samples for which fewer than ``top_k`` other scores are as high as the label's."""
        param = self.text.message.accuracy_param
        scores, labels = self._scores(param.axis)
        counted = labels != param.ignore_label if param.HasField("ignore_label") else np.ones(labels.shape, np.bool_)
        better = (scores >= _at_labels(scores, labels, counted)[:, np.newaxis, :]).sum(axis=1) - 1
        right = (better < param.top_k) & counted
        self.tops[0].data[...] = right.sum() / max(1, counted.sum())
        if len(self.tops) > 1:
            classes = labels[counted].astype(np.int64)
            total = np.bincount(classes, minlength=scores.shape[1])
            hits = np.bincount(classes, weights=right[counted], minlength=scores.shape[1])
            self.tops[1].data[...] = hits / np.maximum(total, 1)


class Loss(LayerState):
    """A layer whose first top is a number that training makes small."""

    def reshape(self) -> None:
        """A number."""
        self.tops[0].reshape()

    @property
    def weighted(self) -> float:
        """Its part in the net's loss."""
        weights = self.text.message.loss_weight
        return float(self.tops[0].data) * (weights[0] if weights else 1.0)

    def forward(self) -> None:
        """Computes the number."""
        self.tops[0].data[...] = self.loss()

    @abstractmethod
    def loss(self) -> float:
        """Returns the number."""

    def _normalizer(self, counted: np.ndarray, default: int) -> float:
        param = self.text.message.loss_param
        kind = default
        if param.HasField("normalization"):
            kind = param.normalization
        elif param.HasField("normalize"):
            kind = _VALID if param.normalize else _BATCH_SIZE
        sizes = {_FULL: counted.size, _VALID: counted.sum(), _BATCH_SIZE: self.bottoms[0].shape[0], _NONE: 1}
        return max(1.0, float(sizes[kind]))


class SoftmaxWithLoss(Loss, _Comparing):
    """The mean of -log of the label's probability; a second top has the probabilities."""

    def reshape(self) -> None:
        """A number, and the scores' shape."""
        super().reshape()
        if len(self.tops) > 1:
            self.tops[1].reshape(*self.bottoms[0].shape)

    def loss(self) -> float:
        """Computes in float64."""
        message = self.text.message
        scores, labels = self._scores(message.softmax_param.axis)
        shifted = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
        prob = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
        ignored = message.loss_param.HasField("ignore_label")
        counted = labels != message.loss_param.ignore_label if ignored else np.ones(labels.shape, np.bool_)
        if len(self.tops) > 1:
            self.tops[1].data[...] = prob.reshape(self.bottoms[0].shape)
        logs = np.log(np.maximum(_at_labels(prob, labels, counted), _SMALLEST).astype(np.float64))
        return float(-logs[counted].sum() / self._normalizer(counted, _VALID))


class EuclideanLoss(Loss):
    """Half the squared distance, a sample."""

    def loss(self) -> float:
        """Computes in float64."""
        difference = self.bottoms[0].data.astype(np.float64).reshape(-1) - self.bottoms[1].data.reshape(-1)
        return float(difference @ difference / self.bottoms[0].shape[0] / 2)


class SigmoidCrossEntropyLoss(Loss):
    """The cross entropy of sigmoids with targets between 0 and 1, a sample."""

    def loss(self) -> float:
        """Computes in float64, in the form that does not overflow."""
        param = self.text.message.loss_param
        scores = self.bottoms[0].data.astype(np.float64).reshape(-1)
        targets = self.bottoms[1].data.reshape(-1)
        counted = targets != param.ignore_label if param.HasField("ignore_label") else np.ones(targets.shape, np.bool_)
        losses = np.maximum(scores, 0) - scores * targets + np.log1p(np.exp(-np.abs(scores)))
        return float(losses[counted].sum() / self._normalizer(counted, _BATCH_SIZE))
