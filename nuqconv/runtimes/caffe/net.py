"""Nets of real Caffe with an interface like pycaffe's, living in a child process.

Two things differ from pycaffe. What ``.data`` returns is a copy, read-only so that ``net.blobs["data"].data[...] = x`` is an error
rather than a loss: write ``net.blobs["data"].data = x``. And a forward pass with inputs of another batch size or image size reshapes the
net by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nuqconv.errors import CaffeProcessError, FormatError
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.child import DEFAULT_TIMEOUT, Reply

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Blob", "Layer", "Net", "Param", "Phase"]

Phase = Literal["TEST", "TRAIN"]


@dataclass(frozen=True)
class Layer:
    """One layer as Caffe has built it, after its own upgrades and with the Split layers that it inserts.

    Attributes:
        name: Its name.
        type: Its type.
        bottoms: Names of the blobs that it reads; None where a very old pycaffe does not tell.
        tops: Names of the blobs that it writes; None likewise.
        param_shapes: Shapes of its parameters.
    """

    name: str
    type: str
    bottoms: tuple[str, ...] | None
    tops: tuple[str, ...] | None
    param_shapes: tuple[tuple[int, ...], ...]


class Blob:
    """A blob of a net; each access asks the child."""

    def __init__(self, net: Net, name: str) -> None:
        self._net = net
        self.name = name

    def __repr__(self) -> str:
        return f"<blob {self.name!r} of {self._net.model_file}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Its present shape."""
        (shape,) = self._net.request("shapes", {"names": [self.name]}).fields["shapes"]
        return tuple(shape)

    @property
    def data(self) -> npt.NDArray[np.float32]:
        """Its values: a read-only copy. Assign an array of the same shape to change them."""
        return _read_only(self._net.request("get", {"names": [self.name]}).arrays[self.name])

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        self._net.request("set", {}, [(self.name, value)])

    def reshape(self, *shape: int) -> None:
        """Give it another shape; the net follows with its next forward pass or with ``Net.reshape``."""
        self._net.request("reshape", {"shapes": [[self.name, [int(size) for size in shape]]], "propagate": False})


class Param:
    """One parameter of a layer: its weights or its bias, for example."""

    def __init__(self, net: Net, layer: str, index: int, shape: tuple[int, ...]) -> None:
        self._net = net
        self._layer = layer
        self._index = index
        self.shape = shape

    def __repr__(self) -> str:
        return f"<parameter {self._index} {self.shape} of layer {self._layer!r} of {self._net.model_file}>"

    @property
    def data(self) -> npt.NDArray[np.float32]:
        """Its values: a read-only copy. Assign an array of the same shape to change them."""
        reply = self._net.request("get_params", {"layer": self._layer, "index": self._index})
        return _read_only(reply.arrays[str(self._index)])

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        self._net.request("set_params", {"layer": self._layer}, [(str(self._index), value)])


class Blobs(Mapping[str, Blob]):
    """The blobs of a net by name, in the order in which Caffe computes them."""

    def __init__(self, net: Net, names: Iterable[str]) -> None:
        self._net = net
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Blob:
        if name not in self._names:
            raise KeyError(f"{self._net.model_file} has no blob {name!r}; it has {', '.join(self._names)}")
        return Blob(self._net, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Net:
    """A net of real Caffe in a child process.

    It is a context manager. After a crash of its process it is dead, and each use says so with the first failure's message.

    Args:
        model_file: The prototxt.
        weights_file: The caffemodel; without it the parameters are what the fillers give.
        phase: "TEST" or "TRAIN".
        timeout: Seconds that one request may take. Not with ``process``, which has its own.
        python: Interpreter that has Caffe, by default what ``require_caffe`` finds. Not with ``process``.
        process: A process to live in together with other nets; it stays when this net is closed.
        pythonpath: Folders in which the modules of ``Python`` layers are looked for first. Nets in one process share their modules.
        env: Environment variables for the child. Not with ``process``.

    Attributes:
        model_file: The prototxt.
        process: The process in which it lives.
        inputs: Names of its input blobs.
        outputs: Names of its output blobs.
        layers: Its layers in the order in which they run.
        blobs: Its blobs by name.
        params: The parameters by layer name, for the layers that have any.
        shares_params: Whether layers share parameters, so that to set one is to set another.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        weights_file: str | os.PathLike[str] | None = None,
        phase: Phase = "TEST",
        *,
        timeout: float | None = None,
        python: str | os.PathLike[str] | None = None,
        process: CaffeProcess | None = None,
        pythonpath: Sequence[str | os.PathLike[str]] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        if phase not in ("TEST", "TRAIN"):
            raise ValueError(f"phase is {phase!r}; it must be 'TEST' or 'TRAIN'")
        if process is not None and not (timeout is None and python is None and env is None):
            raise ValueError("timeout, python and env belong to the process; give them to CaffeProcess")
        self.model_file = os.fspath(model_file)
        self.weights_file = None if weights_file is None else os.fspath(weights_file)
        for path in (self.model_file, self.weights_file):
            if path is not None and not Path(path).is_file():
                raise FormatError(f"{path}: there is no such file, so real Caffe cannot load it")
        self._own_process = process is None
        self.process = process or CaffeProcess(python, timeout=DEFAULT_TIMEOUT if timeout is None else timeout, env=env)
        self._id: int | None = None
        try:
            described = self.process.request(
                "load",
                {
                    "model": str(Path(self.model_file).absolute()),
                    "weights": None if self.weights_file is None else str(Path(self.weights_file).absolute()),
                    "phase": phase,
                    "pythonpath": [str(Path(folder).absolute()) for folder in pythonpath],
                },
                subject=self._subject,
            ).fields
        except BaseException:
            self.close()
            raise
        self._id = described["net"]
        self.inputs: list[str] = described["inputs"]
        self.outputs: list[str] = described["outputs"]
        self.shares_params: bool = described["shares_params"]
        self.blobs = Blobs(self, (name for name, _ in described["blobs"]))
        self.layers = [
            Layer(
                name=layer["name"],
                type=layer["type"],
                bottoms=None if layer["bottoms"] is None else tuple(layer["bottoms"]),
                tops=None if layer["tops"] is None else tuple(layer["tops"]),
                param_shapes=tuple(tuple(shape) for shape in layer["params"]),
            )
            for layer in described["layers"]
        ]
        self.params = {
            layer.name: [Param(self, layer.name, index, shape) for index, shape in enumerate(layer.param_shapes)]
            for layer in self.layers
            if layer.param_shapes
        }

    @property
    def _subject(self) -> str:
        return self.model_file if self.weights_file is None else f"{self.model_file} with {self.weights_file}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Net {self._subject} in process {self.process.pid}>"

    def close(self) -> None:
        """Free the net, and end its process if that was started for it; closing again does nothing."""
        if self._own_process:
            self.process.close()
        elif self._id is not None and self.process.alive:
            # A process that has died meanwhile has freed the net as well, and tells its next user.
            with contextlib.suppress(CaffeProcessError):
                self.process.request("close", {"net": self._id}, subject=self._subject)
        self._id = None

    def request(
        self, operation: str, fields: Mapping[str, object], arrays: Iterable[tuple[str, npt.ArrayLike]] = ()
    ) -> Reply:
        """Let the child carry out an operation on this net; see ``CaffeProcess.request``."""
        if self._id is None and self.process.alive:
            raise CaffeProcessError(f"{self._subject}: this net was closed, so {operation!r} cannot run")
        return self.process.request(operation, {**fields, "net": self._id}, arrays, subject=self._subject)

    def reshape(self) -> None:
        """Let all blobs follow the shapes of the inputs."""
        self.request("reshape", {"shapes": [], "propagate": True})

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: npt.ArrayLike,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run the net as pycaffe's ``Net.forward`` does.

        Args:
            blobs: Blobs to return besides the outputs.
            start: Layer to begin with, by default the first.
            end: Layer to end with, by default the last; its tops are then the outputs.
            **inputs: Values of the input blobs: all of them, or none to keep what they hold.

        Returns:
            New arrays by blob name.
        """
        outputs = self.outputs if end is None else self._tops(end)
        return self.run(inputs, [*outputs, *(blobs or ())], start=start, end=end)

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] | None = None,
        *,
        start: str | None = None,
        end: str | None = None,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run the net in one round trip; takes blobs of any name, which keyword arguments cannot.

        An input whose shape differs from its blob's, with the same number of axes, reshapes the net first.

        Args:
            inputs: Values by blob name: all inputs of the net, or none to keep what they hold; any blobs if ``start`` is given.
            outputs: Names of the blobs to return, by default the net's outputs.
            start: Layer to begin with, by default the first.
            end: Layer to end with, by default the last.

        Returns:
            New, writable arrays by blob name, in the order of ``outputs``.

        Raises:
            CaffeProcessError: If Caffe fails, or a name or shape does not fit the net.
        """
        if inputs and start is None and set(inputs) != set(self.inputs):
            raise CaffeProcessError(
                f"{self._subject}: a forward pass got values for {', '.join(sorted(inputs))}; "
                f"the net's inputs are {', '.join(self.inputs) or 'none'}: give all of them, or none to keep what they hold"
            )
        names = list(dict.fromkeys(self.outputs if outputs is None else outputs))
        return self.request("forward", {"outputs": names, "start": start, "end": end}, inputs.items()).arrays

    def backward(
        self, *, start: str | None = None, end: str | None = None, zero: bool = True, squares: Sequence[str] = ()
    ) -> None:
        """Run the net backwards from its loss, after a forward pass.

        Args:
            start: Layer to end with, by default the first.
            end: Layer to begin with, by default the last.
            zero: Whether the gradients of all parameters are set to 0 first; Caffe adds to them.
            squares: Layers for whose weights the squares of the gradient are added to the sums that `square_sums` returns.

        Raises:
            CaffeProcessError: A layer has no backward pass; the process has ended then.
        """
        self.request("backward", {"start": start, "end": end, "zero": zero, "squares": list(squares)})

    def square_sums(self, layers: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """Returns the sums, over backward passes, of the squares of the gradient of each layer's weights, in the weights' shape."""
        found = self.request("square_sums", {"layers": list(layers)}).arrays
        return {name: array.view(np.float64).reshape(self.params[name][0].shape) for name, array in found.items()}

    def get_diffs(self, layer: str) -> list[npt.NDArray[np.float32]]:
        """Returns the gradients of all parameters of a layer in one round trip."""
        return list(self.request("get_diffs", {"layer": layer}).arrays.values())

    def get_blobs(self, names: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Returns the present values of several blobs in one round trip."""
        return self.request("get", {"names": list(dict.fromkeys(names))}).arrays

    def get_params(self, layer: str) -> list[npt.NDArray[np.float32]]:
        """Returns all parameters of a layer in one round trip."""
        return list(self.request("get_params", {"layer": layer, "index": None}).arrays.values())

    def set_params(self, layer: str, values: Sequence[npt.ArrayLike] | Mapping[int, npt.ArrayLike]) -> None:
        """Set parameters of a layer in one round trip: the first ones, for example the weights alone, or those of given numbers."""
        items = values.items() if isinstance(values, Mapping) else enumerate(values)
        self.request("set_params", {"layer": layer}, [(str(index), value) for index, value in items])

    def _tops(self, layer_name: str) -> tuple[str, ...]:
        for layer in self.layers:
            if layer.name == layer_name:
                if layer.tops is None:
                    raise CaffeProcessError(
                        f"{self._subject}: this version of pycaffe does not tell the tops of layer {layer_name!r}; "
                        "use Net.run, which takes the names of the blobs to return"
                    )
                return layer.tops
        names = ", ".join(layer.name for layer in self.layers)
        raise CaffeProcessError(f"{self._subject}: there is no layer {layer_name!r} to end with; the net has {names}")


def _read_only(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    array.flags.writeable = False
    return array
