"""A net of real Caffe that stays from one model of a search to the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nuqconv.errors import FormatError, ModelError
from nuqconv.frontends.caffe.layer_types import trait_of
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.ir import Array
from nuqconv.ir.traits import Stateful
from nuqconv.runtimes.caffe.net import Net
from nuqconv.runtimes.caffe.process import CaffeProcess

__all__ = ["KeptNet"]

_Blobs = Mapping[str, tuple[Array, ...]]


class KeptNet:
    """Loads models into one child process, and where only weights differ from the last one's, sets those in the net that is there.

    A net is kept while the .prototxt has the same text and the .caffemodel the same layers and shapes, if the layers carry nothing from
    pass to pass and share no parameters; its answers are then those of a new net. Not for several threads at once.

    Args:
        process: The child; by default a new one. `close` ends it.
    """

    def __init__(self, process: CaffeProcess | None = None) -> None:
        self.process = CaffeProcess() if process is None else process
        self.text = b""
        self._net: Net | None = None
        self._blobs: _Blobs | None = None

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self.process.alive

    def load(self, model_file: str, weights_file: str) -> Net:
        """Returns a net with a model's weights; one that was returned before is no longer to be used.

        Raises:
            FormatError: A file does not exist.
            CaffeProcessError: Caffe cannot load the model, or the child has ended.
        """
        text = Path(model_file).read_bytes() if Path(model_file).is_file() else b""
        if self._net is not None and self._blobs is not None and text == self.text:
            found = _read(weights_file)
            if found is not None and _same_shapes(found, self._blobs):
                try:
                    self._exchange(self._net, self._blobs, found)
                except BaseException:
                    self.forget()
                    raise
                self._blobs = found
                return self._net
        self.forget()
        # The folder of the model is where the module of a calibration model's Python layers lies.
        net = Net(model_file, weights_file, process=self.process, pythonpath=[Path(model_file).parent])
        self._net, self.text = net, text
        if not net.shares_params and not any(trait_of(layer.type, Stateful) for layer in net.layers):
            self._blobs = _read(weights_file)
        return net

    def _exchange(self, net: Net, before: _Blobs, after: _Blobs) -> None:
        for layer, arrays in after.items():
            if layer not in net.params:
                continue
            changed = {
                index: array.reshape(net.params[layer][index].shape)
                for index, array in enumerate(arrays)
                if not _same_bits(array, before[layer][index])
            }
            if changed:
                net.set_params(layer, changed)

    def forget(self) -> None:
        """Frees the net, so that the next model is loaded whatever it is."""
        net, self._net, self._blobs, self.text = self._net, None, None, b""
        if net is not None:
            net.close()

    def close(self) -> None:
        """Ends the child."""
        self._net = self._blobs = None
        self.process.close()


def _read(weights_file: str) -> _Blobs | None:
    """Returns the blobs of each layer, or None unless all is stored in the form in which Caffe reads it without changing it."""
    try:
        weights = read_weights(weights_file)
        if weights.notes:
            return None
        found = {name: tuple(blob_array(blob) for blob in layer.blobs) for name, layer in weights.layers.items()}
    except (FormatError, ModelError):
        # Caffe has the last word on a file that cannot be read here.
        return None
    return found if all(array.dtype == np.float32 for arrays in found.values() for array in arrays) else None


def _same_shapes(one: _Blobs, other: _Blobs) -> bool:
    return list(one) == list(other) and all(
        [array.shape for array in arrays] == [array.shape for array in other[name]] for name, arrays in one.items()
    )


def _same_bits(one: Array, other: Array) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))
