"""Models as skeleton and tensors, and their bytes without a copy of the tensors.

protobuf would hold each weight three times on the way to a file: in the tensor's message, in the model's, and in the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper

from nuqconv.ir import Array

__all__ = ["LoweredModel", "Source"]

# Fields of length-delimited type: number * 8 + 2.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7 * 8 + 2, 5 * 8 + 2, 9 * 8 + 2
# Shape inference looks at the numbers of tensors that are shapes, axes, pads and the like; none of those is larger.
_LARGE = 4096
_SHARED = 1 << 16
"""Tensors of so many bytes need not be copied into a session."""


@dataclass(frozen=True)
class Source:
    """Where the numbers of a tensor come from.

    Attributes:
        param: A parameter of the graph.
        derive: Makes the tensor of it.
    """

    param: str
    derive: Callable[[Array], Array]


@dataclass(frozen=True)
class LoweredModel:
    """An ONNX model in two parts.

    Attributes:
        skeleton: The model without initializers.
        tensors: The initializers by name.
        sources: For each initializer that holds the numbers of one parameter of the graph, that parameter.
    """

    skeleton: ModelProto
    tensors: Mapping[str, Array]
    sources: Mapping[str, Source] = field(default_factory=dict)

    def whole(self) -> ModelProto:
        """Returns the model as one message."""
        model = ModelProto()
        model.CopyFrom(self.skeleton)
        for name, array in self.tensors.items():
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(_header(name, array))
            tensor.raw_data = _raw(array).tobytes()
        return model

    def for_checker(self) -> ModelProto:
        """Returns the model with its large tensors as inputs of the same type and shape: all that a checker sees of them."""
        model = ModelProto()
        model.CopyFrom(self.skeleton)
        for name, array in self.tensors.items():
            if array.nbytes > _LARGE:
                kind = _type(array)
                model.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
            else:
                tensor = model.graph.initializer.add()
                tensor.CopyFrom(_header(name, array))
                tensor.raw_data = _raw(array).tobytes()
        return model

    def with_inputs(self, names: Collection[str]) -> LoweredModel:
        """Returns the model with some initializers as inputs of the same name, type and shape, behind its own inputs."""
        skeleton = ModelProto()
        skeleton.CopyFrom(self.skeleton)
        skeleton.graph.input.extend(
            helper.make_tensor_value_info(name, _type(array), array.shape)
            for name, array in self.tensors.items()
            if name in names
        )
        return replace(
            self,
            skeleton=skeleton,
            tensors={name: array for name, array in self.tensors.items() if name not in names},
        )

    def shared(self) -> tuple[ModelProto, dict[str, Array]]:
        """Returns the model with its large float tensors as external ones without numbers, and these: views where their memory allows it."""
        model = ModelProto()
        model.CopyFrom(self.skeleton)
        apart: dict[str, Array] = {}
        for name, array in self.tensors.items():
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(_header(name, array))
            if array.dtype != np.float32 or array.nbytes < _SHARED:
                tensor.raw_data = _raw(array).tobytes()
                continue
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "in memory"), ("offset", "0"), ("length", str(array.nbytes))):
                tensor.external_data.add(key=key, value=value)
            apart[name] = np.require(array, requirements=["C", "A"])
        return model, apart

    def size(self) -> int:
        """Returns the number of bytes."""
        return sum(len(part) for part in self.chunks())

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yields the bytes of the model, the very ones that protobuf would write for it."""
        before, graph, after = ModelProto(), GraphProto(), ModelProto()
        # Fields stand in the order of their numbers: those of the model below 7 before the graph, nodes and name before the initializers.
        before.CopyFrom(self.skeleton)
        for name in ("graph", *_AFTER_GRAPH):
            before.ClearField(name)
        for name in _AFTER_GRAPH:
            _take(after, self.skeleton, name)
        graph.CopyFrom(self.skeleton.graph)
        for name in _BEFORE_TENSORS:
            graph.ClearField(name)
        first = GraphProto()
        for name in _BEFORE_TENSORS:
            _take(first, self.skeleton.graph, name)
        heads = {name: _entry_head(name, array) for name, array in self.tensors.items()}
        tensors = sum(len(heads[name]) + array.nbytes for name, array in self.tensors.items())
        opening, closing = (part.SerializeToString(deterministic=True) for part in (first, graph))
        yield before.SerializeToString(deterministic=True)
        yield _key(_MODEL_GRAPH, len(opening) + tensors + len(closing)) + opening
        for name, array in self.tensors.items():
            yield heads[name]
            if array.size:
                yield _raw(array).reshape(-1).view(np.uint8).data
        yield closing
        yield after.SerializeToString(deterministic=True)


def _fields(message: type, low: int, high: int) -> tuple[str, ...]:
    return tuple(item.name for item in message.DESCRIPTOR.fields if low <= item.number < high)  # type: ignore[attr-defined]


_AFTER_GRAPH = _fields(ModelProto, 8, 1000)
_BEFORE_TENSORS = _fields(GraphProto, 1, 5)


def _take(target: ModelProto | GraphProto, source: ModelProto | GraphProto, name: str) -> None:
    value = getattr(source, name)
    if hasattr(value, "extend"):
        getattr(target, name).extend(value)
    elif source.HasField(name):
        setattr(target, name, value)


def _raw(array: Array) -> Array:
    """The numbers as ONNX stores them: contiguous and little-endian."""
    return np.require(array, array.dtype.newbyteorder("<"), ["C", "A"])


def _type(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype.newbyteorder("=")))


def _header(name: str, array: Array) -> TensorProto:
    return TensorProto(name=name, data_type=_type(array), dims=array.shape)


def _entry_head(name: str, array: Array) -> bytes:
    """What stands before a tensor's numbers: the graph's key, the tensor's own fields, and the key of the numbers."""
    head: bytes = _header(name, array).SerializeToString(deterministic=True) + _key(_TENSOR_RAW_DATA, array.nbytes)
    return _key(_GRAPH_INITIALIZER, len(head) + array.nbytes) + head


def _key(field: int, length: int) -> bytes:
    """A field's key and the length of what follows, both as varints."""
    found = bytearray([field])
    while length > 0x7F:
        found.append(length & 0x7F | 0x80)
        length >>= 7
    found.append(length)
    return bytes(found)
