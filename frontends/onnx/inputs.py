"""Inputs of a model and their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from onnx import ModelProto, TensorProto, ValueInfoProto

from nuqconv.errors import ModelError
from nuqconv.frontends.onnx.files import fed_inputs
from nuqconv.ir import Input
from nuqconv.ir.ops import Shape

__all__ = ["declared_shapes", "graph_inputs"]

_MOST_AXES, _LARGEST = 32, 2**31 - 1
_NO_NUMBERS = ("STRING", "COMPLEX64", "COMPLEX128", "UNDEFINED")


class _InputError(Exception):
    """An input cannot be used."""


def graph_inputs(
    model: ModelProto,
    file: str,
    given: Mapping[str, Sequence[int]],
    notes: list[str],
) -> list[Input]:
    """Returns what the user feeds. An initializer that is an input too is a constant here.

    Args:
        model: The model.
        file: What messages call it.
        given: Shapes by name instead of the model's.
        notes: What was chosen is appended here.

    Raises:
        ModelError: Types or sizes cannot be used; all faults are listed.
    """
    asked = fed_inputs(model)
    found, problems = [], []
    for item in asked:
        try:
            kind = _kind(item)
            found.append(Input(item.name, _checked(item.name, _shape(item, given.get(item.name), file, notes))))
        except _InputError as error:
            problems.append(str(error))
            continue
        if kind != "FLOAT":
            notes.append(f"{file}: input '{item.name}' is {kind} in the file and float32 here")
    names = [item.name for item in asked]
    problems += [
        f"a shape is given for '{name}', which is no input; the model has {', '.join(names) or 'none'}"
        for name in given
        if name not in names
    ]
    if problems:
        raise ModelError(f"{file}: the inputs cannot be used", problems)
    return found


def _kind(item: ValueInfoProto) -> str:
    if not item.type.HasField("tensor_type"):
        raise _InputError(f"input '{item.name}' is no tensor")
    number = item.type.tensor_type.elem_type
    kind = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else "UNDEFINED"
    if kind in _NO_NUMBERS:
        raise _InputError(f"input '{item.name}' is of type {kind}; real numbers are read")
    return str(kind)


def _shape(item: ValueInfoProto, given: Sequence[int] | None, file: str, notes: list[str]) -> Shape:
    name, declared = item.name, item.type.tensor_type
    remedy = f"(--input-shape {name}:1,3,224,224)"
    dims = list(declared.shape.dim)
    if given is None and not declared.HasField("shape"):
        raise _InputError(f"input '{name}' has no shape; give one {remedy}")
    if given is not None:
        shape = tuple(int(size) for size in given)
        if declared.HasField("shape") and len(shape) != len(dims):
            raise _InputError(f"input '{name}' has {len(dims)} axes, and the shape given has {len(shape)}")
        if any(0 < dim.dim_value != size for dim, size in zip(dims, shape, strict=False)):
            notes.append(f"{file}: input '{name}' is {'x'.join(map(str, shape))} as given, not as the file says")
        return shape
    sizes = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else 0 for dim in dims]
    if sizes and not sizes[0]:
        sizes[0] = 1
        notes.append(f"{file}: the open batch of input '{name}' is 1")
    open_axes = [f"axis {axis} ({dims[axis].dim_param or 'unnamed'})" for axis, size in enumerate(sizes) if not size]
    if open_axes:
        raise _InputError(f"input '{name}': the size of {', '.join(open_axes)} is open; give the shape {remedy}")
    return tuple(sizes)


def _checked(name: str, shape: Shape) -> Shape:
    text = "x".join(map(str, shape))
    if len(shape) > _MOST_AXES or any(size < 1 for size in shape):
        raise _InputError(f"input '{name}' has the shape {text}; at most {_MOST_AXES} positive sizes are read")
    if prod(shape) > _LARGEST:
        raise _InputError(f"input '{name}' of {text} has more than {_LARGEST} elements")
    return shape


def declared_shapes(model: ModelProto) -> Mapping[str, tuple[int | None, ...]]:
    """Returns the shapes that a model declares for values that nodes make; None for a size that is open."""
    return {
        item.name: tuple(dim.dim_value if dim.dim_value > 0 else None for dim in item.type.tensor_type.shape.dim)
        for item in (*model.graph.value_info, *model.graph.output)
        if item.type.tensor_type.HasField("shape")
    }
