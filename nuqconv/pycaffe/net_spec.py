"""Nets written in Python: ``n.conv1 = L.Convolution(n.data, num_output=20, kernel_size=5)``."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

from nuqconv.pycaffe.proto import caffe_pb2

__all__ = [
    "Function",
    "Layers",
    "NetSpec",
    "Parameters",
    "Top",
    "assign_proto",
    "layers",
    "param_name_dict",
    "params",
    "to_proto",
]


def param_name_dict() -> dict[str, str]:
    """Returns for each layer type that has parameters of its own the name of their field without ``_param``."""
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in fields
        if field.name.endswith("_param")
    }


def to_proto(*tops: Top) -> Any:
    """Returns a NetParameter with all layers that the tops need; names are made of the types."""
    return _net(tops, {})


def _net(tops: Iterable[Any], names: dict[Any, str]) -> Any:
    made: OrderedDict[Function, Any] = OrderedDict()
    numbers: Counter[str] = Counter()
    for item in tops:
        # A layer without tops stands for itself.
        function = item.fn if isinstance(item, Top) else item
        function.emit(made, names, numbers)
    net = caffe_pb2.NetParameter()
    net.layer.extend(made.values())
    return net


def assign_proto(proto: Any, name: str, val: Any) -> None:
    """Assigns a Python value to a field: dicts to messages, lists to repeated fields, anything else as it is.

    A value that is no list becomes the only one of a repeated field.
    """
    target = getattr(proto, name)
    if hasattr(target, "extend") and not isinstance(val, list):
        val = [val]
    if isinstance(val, list):
        if isinstance(val[0], dict):
            for item in val:
                entry = target.add()
                for key, value in item.items():
                    assign_proto(entry, key, value)
        else:
            target.extend(val)
    elif isinstance(val, dict):
        for key, value in val.items():
            assign_proto(target, key, value)
    else:
        setattr(proto, name, val)


class Top:
    """One output of a layer.

    Args:
        fn: The layer.
        n: Number of the output.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """Returns a NetParameter with all layers that this needs."""
        return to_proto(self)


class Function:
    """A layer with its inputs.

    Args:
        type_name: Its type.
        inputs: What it reads.
        params: Its parameters; ``ntop`` and ``in_place`` are taken out.

    Raises:
        TypeError: An input is no `Top`.
    """

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        for number, item in enumerate(inputs):
            if not isinstance(item, Top):
                raise TypeError(f"{type_name} input {number} is not a Top (type is {type(item)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = params
        self.ntop = params.pop("ntop", 1)
        self.in_place = params.pop("in_place", False)
        self.tops = tuple(Top(self, number) for number in range(self.ntop))

    def _name(self, item: Any, names: dict[Any, str], numbers: Counter[str]) -> str:
        if item not in names:
            numbers[self.type_name] += 1
            names[item] = f"{self.type_name}{numbers[self.type_name]}"
        return names[item]

    def emit(self, made: OrderedDict[Function, Any], names: dict[Any, str], numbers: Counter[str]) -> None:
        """Adds the layer, behind those that it reads.

        Args:
            made: The layers so far.
            names: Names of tops, and of layers without one.
            numbers: How many names were made of each type.
        """
        if self in made:
            return
        layer = caffe_pb2.LayerParameter(type=self.type_name)
        bottoms = []
        for item in self.inputs:
            item.fn.emit(made, names, numbers)
            bottoms.append(made[item.fn].top[item.n])
        layer.bottom.extend(bottoms)
        layer.top.extend(bottoms if self.in_place else [self._name(top, names, numbers) for top in self.tops])
        layer.name = self._name(self.tops[0] if self.tops else self, names, numbers)
        for key, value in self.params.items():
            self._assign(layer, key, value)
        made[self] = layer

    def _assign(self, layer: Any, key: str, value: Any) -> None:
        own = _PARAM_NAMES.get(self.type_name)
        if not key.endswith("param") and own is not None:
            try:
                assign_proto(getattr(layer, f"{own}_param"), key, value)
            except AttributeError:
                pass
            else:
                return
        assign_proto(layer, key, value)


class NetSpec:
    """A net whose tops are assigned as attributes, or by index, which names them."""

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        return self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Any:
        return self.tops[item]

    def to_proto(self) -> Any:
        """Returns the NetParameter."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """Makes layers: ``Layers().Convolution(bottom, kernel_size=3)`` is the top of a convolution."""

    def __getattr__(self, name: str) -> Any:
        def layer(*args: Any, **kwargs: Any) -> Any:
            function = Function(name, args, kwargs)
            if function.ntop == 0:
                return function
            return function.tops[0] if function.ntop == 1 else function.tops

        return layer


class _Values:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(caffe_pb2, f"{self._name}Parameter"), name)


class Parameters:
    """The values of enumerations: ``Parameters().Pooling.MAX``."""

    def __getattr__(self, name: str) -> Any:
        return _Values(name)


_PARAM_NAMES = param_name_dict()
layers = Layers()
params = Parameters()
