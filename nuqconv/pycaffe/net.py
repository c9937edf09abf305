"""Nets with pycaffe's face."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from nuqconv.errors import NetError
from nuqconv.frontends.caffe.weights import Weights, read_weights
from nuqconv.pycaffe.backend import Backend, make_backend
from nuqconv.pycaffe.blob import Blob, BlobVec
from nuqconv.pycaffe.definition import PHASES, read_definition
from nuqconv.pycaffe.store import read_hdf5, write_hdf5, write_weights

__all__ = ["TEST", "TRAIN", "Net"]

TRAIN, TEST = range(2)

Floats = npt.NDArray[np.float32]
Callback = Callable[[int], object]


class Net:
    """A net; see pycaffe's own documentation.

    It is made as ``Net(model, phase)``, ``Net(model, weights, phase)`` or ``Net(model, phase, weights=weights, level=0, stages=None)``.

    Args:
        network_file: The .prototxt.
        args: The phase, `TRAIN` or `TEST`, or the .caffemodel and the phase; then level, stages and weights.
        phase: The phase, by name.
        level: Caffe's level, which selects layers.
        stages: Caffe's stages, which select layers.
        weights: The .caffemodel.

    Raises:
        TypeError: The arguments are none of these.
        NetError: A file is missing, or Caffe would refuse the net.
        FormatError: A file cannot be read.
        UnsupportedError: A layer is not supported.
    """

    def __init__(
        self,
        network_file: str | os.PathLike[str],
        *args: Any,
        phase: int | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        if args and isinstance(args[0], str | os.PathLike):
            if len(args) != 2 or phase is not None or weights is not None:
                raise TypeError("Net takes a model and a phase, or a model, weights and a phase")
            weights, args = args[0], args[1:]
        names = ("phase", "level", "stages", "weights")
        given = {"phase": phase, "level": level, "stages": stages, "weights": weights}
        if len(args) > len(names):
            raise TypeError(f"Net takes at most {len(names) + 1} arguments")
        given.update(zip(names, args, strict=False))
        if given["phase"] is None:
            raise TypeError("Net needs a phase: caffe.TEST or caffe.TRAIN")
        self._build(os.fspath(network_file), **given)

    def _build(self, model: str, phase: Any, level: Any, stages: Any, weights: Any) -> None:
        number = index(phase)
        if number not in (TRAIN, TEST):
            raise NetError(f"the phase is {number}, expected caffe.TRAIN (0) or caffe.TEST (1)")
        definition = read_definition(model, PHASES[number], index(level), stages)
        stored = None if weights is None else _weights(os.fspath(weights))
        self._backend: Backend = make_backend(definition, stored)
        self._callbacks: dict[str, list[Callback]] = {"before": [], "after": []}
        layers = definition.layers
        self._layer_names = [layer.message.name for layer in layers]
        self._blob_names = list(self._backend.blobs)
        self._blobs = list(self._backend.blobs.values())
        places = {name: place for place, name in enumerate(self._blob_names)}
        self._tops = [[places[name] for name in layer.message.top] for layer in layers]
        self._bottoms = [[places[name] for name in layer.message.bottom] for layer in layers]
        self._inputs = [
            place
            for layer, tops in zip(layers, self._tops, strict=True)
            if layer.message.type == "Input"
            for place in tops
        ]
        left: dict[str, None] = {}
        for layer in layers:
            for name in layer.message.bottom:
                left.pop(name, None)
            left.update(dict.fromkeys(layer.message.top))
        self._outputs = [places[name] for name in sorted(left, key=os.fsencode)]
        self.blobs: OrderedDict[str, Blob] = OrderedDict(zip(self._blob_names, self._blobs, strict=True))
        self.inputs = [self._blob_names[place] for place in self._inputs]
        self.outputs = [self._blob_names[place] for place in self._outputs]
        self.top_names = self._names_of(self._tops)
        self.bottom_names = self._names_of(self._bottoms)
        self._definition = definition

    def _names_of(self, places: Sequence[Sequence[int]]) -> OrderedDict[str, list[str]]:
        return OrderedDict(
            (name, [self._blob_names[place] for place in ids])
            for name, ids in zip(self._layer_names, places, strict=True)
        )

    @property
    def layers(self) -> list[Any]:
        """The layers in order; of type Python the script's own objects."""
        return self._backend.public_layers

    @property
    def layer_dict(self) -> OrderedDict[str, Any]:
        """The layers by name."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @property
    def params(self) -> OrderedDict[str, BlobVec]:
        """The parameters of each layer that has some."""
        pairs = zip(self._layer_names, self._backend.params, strict=True)
        return OrderedDict((name, blobs) for name, blobs in pairs if len(blobs))

    @property
    def _blob_loss_weights(self) -> list[float]:
        weights = dict.fromkeys(range(len(self._blobs)), 0.0)
        for layer, tops in zip(self._definition.layers, self._tops, strict=True):
            default = [1.0] if layer.message.type.endswith("Loss") else []
            weights.update(zip(tops, list(layer.message.loss_weight) or default, strict=False))
        return list(weights.values())

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The part of each blob in the loss."""
        return OrderedDict(zip(self._blob_names, self._blob_loss_weights, strict=True))

    def _top_ids(self, layer: int) -> list[int]:
        return list(self._tops[layer])

    def _bottom_ids(self, layer: int) -> list[int]:
        return list(self._bottoms[layer])

    def forward(
        self, blobs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> dict[str, Floats]:
        """Runs the net.

        Args:
            blobs: Blobs to return besides the outputs.
            start: Layer to begin with.
            end: Layer to end with; its tops are then the outputs.
            **kwargs: An array for each input of the net, or none to keep what they hold.

        Returns:
            The arrays by blob; they are the blobs' own memory, which the next pass overwrites.

        Raises:
            ValueError: ``start`` or ``end`` is no layer, or an array does not fit its blob.
            Exception: The names are not those of the inputs, or a batch size differs, as in pycaffe.
            KeyError: One of ``blobs`` does not exist.
        """
        extra = list(blobs or [])
        first = self._layer_names.index(start) if start is not None else 0
        last = self._layer_names.index(end) if end is not None else len(self._layer_names) - 1
        names = list(dict.fromkeys([*(self.outputs if end is None else self.top_names[end]), *extra]))
        self._assign(kwargs)
        wanted = [self.blobs[name] for name in names if name in self.blobs]
        self._run(first, last, wanted)
        return {name: self.blobs[name].data for name in names}

    def _assign(self, arrays: Mapping[str, Any]) -> None:
        if not arrays:
            return
        if set(arrays) != set(self.inputs):
            raise Exception("Input blob arguments do not match net inputs.")  # noqa: TRY002 - pycaffe's own kind
        for name, array in arrays.items():
            if array.shape[0] != self.blobs[name].shape[0]:
                raise Exception("Input is not batch sized")  # noqa: TRY002
            self.blobs[name].assign(array)

    def _forward(self, start: int, end: int) -> float:
        return self._run(start, end, [self._blobs[place] for place in self._outputs])

    def _run(self, first: int, last: int, wanted: Sequence[Blob]) -> float:
        if not any(self._callbacks.values()):
            return self._backend.forward(first, last, wanted)
        loss = 0.0
        for layer in range(first, last + 1):
            for call in self._callbacks["before"]:
                call(layer)
            loss += self._backend.forward(layer, layer, wanted)
            for call in self._callbacks["after"]:
                call(layer)
        return loss

    def before_forward(self, callback: Callback) -> None:
        """Has a function called with the number of each layer before it runs."""
        self._callbacks["before"].append(callback)

    def after_forward(self, callback: Callback) -> None:
        """Has a function called with the number of each layer after it has run."""
        self._callbacks["after"].append(callback)

    def before_backward(self, callback: Callback) -> None:
        """Refused: see `backward`."""
        del callback
        self._backend.refuse_backward()

    def after_backward(self, callback: Callback) -> None:
        """Refused: see `backward`."""
        del callback
        self._backend.refuse_backward()

    def forward_all(self, blobs: Iterable[str] | None = None, **kwargs: Any) -> dict[str, Floats]:
        """Runs any number of samples in batches of the net's size.

        Args:
            blobs: Blobs to return besides the outputs.
            **kwargs: An array for each input, with as many samples as there are.

        Returns:
            The arrays by blob, copies, with one entry for each sample.
        """
        extra = list(blobs or [])
        parts: dict[str, list[Floats]] = {name: [] for name in dict.fromkeys([*self.outputs, *extra])}
        for batch in self._batch(kwargs):
            for name, array in self.forward(blobs=extra, **batch).items():
                parts[name].extend(array.copy())
        count = len(next(iter(kwargs.values())))
        found = {name: np.asarray(rows) for name, rows in parts.items()}
        padding = len(next(iter(found.values()))) - count
        return {name: array[:-padding] for name, array in found.items()} if padding else found

    def _batch(self, arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields batches of the net's size, the last one filled up with zeros."""
        count = len(next(iter(arrays.values())))
        size = next(iter(self.blobs.values())).shape[0]
        for begin in range(0, count, size):
            batch = {name: np.asarray(array[begin : begin + size]) for name, array in arrays.items()}
            missing = size - min(size, count - begin)
            if missing:
                batch = {
                    name: np.concatenate([array, np.zeros((missing, *array.shape[1:]))])
                    for name, array in batch.items()
                }
            yield batch

    def backward(
        self, diffs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> dict[str, Floats]:
        """Runs the net backwards, in real Caffe only.

        Args:
            diffs: Blobs whose gradients to return besides those of the inputs.
            start: Layer to begin with.
            end: Layer to end with; its bottoms are then what is returned.
            **kwargs: The gradient of each output.

        Raises:
            UnsupportedError: The net runs in onnxruntime.
        """
        self._backend.refuse_backward()
        first = self._layer_names.index(start) if start is not None else len(self._layer_names) - 1
        last = self._layer_names.index(end) if end is not None else 0
        names = list(dict.fromkeys([*(self.inputs if end is None else self.bottom_names[end]), *(diffs or [])]))
        if kwargs:
            if set(kwargs) != set(self.outputs):
                raise Exception("Top diff arguments do not match net outputs.")  # noqa: TRY002
            for name, array in kwargs.items():
                if array.shape[0] != self.blobs[name].shape[0]:
                    raise Exception("Diff is not batch sized")  # noqa: TRY002
                self.blobs[name].diff[...] = array
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in names}

    def _backward(self, start: int, end: int) -> None:
        self._backend.backward(start, end)

    def forward_backward_all(
        self, blobs: Iterable[str] | None = None, diffs: Iterable[str] | None = None, **kwargs: Any
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Runs any number of samples forwards and backwards in batches; in real Caffe only, see `backward`."""
        self._backend.refuse_backward()
        found: dict[str, list[Floats]] = {name: [] for name in dict.fromkeys([*self.outputs, *(blobs or [])])}
        found_diffs: dict[str, list[Floats]] = {name: [] for name in dict.fromkeys([*self.inputs, *(diffs or [])])}
        tops = {name: kwargs[name] for name in self.outputs if name in kwargs}
        steps = list(self._batch(tops)) if tops else []
        for number, batch in enumerate(self._batch({name: kwargs[name] for name in self.inputs if name in kwargs})):
            for name, array in self.forward(blobs=blobs, **batch).items():
                found[name].extend(array.copy())
            for name, array in self.backward(diffs=diffs, **(steps[number] if steps else {})).items():
                found_diffs[name].extend(array.copy())
        count = len(next(iter(kwargs.values())))
        return (
            {name: np.asarray(rows)[:count] for name, rows in found.items()},
            {name: np.asarray(rows)[:count] for name, rows in found_diffs.items()},
        )

    def clear_param_diffs(self) -> None:
        """Sets the gradients of all parameters to 0."""
        for blobs in self._backend.params:
            for blob in blobs:
                blob.diff[...] = 0

    def reshape(self) -> None:
        """Lets all blobs follow the shapes of the inputs."""
        self._backend.reshape()

    def copy_from(self, weights: str | os.PathLike[str]) -> None:
        """Loads the weights of the layers that a .caffemodel (or .h5) has under the same names.

        Raises:
            NetError: There is no such file, or a shape differs.
            FormatError: It is no .caffemodel.
        """
        self._backend.copy_from(_weights(os.fspath(weights)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the layers with their weights to a .caffemodel.

        Raises:
            OutputError: It cannot be written.
        """
        write_weights(os.fspath(path), self._definition, self._backend.params)

    def save_hdf5(self, path: str | os.PathLike[str], write_diff: bool = False) -> None:
        """Writes the weights to an HDF5 file as Caffe does; needs h5py."""
        write_hdf5(os.fspath(path), self._layer_names, self._backend.params, write_diff=write_diff)

    def load_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Loads weights from an HDF5 file of Caffe; needs h5py."""
        self._backend.copy_from(read_hdf5(os.fspath(path)))

    def share_with(self, other: Net) -> None:
        """Makes the parameters of another net those of the layers that have the same names here.

        Raises:
            TypeError: The other one is no net.
            NetError: A shape differs.
        """
        if not isinstance(other, Net):
            raise TypeError(f"share_with takes a Net, found {type(other).__name__}")
        self._backend.share_with(other._backend)

    def set_input_arrays(self, data: Floats, labels: Floats) -> None:
        """Hands arrays to a MemoryData layer, which must be the first one.

        Raises:
            NetError: The first layer is none, or the arrays do not fit it.
        """
        self._backend.set_input_arrays(
            data, labels[:, np.newaxis, np.newaxis, np.newaxis] if labels.ndim == 1 else labels
        )

    def _set_input_arrays(self, data: Floats, labels: Floats) -> None:
        self._backend.set_input_arrays(data, labels)


def _weights(path: str) -> Weights:
    if not os.path.isfile(path):  # noqa: PTH113 - the path may be an empty text
        raise NetError(f"Could not open file {path}")
    return read_hdf5(path) if path.endswith((".h5", ".hdf5")) else read_weights(path)
