"""Layers that run in Python: those of the script, and a few of Caffe's own that belong to training and testing."""

from __future__ import annotations

import importlib
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from nuqconv.errors import NetError
from nuqconv.pycaffe.definition import PHASES
from nuqconv.pycaffe.fillers import Spec, filled
from nuqconv.pycaffe.layer import Layer
from nuqconv.pycaffe.messages import stock_layer
from nuqconv.pycaffe.proto import caffe_pb2
from nuqconv.pycaffe.states import LayerState

__all__ = ["DummyData", "MemoryData", "PythonLayer"]

Floats = npt.NDArray[np.float32]


class PythonLayer(LayerState):
    """A layer that the script defines, called as Caffe calls it: setup once, then reshape before every forward."""

    instance: Layer

    @property
    def public(self) -> Any:
        """The script's own object."""
        return self.instance

    def start(self, phase: str) -> None:
        """Imports and makes the script's object."""
        param = self.text.message.python_param
        module = importlib.import_module(param.module)
        self.instance = getattr(module, param.layer)(stock_layer(self.text))
        self.instance.blobs = self.blobs
        self.instance.param_str = param.param_str
        self.instance.phase = PHASES.index(phase)

    def setup(self) -> None:
        """Calls setup, then reshape."""
        self.instance.setup(self.bottoms, self.tops)
        self.reshape()

    def reshape(self) -> None:
        """Calls reshape."""
        self.instance.reshape(self.bottoms, self.tops)

    def forward(self) -> None:
        """Calls forward."""
        self.instance.forward(self.bottoms, self.tops)


class MemoryData(LayerState):
    """Batches of an array that the script hands over (``Net.set_input_arrays``)."""

    def setup(self) -> None:
        """The shape stands in ``memory_data_param``."""
        param = stock_layer(self.text).memory_data_param
        sizes = [param.batch_size, param.channels, param.height, param.width]
        if min(sizes) < 1 or len(self.tops) != 2:
            raise NetError(f"{self.place}: needs batch_size, channels, height and width above 0 and two tops")
        self.size = sizes[0]
        self._arrays: tuple[Floats, Floats] | None = None
        self._next = 0
        self.tops[0].reshape(*sizes)
        self.tops[1].reshape(sizes[0])

    def set_arrays(self, data: Floats, labels: Floats) -> None:
        """Takes the arrays; the first batch comes with the next forward pass.

        Raises:
            NetError: They do not fit the layer, or each other.
        """
        shape = self.tops[0].shape
        if data.ndim != 4 or labels.ndim != 4 or data.shape[1:] != shape[1:] or prod(labels.shape[1:]) != 1:
            raise NetError(f"{self.place}: takes data of shape (N, {shape[1:]}) and labels of shape (N, 1, 1, 1)")
        if len(data) != len(labels) or len(data) % self.size:
            raise NetError(f"{self.place}: takes as many labels as samples, a multiple of batch_size {self.size}")
        self._arrays = (data, labels)
        self._next = 0

    def forward(self) -> None:
        """The next batch, from the start again after the last."""
        if self._arrays is None:
            raise NetError(f"{self.place}: has no data; call Net.set_input_arrays first")
        self.tops[1].reshape(self.size, 1, 1, 1)
        for top, array in zip(self.tops, self._arrays, strict=True):
            top.data[...] = array[self._next : self._next + self.size].reshape(top.shape)
        self._next = (self._next + self.size) % len(self._arrays[0])


class DummyData(LayerState):
    """Tops that fillers fill: constants once, new random numbers in every forward pass."""

    def setup(self) -> None:
        """Shapes and fillers stand in ``dummy_data_param``."""
        param = stock_layer(self.text).dummy_data_param
        shapes = [tuple(shape.dim) for shape in param.shape]
        shapes = shapes or list(zip(param.num, param.channels, param.height, param.width, strict=True))
        fillers = list(param.data_filler) or [caffe_pb2.FillerParameter()]
        count = len(self.tops)
        shapes = shapes * count if len(shapes) == 1 else shapes
        fillers = fillers * count if len(fillers) == 1 else fillers
        if len(shapes) != count or len(fillers) != count:
            raise NetError(f"{self.place}: has {count} tops, {len(shapes)} shapes and {len(fillers)} fillers")
        self._specs = [Spec(shape, filler) for shape, filler in zip(shapes, fillers, strict=True)]
        for top, spec in zip(self.tops, self._specs, strict=True):
            top.reshape(*spec.shape)
            top.data[...] = filled(spec)

    def forward(self) -> None:
        """New random numbers."""
        for top, spec in zip(self.tops, self._specs, strict=True):
            if spec.filler.type != "constant":
                top.data[...] = filled(spec)
