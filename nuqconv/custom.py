"""Layer types of the user's own, registered in a few lines; see docs/custom-layers.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from nuqconv.backends.onnx.lowering.custom import OnnxLayer
from nuqconv.errors import ConfigError
from nuqconv.frontends.caffe.layers import reader_for
from nuqconv.frontends.caffe.layers.custom import CustomReader, register, unregister
from nuqconv.ir.ops.custom import CustomDefinition, CustomLayer

__all__ = ["CustomLayer", "OnnxLayer", "register_layer", "register_python_layer", "unregister_layer"]

Lowering = Callable[[CustomLayer, OnnxLayer], str | Sequence[str]]
ShapeRule = Callable[[CustomLayer], Sequence[Sequence[int] | None]]

_LoweringT = TypeVar("_LoweringT", bound=Lowering)


def same_shape(layer: CustomLayer) -> Sequence[Sequence[int]]:
    """The default shape rule: every top has the first bottom's shape."""
    return [layer.inputs[0]] * layer.tops


@overload
def register_layer(
    layer_type: str,
    lower: _LoweringT,
    *,
    shape: ShapeRule = ...,
    fields: Mapping[str, Any] | None = ...,
    block: str | None = ...,
    blobs: int | None = ...,
    any_batch: bool = ...,
    replace: bool = ...,
) -> _LoweringT: ...


@overload
def register_layer(
    layer_type: str,
    *,
    shape: ShapeRule = ...,
    fields: Mapping[str, Any] | None = ...,
    block: str | None = ...,
    blobs: int | None = ...,
    any_batch: bool = ...,
    replace: bool = ...,
) -> Callable[[_LoweringT], _LoweringT]: ...


def register_layer(
    layer_type: str,
    lower: Any = None,
    *,
    shape: ShapeRule = same_shape,
    fields: Mapping[str, Any] | None = None,
    block: str | None = None,
    blobs: int | None = None,
    any_batch: bool = False,
    replace: bool = False,
) -> Any:
    """Registers a Caffe layer type for all nets that are read from now on; also a decorator of ``lower``.

    Args:
        layer_type: The layer's ``type``.
        lower: Takes the layer and an `OnnxLayer`, adds ONNX nodes and returns the name of the result, or one for each top.
        shape: Takes the layer and returns the shape of each top.
        fields: The fields of the parameter block: for each name its default, or its type (``int``, ``float``, ``str``, ``bool``, ``list``,
            ``dict``) if it must be there. A default that is a list stands for a repeated field. None takes every field as it stands; one that
            is repeated is then a list only where it stands there several times.
        block: Name of the parameter block; by default the only ``..._param`` of the layer.
        blobs: Number of weights the layer must have; None for any number.
        any_batch: Whether ``shape`` and ``lower`` work for any batch size as axis 0 (see `OnnxLayer.dims`); without it a net with this layer
            runs with its own batch size only.
        replace: Whether a type that is known already may be replaced, one of nuqconv's own too.

    Returns:
        ``lower``, or without it a decorator.

    Raises:
        ConfigError: The type is known already, and ``replace`` is not set.
    """
    if layer_type == "Python":
        raise ConfigError("Python layers are registered by module and layer name: use register_python_layer")
    if not replace and reader_for(layer_type) is not None:
        raise ConfigError(
            f"layer type '{layer_type}' is one that nuqconv reads itself; give replace=True to replace it"
        )
    key = (layer_type, "", "")
    return _register(key, lower, shape, fields, block, blobs, any_batch=any_batch, replace=replace)


def register_python_layer(
    module: str,
    layer: str,
    lower: Any = None,
    *,
    shape: ShapeRule = same_shape,
    blobs: int | None = None,
    any_batch: bool = False,
    replace: bool = False,
) -> Any:
    """Registers a ``Python`` layer by its ``module`` and ``layer`` names; also a decorator of ``lower``.

    The layer's ``param`` holds ``param_str`` as it stands (empty if there is none). The other arguments are those of `register_layer`.

    Raises:
        ConfigError: The layer is registered already, and ``replace`` is not set.
    """
    fields = {"module": str, "layer": str, "param_str": "", "share_in_parallel": False}
    key = ("Python", module, layer)
    return _register(key, lower, shape, fields, "python_param", blobs, any_batch=any_batch, replace=replace)


def unregister_layer(layer_type: str, module: str = "", layer: str = "") -> None:
    """Forgets a registered layer type, or with ``"Python"`` the layer of a module.

    Raises:
        ConfigError: Nothing of that name is registered.
    """
    if not unregister((layer_type, module, layer)):
        raise ConfigError(f"layer type '{' '.join(filter(None, (layer_type, module, layer)))}' is not registered")


def _register(
    key: tuple[str, str, str],
    lower: Any,
    shape: ShapeRule,
    fields: Mapping[str, Any] | None,
    block: str | None,
    blobs: int | None,
    *,
    any_batch: bool,
    replace: bool,
) -> Any:
    def add(function: Any) -> Any:
        definition = CustomDefinition(".".join(filter(None, key)), shape, function, any_batch)
        reader = CustomReader(definition, block, None if fields is None else dict(fields), blobs)
        if not register(key, reader, replace=replace):
            raise ConfigError(f"layer type '{definition.layer_type}' is registered already; give replace=True")
        return function

    return add if lower is None else add(lower)
