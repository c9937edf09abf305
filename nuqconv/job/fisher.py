"""How much the loss depends on each weight: the empirical Fisher information, from real Caffe's own backward pass.

The diagonal of the empirical Fisher matrix is the mean over samples of the squared gradient of the loss. Near a minimum of the loss it stands
for the curvature: moving weight w by d costs about ``F * d**2 / 2`` (LeCun, Denker, Solla: Optimal Brain Damage, 1990; Theis et al.: Faster
gaze prediction with dense networks and Fisher pruning, 2018).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from nuqconv.backends.caffe import emit, write_caffe
from nuqconv.backends.caffe.layer import new_layer
from nuqconv.backends.onnx.batch import rebatch
from nuqconv.errors import CaffeProcessError, ModelError, UnsupportedError
from nuqconv.formats import open_model
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.phase import NetState, is_included
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Softmax, Weighted
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe.net import Net
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.model import Runnable

__all__ = ["LOSSES", "LossLayer", "fisher_weights"]

LOSSES = ("SoftmaxWithLoss", "EuclideanLoss", "SigmoidCrossEntropyLoss")
"""Types of loss layers that can be put on a network."""

_LABEL = "fisher_label"
_LOSS = "fisher_loss"


@dataclass(frozen=True)
class LossLayer:
    """A loss on a blob of a deploy net.

    Attributes:
        blob: What the loss reads: scores before a Softmax or Sigmoid for the cross-entropies.
        type: One of `LOSSES`.
    """

    blob: str
    type: str = "SoftmaxWithLoss"


def fisher_weights(
    model_file: str | os.PathLike[str],
    weights_file: str | os.PathLike[str],
    batches: Iterable[tuple[Mapping[str, Array], Array]],
    *,
    loss: LossLayer | str | os.PathLike[str],
    layers: Sequence[str] | None = None,
    fold: bool = True,
    skip_fusion: Sequence[str] = (),
    process: CaffeProcess | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Returns the mean over samples of the squared gradient of the loss, for each weight.

    The gradients are those of the network after BatchNorm and Scale layers are folded into weights, which is the network that is
    quantized. Each sample is a pass of its own, in which the network is as at inference. Frozen layers (``lr_mult: 0``) count as well.

    Args:
        model_file: The deploy .prototxt.
        weights_file: The .caffemodel.
        batches: Inputs by blob name, float32 (N, ...), with labels (N, ...): classes for SoftmaxWithLoss, else numbers in the blob's shape.
        loss: A loss layer for a blob of the deploy net, or a train/val .prototxt whose loss layer is taken; its blob must be in the deploy net.
        layers: Layers to return; by default every Convolution, Deconvolution and InnerProduct that the loss depends on.
        fold: Whether to fold.
        skip_fusion: Layers that are not folded into.
        process: The Caffe process to use; by default one of its own.

    Returns:
        For each layer an array of the shape of its weights, >= 0.

    Raises:
        RuntimeMissingError: There is no real Caffe.
        UnsupportedError: Caffe has no backward pass for a layer between the weights and the loss, or the loss cannot be taken.
        ModelError: Blob, layers, inputs or labels do not fit the network, or there is no sample.
        CaffeProcessError: Caffe cannot run the network.
    """
    source = os.fspath(model_file)
    graph = load_graph(source, os.fspath(weights_file))
    if fold:
        graph = fold_affine(graph, skip=tuple(skip_fusion)).graph
    wanted = _loss_message(loss)
    graph = _cut(graph, wanted, source)
    names = _layers(graph, layers, source)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = folder / "fisher.prototxt", folder / "fisher.caffemodel"
        write_caffe(graph, *files)
        return _Job(graph, wanted, files, names, source).run(Caffe(process).shared(stack), batches)


@dataclass(frozen=True)
class _Job:
    graph: Graph
    loss: Any
    files: tuple[Path, Path]
    layers: tuple[str, ...]
    source: str

    def run(self, caffe: Caffe, batches: Iterable[tuple[Mapping[str, Array], Array]]) -> dict[str, NDArray[np.float64]]:
        """Runs all samples in one net, made for the label shape of the first."""
        net: Net | None = None
        shape: tuple[int, ...] = ()
        count = 0
        try:
            for inputs, labels in batches:
                feeds = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
                values = np.asarray(labels, np.float32)
                _check_sizes(feeds, values, self.source)
                if net is None:
                    shape = values.shape[1:]
                    self._write(shape)
                    net = caffe.net(Runnable.of(open_model(*self.files)))
                if values.shape[1:] != shape:
                    raise ModelError(f"{self.source}: labels of shape {values.shape[1:]} after ones of shape {shape}")
                for number in range(len(values)):
                    sample = {name: array[number : number + 1] for name, array in feeds.items()}
                    sample[_LABEL] = values[number : number + 1]
                    net.run(sample, ())
                    self._backward(net, sample)
                    count += 1
            if net is None or not count:
                raise ModelError(f"{self.source}: there is no sample to take gradients of")
            return {name: sums / count for name, sums in net.square_sums(self.layers).items()}
        finally:
            if net is not None:
                net.close()

    def _backward(self, net: Net, sample: Mapping[str, Array]) -> None:
        try:
            net.backward(squares=self.layers)
        except CaffeProcessError as error:
            if net.process.alive:
                raise
            raise UnsupportedError(
                f"{self.source}: real Caffe cannot compute the gradient of the loss: {self._culprit(net, sample)} has no backward pass; "
                "put the loss on a blob in front of it, or do without Fisher weights"
            ) from error

    def _culprit(self, net: Net, sample: Mapping[str, Array]) -> str:
        """Runs backwards layer by layer, in a new process, until it fails."""
        place = "a layer"
        with CaffeProcess(net.process.python) as process, Net(*self.files, process=process) as again:
            again.run(sample, ())
            for layer in reversed(again.layers):
                place = f"layer '{layer.name}' ({layer.type})"
                try:
                    again.backward(start=layer.name, end=layer.name)
                except CaffeProcessError:
                    return place
        return "a layer"

    def _write(self, label_shape: tuple[int, ...]) -> None:
        """Writes the definition: the layers as they are, none of them frozen, with labels and loss."""
        net: Any = NetParameter(name="fisher")
        for layer in emit(self.graph):
            message = layer.message
            message.ClearField("propagate_down")
            message.ClearField("loss_weight")
            for param in message.param:
                param.ClearField("lr_mult")
            net.layer.append(message)
        label = new_layer(_LABEL, "Input", [], [_LABEL])
        label.input_param.shape.add().dim.extend((1, *label_shape))
        net.layer.extend([label, self.loss])
        self.files[0].write_text(text_format.MessageToString(net), encoding="utf-8", newline="\n")


def _loss_message(loss: LossLayer | str | os.PathLike[str]) -> Any:
    """Returns the loss layer as a message that reads the blob and our labels."""
    if isinstance(loss, LossLayer):
        if loss.type not in LOSSES:
            raise UnsupportedError(f"loss '{loss.type}' is not known; choose one of {', '.join(LOSSES)}")
        return new_layer(_LOSS, loss.type, [loss.blob, _LABEL], [_LOSS])
    path = os.fspath(loss)
    found: dict[str, Any] = {}
    for phase in ("TRAIN", "TEST"):
        for layer in read_prototxt(path).layers:
            if layer.message.type in LOSSES and is_included(layer.message, NetState(phase)):
                found.setdefault(layer.message.name, layer.message)
    if len(found) != 1:
        listed = ", ".join(f"'{name}' ({message.type})" for name, message in found.items()) or "none"
        raise UnsupportedError(
            f"{path}: a net with one loss layer of {', '.join(LOSSES)} is expected here, found {listed}; "
            "or name a blob of the deploy net with LossLayer(blob, type)"
        )
    (original,) = found.values()
    message = type(original)()
    message.CopyFrom(original)
    for field in ("include", "exclude", "blobs", "bottom", "top", "propagate_down", "loss_weight"):
        message.ClearField(field)
    message.name = _LOSS
    message.bottom.extend([original.bottom[0], _LABEL])
    message.top.append(_LOSS)
    return message


def _cut(graph: Graph, loss: Any, source: str) -> Graph:
    """Returns the part in front of the loss, for one sample."""
    blob = loss.bottom[0]
    if blob not in graph.producer:
        made = ", ".join(name for name in graph.producer if "@" not in name)
        raise ModelError(f"{source}: the loss reads blob '{blob}', which no layer makes; there are {made}")
    made_by = graph.producer[blob]
    if isinstance(made_by.op, Softmax) and loss.type == "SoftmaxWithLoss":
        raise ModelError(
            f"{source}: SoftmaxWithLoss computes the softmax itself; put it on '{made_by.inputs[0]}', which {made_by.place} reads"
        )
    part = rebatch(graph.up_to([blob]), 1)
    part.verify()
    return part


def _layers(graph: Graph, layers: Sequence[str] | None, source: str) -> tuple[str, ...]:
    there = [node.name for node in graph.nodes if isinstance(node.op, Weighted)]
    if layers is None:
        return tuple(there)
    missing = [name for name in layers if name not in there]
    if missing:
        raise ModelError(
            f"{source}: there is no layer with weights that the loss depends on named {', '.join(map(repr, missing))}"
        )
    return tuple(layers)


def _check_sizes(inputs: Mapping[str, Array], labels: Array, source: str) -> None:
    sizes = {name: len(array) for name, array in inputs.items()} | {"labels": len(labels) if labels.ndim else 0}
    if len(set(sizes.values())) != 1:
        raise ModelError(f"{source}: inputs and labels must have one number of samples, found {sizes}")
