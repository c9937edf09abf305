"""A net in real Caffe, in a child process; blobs and parameters are kept here and there in step."""

from __future__ import annotations

import importlib.util
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from google.protobuf import text_format

from nuqconv.errors import CaffeProcessError, NetError, UnsupportedError
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.frontends.caffe.weights import Weights
from nuqconv.pycaffe.blob import Blob, BlobVec, Epoch
from nuqconv.pycaffe.definition import Definition
from nuqconv.pycaffe.memory import Floats
from nuqconv.pycaffe.messages import stock_layer
from nuqconv.pycaffe.proto import caffe_pb2
from nuqconv.pycaffe.states import LayerState, load_blobs
from nuqconv.runtimes.caffe import CaffeProcess
from nuqconv.runtimes.caffe import Net as CaffeNet
from nuqconv.runtimes.caffe.net import Phase

__all__ = ["ChildBackend"]


class _Process:
    """The one child in which all nets of this process live; another one after a crash."""

    current: CaffeProcess | None = None
    # Nets that nobody has any more; garbage is collected at any moment, also in the middle of a request.
    unused: ClassVar[list[CaffeNet]] = []

    @classmethod
    def tidy(cls) -> None:
        """Frees nets that nobody has any more."""
        while cls.unused:
            cls.unused.pop().close()

    @classmethod
    def get(cls) -> CaffeProcess:
        """Returns the child."""
        cls.tidy()
        if cls.current is None or not cls.current.alive:
            cls.current = CaffeProcess()
        return cls.current


class _Mirror:
    """One array that is here and in the child.

    Args:
        blob: The blob here.
        fetch: Gets the numbers there.
        sent: `Memory.stamp` when both were the same; -1 if they are not.
    """

    def __init__(self, blob: Blob, fetch: Callable[[], Floats], sent: int = 0) -> None:
        self.blob = blob
        self._fetch = fetch
        self._sent = sent
        self._known: Floats | None = None

    @property
    def changed(self) -> bool:
        """Whether a script has written here since."""
        memory = self.blob.memory
        if memory.deferred or not (memory.held or memory.stamp != self._sent):
            return False
        same = self._known is not None and np.array_equal(self._known, self.now().reshape(-1), equal_nan=True)
        if same:
            self._sent = memory.stamp
        return not same

    def now(self) -> Floats:
        """The numbers here."""
        return self.blob.memory.look()[: self.blob.count].reshape(self.blob.shape)

    def written(self) -> None:
        """The numbers here are there too now."""
        self._sent, self._known = self.blob.memory.stamp, self.now().reshape(-1).copy()

    def lost(self) -> None:
        """The ones there may have changed."""
        self._known = None
        self._sent = self.blob.memory.stamp
        self.blob.memory.defer(self._get)

    def _get(self) -> Floats:
        found = self._fetch()
        self._known = found.copy()
        return found


class _ChildBlob(Blob):
    """A blob whose memory others may share in the child: before it is looked at, what was written into those is sent."""

    net: weakref.ref[ChildBackend]

    @property
    def data(self) -> Floats:
        """The numbers, in an array that can be written."""
        net = self.net()
        if net is not None:
            net.settle(self)
        return self.memory.view()[: self.count].reshape(self.shape)


class ChildBackend:
    """A net.

    Args:
        definition: The net.
        weights: Its weights, or None.

    Attributes:
        blobs: Its blobs by name.
        layers: Its layers.

    Raises:
        NetError: Caffe refuses the net.
        RuntimeMissingError: There is no Caffe.
        UnsupportedError: A layer is defined in the script itself, which the child cannot import.
    """

    def __init__(self, definition: Definition, weights: Weights | None) -> None:
        self.definition = definition
        self._path = definition.path
        folders = _module_folders(definition)
        with self._asking(), _as_file(definition) as model:
            phase: Phase = "TRAIN" if definition.phase == "TRAIN" else "TEST"
            path = None if weights is None else weights.path
            self._net = CaffeNet(model, path, phase=phase, process=_Process.get(), pythonpath=folders)
        weakref.finalize(self, _Process.unused.append, self._net)
        self.epoch = Epoch()
        self._names = list(self._net.blobs)
        self.blobs: dict[str, Blob] = {name: _ChildBlob((0,), self.epoch) for name in self._names}
        self._there: dict[str, tuple[int, ...]] = {}
        self.layers = [self._layer(number, layer) for number, layer in enumerate(definition.layers)]
        self._blob_mirrors = {name: _Mirror(blob, self._fetch(name)) for name, blob in self.blobs.items()}
        self._param_mirrors = {
            (layer.name, number): _Mirror(blob, self._fetch_param(layer.name, number))
            for layer in self.layers
            for number, blob in enumerate(layer.blobs)
        }
        self._follow()
        self._changed_there(params=True)
        for blob in self.blobs.values():
            if isinstance(blob, _ChildBlob):
                blob.net = weakref.ref(self)

    def _layer(self, number: int, text: LayerText) -> LayerState:
        found = self._net.layers[number]
        message = text.message
        tops, bottoms = ([self.blobs[name] for name in names] for names in (message.top, message.bottom))
        layer = LayerState(text, self.definition.place(text), bottoms, tops)
        layer.blobs.extend(Blob(tuple(shape)) for shape in found.param_shapes)
        return layer

    @property
    def params(self) -> list[BlobVec]:
        """The parameters of each layer."""
        return [layer.blobs for layer in self.layers]

    @property
    def public_layers(self) -> list[Any]:
        """The layers; those of type Python live in the child."""
        return list(self.layers)

    def forward(self, first: int, last: int, wanted: Sequence[Blob]) -> float:
        """Runs layers there, with what was written here."""
        del wanted
        if first > last:
            return 0.0
        self._flush()
        ends = {"start": self.layers[first].name, "end": self.layers[last].name}
        self._request("forward", {"outputs": [], **ends})
        self._follow()
        self._changed_there(params=False)
        loss = 0.0
        for layer in self.layers[first : last + 1]:
            weights = list(layer.text.message.loss_weight) or [1.0] * layer.type.endswith("Loss")
            loss += sum(
                weight * float(top.data.sum()) for weight, top in zip(weights, layer.tops, strict=False) if weight
            )
        return loss

    def backward(self, first: int, last: int) -> None:
        """Runs layers backwards there; gradients of parameters are added to what they were."""
        self._flush()
        diffs = [(name, blob.diff) for name, blob in self.blobs.items() if blob.diff_memory.exposures]
        if diffs:
            self._request("set_blob_diffs", {}, diffs)
        ends = {"start": self.layers[last].name, "end": self.layers[first].name}
        self._request("backward", {**ends, "zero": False, "squares": []})
        for name, blob in self.blobs.items():
            blob.diff_memory.reserve(blob.count)
            blob.diff_memory.defer(self._fetch(name, "get_blob_diffs"))
        for layer in self.layers:
            for number, blob in enumerate(layer.blobs):
                blob.diff_memory.reserve(blob.count)
                blob.diff_memory.defer(self._fetch_param(layer.name, number, "get_diffs"))

    def refuse_backward(self) -> None:
        """There is a backward pass here."""

    def reshape(self) -> None:
        """Lets all layers follow there."""
        self._flush()
        self._request("reshape", {"shapes": [], "propagate": True})
        self._follow()
        self._changed_there(params=False)

    def copy_from(self, weights: Weights) -> None:
        """Loads weights here; they are sent with the next pass."""
        load_blobs(self.layers, weights)

    def share_with(self, other: Any) -> None:
        """Makes the parameters of another net in the child these; each pass sends what has changed."""
        sources = {layer.name: layer for layer in other.layers}
        for layer in self.layers:
            source = sources.get(layer.name)
            if source is None:
                continue
            if [blob.shape for blob in source.blobs] != [blob.shape for blob in layer.blobs]:
                raise NetError(
                    f"{layer.place}: Cannot share params: the parameters have other shapes than those of the other net"
                )
            for number, (mine, its) in enumerate(zip(layer.blobs, source.blobs, strict=True)):
                # Fetched first, so that both nets know the same numbers.
                its.memory.look()
                mine.memory = its.memory
                self._param_mirrors[layer.name, number] = _Mirror(mine, self._fetch_param(layer.name, number), -1)

    def set_input_arrays(self, data: Floats, labels: Floats) -> None:
        """Refused: a MemoryData layer would need the arrays in the child.

        Raises:
            NetError: The first layer is no MemoryData.
            UnsupportedError: It is one.
        """
        del data, labels
        if not self.layers or self.layers[0].type != "MemoryData":
            raise NetError("set_input_arrays may only be called if the first layer is a MemoryDataLayer")
        raise UnsupportedError(
            f"{self._path}: set_input_arrays works with NUQCONV_PYCAFFE=onnxruntime only; write the batches into the blob of an Input layer"
        )

    def settle(self, reader: Blob) -> None:
        """Sends what was written into other blobs, in case one of them is the reader's memory too."""
        self._send_blobs(
            [name for name, mirror in self._blob_mirrors.items() if mirror.blob is not reader and mirror.changed]
        )

    def _send_blobs(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._send_shapes()
        self._request("set", {}, [(name, self._blob_mirrors[name].now()) for name in names])
        for name, mirror in self._blob_mirrors.items():
            if name in names:
                mirror.written()
            elif not mirror.changed:
                mirror.lost()

    def _send_shapes(self) -> None:
        shapes = {name: blob.shape for name, blob in self.blobs.items() if self._there[name] != blob.shape}
        if shapes:
            listed = [[name, list(shape)] for name, shape in shapes.items()]
            self._request("reshape", {"shapes": listed, "propagate": False})
            self._there.update(shapes)

    def _flush(self) -> None:
        """Sends shapes and numbers that were changed here."""
        self._send_shapes()
        self._send_blobs([name for name, mirror in self._blob_mirrors.items() if mirror.changed])
        for layer in self.layers:
            mirrors = [(number, self._param_mirrors[layer.name, number]) for number in range(len(layer.blobs))]
            changed = [(number, mirror) for number, mirror in mirrors if mirror.changed]
            if changed:
                arrays = [(str(number), mirror.now()) for number, mirror in changed]
                self._request("set_params", {"layer": layer.name}, arrays)
            for _, mirror in changed:
                mirror.written()

    def _follow(self) -> None:
        """Takes over the shapes there."""
        shapes = self._request("shapes", {"names": self._names}).fields["shapes"]
        for name, shape in zip(self._names, shapes, strict=True):
            self._there[name] = tuple(shape)
            if self.blobs[name].shape != tuple(shape):
                self.blobs[name].reshape(*shape)

    def _changed_there(self, *, params: bool) -> None:
        for mirror in (*self._blob_mirrors.values(), *(self._param_mirrors.values() if params else ())):
            mirror.lost()

    def _fetch(self, name: str, operation: str = "get") -> Callable[[], Floats]:
        def fetch() -> Floats:
            found: Floats = self._request(operation, {"names": [name]}).arrays[name]
            return found.reshape(-1)

        return fetch

    def _fetch_param(self, layer: str, number: int, operation: str = "get_params") -> Callable[[], Floats]:
        def fetch() -> Floats:
            found: Floats = self._request(operation, {"layer": layer, "index": None}).arrays[str(number)]
            return found.reshape(-1)

        return fetch

    def _request(self, operation: str, fields: dict[str, Any], arrays: Iterable[tuple[str, Floats]] = ()) -> Any:
        _Process.tidy()
        with self._asking():
            return self._net.request(operation, fields, arrays)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except CaffeProcessError as error:
            raise NetError(f"{self._path}: {error}") from error


def _module_folders(definition: Definition) -> list[Path]:
    """Returns where the modules of Python layers are."""
    found: list[Path] = []
    for layer in definition.layers:
        if layer.message.type != "Python":
            continue
        module = layer.message.python_param.module
        if module == "__main__":
            raise UnsupportedError(
                f"{definition.place(layer)}: is defined in the script itself, which real Caffe in its child process cannot import; "
                "move it to a module of its own, or run it with NUQCONV_PYCAFFE=onnxruntime"
            )
        spec = importlib.util.find_spec(module.partition(".")[0])
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        place = Path(spec.origin).parent
        found.append(place.parent if spec.submodule_search_locations else place)
    return list(dict.fromkeys(found))


@contextmanager
def _as_file(definition: Definition) -> Iterator[str]:
    """Yields a file that Caffe builds the same net of; level and stages, which the child knows nothing of, have chosen already."""
    if not definition.selected:
        yield definition.path
        return
    net = caffe_pb2.NetParameter(name=definition.name)
    for layer in definition.layers:
        message = stock_layer(layer)
        del message.include[:], message.exclude[:]
        net.layer.append(message)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "net.prototxt"
        model.write_text(text_format.MessageToString(net), encoding="utf-8")
        yield str(model)
