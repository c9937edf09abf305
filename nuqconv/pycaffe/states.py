"""The layers of a net: what each one computes, its parameters, and which memory its tops have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from nuqconv.errors import ModelError, NetError, UnsupportedError
from nuqconv.frontends.caffe.checks import layer_problems
from nuqconv.frontends.caffe.data_layers import is_data_layer
from nuqconv.frontends.caffe.layers import CannotReadError, Reading, WrongLayerError, has_no_effect, reader_for
from nuqconv.frontends.caffe.layers.custom import custom_reader
from nuqconv.frontends.caffe.memory import shares_memory
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.frontends.caffe.weights import Weights, blob_array, blob_shape
from nuqconv.ir import Array, Node, Origin
from nuqconv.ir.ops import Op, OpError, Parameter, Shape, Silence
from nuqconv.ir.ops.recurrent import StreamRecurrent
from nuqconv.ir.traits import SizedByData
from nuqconv.pycaffe.blob import Blob, BlobVec, Epoch
from nuqconv.pycaffe.fillers import Spec, check_filler, filled, parameter_specs, zeros

__all__ = ["Computed", "InputState", "LayerState", "Plan", "check_data_layer", "load_blobs"]

_KEPT_PLANS = 16

# What Caffe gives tops whose shapes only the run tells, before it.
_FIRST_SHAPES = {"DetectionOutput": (1, 1, 1, 7)}


@dataclass(frozen=True)
class Plan:
    """What a layer does with bottoms of given shapes.

    Attributes:
        reading: The operator, and how stored blobs become its parameters.
        tops: The shapes of its tops.
    """

    reading: Reading
    tops: tuple[Shape, ...]


class LayerState:
    """One layer of a net.

    Args:
        text: The layer of the file.
        place: Where it stands, for messages.
        bottoms: What it reads.
        tops: What it writes.

    Attributes:
        blobs: Its parameters.
        computed: Whether it runs in onnxruntime, as part of a segment.
    """

    computed = False

    def __init__(self, text: LayerText, place: str, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
        self.text = text
        self.place = place
        self.bottoms = BlobVec(bottoms)
        self.tops = BlobVec(tops)
        self.blobs = BlobVec()

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.text.message.name)

    @property
    def type(self) -> str:
        """Its type."""
        return str(self.text.message.type)

    @property
    def public(self) -> Any:
        """What ``net.layers`` shows."""
        return self

    def setup(self) -> None:
        """Makes its parameters and tops; once."""
        self.reshape()

    def reshape(self) -> None:
        """Gives the tops the shapes that belong to the bottoms."""

    def forward(self) -> None:
        """Computes the tops, unless it is `computed`."""


class InputState(LayerState):
    """An Input layer: its tops keep what is written into them."""

    computed = True

    def setup(self) -> None:
        """The tops have the shapes of the file."""
        shapes = [tuple(shape.dim) for shape in self.text.message.input_param.shape]
        shapes = shapes * len(self.tops) if len(shapes) == 1 else shapes
        if shapes and len(shapes) != len(self.tops):
            raise NetError(f"{self.place}: has {len(self.tops)} tops and {len(shapes)} shapes")
        for top, shape in zip(self.tops, shapes, strict=False):
            top.reshape(*shape)


class Computed(LayerState):
    """A layer that nuqconv has an operator for.

    Args:
        text: The layer of the file.
        place: Where it stands, for messages.
        bottoms: What it reads.
        tops: What it writes.
        stored: The layer of the weights file with its blobs, or None.
        path: The .prototxt.

        epoch: Is told when a parameter gets another shape.

    Attributes:
        computed: Whether it runs as part of a segment; one whose tops have shapes that only the run tells runs alone.
        states: What it keeps from one forward pass to the next.
    """

    def __init__(
        self,
        text: LayerText,
        place: str,
        bottoms: Sequence[Blob],
        tops: Sequence[Blob],
        stored: Any,
        path: str,
        epoch: Epoch,
    ) -> None:
        super().__init__(text, place, bottoms, tops)
        self._epoch = epoch
        self.states: list[Blob] = []
        self._stored = stored
        self._number = 0 if stored is None else len(stored.blobs)
        self._plans: OrderedDict[tuple[Shape, ...], Plan] = OrderedDict()
        message = text.message
        self.origin = Origin(path, text.line or None, message.name, message.type, "caffe", message, text.text)
        problems = layer_problems(message)
        if problems:
            raise NetError(f"{place} is not valid", problems)

    def setup(self) -> None:
        """Makes parameters by their fillers; Caffe lets some tops be the memory of the bottom."""
        reading = self._read(self._shapes())
        self.blobs.extend(self._parameters(reading))
        self.computed = reading.op.trait(SizedByData) is None
        self._stored = None
        self.reshape()
        shared = self._shared()
        if shared is not None:
            for top in self.tops:
                top.memory = shared.memory

    def _shared(self) -> Blob | None:
        op = self.plan().reading.op
        if isinstance(op, Parameter):
            owner: Blob = self.blobs[0]
            return owner
        node = Node(self.name, op, ("",) * len(self.bottoms), ("",) * len(self.tops))
        in_place = any(top is bottom for top in self.tops for bottom in self.bottoms)
        first: Blob | None = self.bottoms[0] if shares_memory(node) and not in_place else None
        return first

    @property
    def is_view(self) -> bool:
        """Whether there is nothing to compute, as the tops are another blob's memory, or there are none."""
        first = self.bottoms[0] if self.bottoms else self.blobs[0] if self.blobs else None
        shares = first is not None and all(top is not first and top.memory is first.memory for top in self.tops)
        return shares or isinstance(self.plan().reading.op, Silence)

    def reshape(self) -> None:
        """Infers the shapes of the tops."""
        plan = self.plan()
        for top, shape in zip(self.tops, plan.tops, strict=True):
            if top.shape != shape:
                top.reshape(*shape)
        if isinstance(plan.reading.op, StreamRecurrent) and not self.text.message.recurrent_param.expose_hidden:
            shape = (1, self.bottoms[0].shape[1], plan.reading.op.num_output)
            self.states = self.states or [Blob() for _ in range(plan.reading.op.num_states)]
            for state in self.states:
                state.reshape(*shape)

    def plan(self) -> Plan:
        """Returns what it does with its bottoms as they are now.

        Raises:
            NetError: They do not fit.
        """
        shapes = self._shapes()
        key = (*shapes, *(blob.shape for blob in self.blobs))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._planned(shapes)
            if len(self._plans) > _KEPT_PLANS:
                self._plans.popitem(last=False)
        return plan

    def forget(self) -> None:
        """Has plans made again, after parameters were given other shapes."""
        self._plans.clear()

    def _planned(self, shapes: tuple[Shape, ...]) -> Plan:
        reading = self._read(shapes)
        op = reading.op
        low, high = op.min_inputs, op.max_inputs
        if len(shapes) < low or (high is not None and len(shapes) > high):
            raise NetError(
                f"{self.place}: has {len(shapes)} bottoms, expected {low if low == high else f'{low} or more'}"
            )
        try:
            found = op.infer(shapes, [blob.shape for blob in self.blobs])
        except OpError as error:
            raise NetError(f"{self.place}: {error}") from error
        if len(found) != len(self.tops):
            raise NetError(f"{self.place}: has {len(self.tops)} tops, expected {len(found)}")
        first = _FIRST_SHAPES.get(self.type, (1,))
        return Plan(reading, tuple(first if shape is None else shape for shape in found))

    def _shapes(self) -> tuple[Shape, ...]:
        return tuple(blob.shape for blob in self.bottoms)

    def _read(self, shapes: tuple[Shape, ...]) -> Reading:
        message = self.text.message
        custom = custom_reader(message)
        try:
            if custom is not None:
                return custom.read(self.text, self._number)
            reader = reader_for(message.type)
            if reader is None:
                raise NetError(f"{self.place}: Unknown layer type: {message.type}")
            unknown = [str(item) for item in self.text.unknown if not has_no_effect(message.type, item)]
            if unknown:
                raise NetError(f"{self.place}: has fields that Caffe does not know", unknown)
            reading = reader(message, shapes)
            return reading.by_blobs(() if self._stored is None else self._stored.blobs) if reading.by_blobs else reading
        except CannotReadError as error:
            raise UnsupportedError(f"{self.place}: its parameters are not supported: {error}") from error
        except WrongLayerError as error:
            raise NetError(f"{self.place}: {error}") from error

    def _parameters(self, reading: Reading) -> list[Blob]:
        try:
            specs = parameter_specs(self.text.message, reading.op, self._shapes())
            if specs is None:
                specs = self._as_stored(reading)
            found = []
            for spec in specs:
                blob = Blob(spec.shape, self._epoch)
                check_filler(spec)
                # Large random arrays take a while, and weights that are about to be loaded make them useless.
                if self._number != len(specs):
                    blob.memory.fill(filled(spec).reshape(-1))
                found.append(blob)
        except (IndexError, OpError) as error:
            raise NetError(f"{self.place}: does not fit its bottoms of shapes {self._shapes()}: {error}") from error
        except NetError as error:
            raise NetError(f"{self.place}: {error}") from error
        else:
            return found

    def _as_stored(self, reading: Reading) -> list[Spec]:
        """The parameters of a type whose own rule is not known have the shapes that the weights file says."""
        if not reading.param_ranks:
            return []
        if self._stored is None or self._number != len(reading.param_ranks):
            raise NetError(
                f"has {len(reading.param_ranks)} parameters whose shapes only the weights tell, and {self._number} are given: "
                "give the .caffemodel to the constructor"
            )
        shapes = [blob_shape(blob, rank) for blob, rank in zip(self._stored.blobs, reading.param_ranks, strict=True)]
        return [zeros(shape) for shape in shapes]

    def node(
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], params: Sequence[str]
    ) -> tuple[Node, list[Array]]:
        """Returns it as a node of a graph, with the values of its parameters.

        Args:
            name: Name of the node.
            inputs: Names of the values that it reads, its states last.
            outputs: Names of the values that it makes, its new states last.
            params: Names of its parameters.
        """
        reading = self.plan().reading
        op: Op = reading.op
        if self.states and isinstance(op, StreamRecurrent):
            op = replace(op, expose_hidden=True)
        arrays = []
        for blob in self.blobs:
            array: Array = blob.memory.freeze(blob.count).reshape(blob.shape)
            array.flags.writeable = False
            try:
                arrays.append(reading.convert(array) if reading.convert else array)
            except CannotReadError as error:
                raise UnsupportedError(f"{self.place}: {error}") from error
        return Node(name, op, tuple(inputs), tuple(outputs), tuple(params), self.origin), arrays


def check_data_layer(text: LayerText, place: str) -> None:
    """Raises UnsupportedError for a layer that reads a data set."""
    if is_data_layer(text.message.type):
        raise UnsupportedError(
            f"{place}: reads a data set, which is left to real Caffe (NUQCONV_PYCAFFE=caffe); give a net with an Input layer "
            "(nuqconv convert makes one of a net for training) and write the batches into its blob"
        )


def load_blobs(layers: Sequence[LayerState], weights: Weights) -> None:
    """Copies the blobs of a weights file into the layers of the same names, as Caffe does.

    Raises:
        NetError: A number of blobs or a shape differs; all are listed. Nothing was copied then.
    """
    problems: list[str] = []
    copies: list[tuple[Blob, Array]] = []
    for layer in layers:
        stored = weights.layers.get(layer.name)
        if stored is None:
            continue
        if len(stored.blobs) != len(layer.blobs):
            problems.append(f"{layer.place}: has {len(layer.blobs)} blobs, {weights.path} {len(stored.blobs)}")
            continue
        for number, (blob, source) in enumerate(zip(layer.blobs, stored.blobs, strict=True)):
            try:
                array = blob_array(source, len(blob.shape))
            except ModelError as error:
                problems.append(f"{layer.place}: blob {number} {error} ({weights.path})")
                continue
            same = array.shape == blob.shape or (_legacy(source) and array.size == prod(blob.shape))
            if not same:
                problems.append(f"{layer.place}: blob {number} has shape {blob.shape}, {weights.path} {array.shape}")
            copies.append((blob, array))
    if problems:
        raise NetError(f"{weights.path} does not fit the net", problems)
    for blob, array in copies:
        blob.memory.fill(array.reshape(-1).astype("<f4", copy=False), frozen=True)


def _legacy(blob: Any) -> bool:
    return any(blob.HasField(name) for name in ("num", "channels", "height", "width"))
