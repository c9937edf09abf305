"""What the integers of a layer depend on, as one text: two searches with the same text would solve the same layer twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from nuqconv.evaluators.identity import batches_digest, contents_digest
from nuqconv.ir import Array, Graph
from nuqconv.job.about import versions
from nuqconv.job.candidates import LayerRequest
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.compensate import SOLVER, WeightMethod
from nuqconv.quantize.plan import Plan

__all__ = ["LayerKeys", "operator_text"]


class LayerKeys:
    """Names for what is worked out of a graph and its calibration batches.

    Args:
        graph: The float graph.
        batches: Inputs of the network.
    """

    def __init__(self, graph: Graph, batches: Sequence[Mapping[str, Array]]) -> None:
        self._graph = graph
        self._batches = batches_digest(batches)
        self._code = (versions()["nuqconv"], SOLVER)
        self._params: dict[str, str] = {}
        self._values = {item.name: _joined("input", item.name, item.shape) for item in graph.inputs}
        for node in graph.nodes:
            made = _joined(
                operator_text(node.op),
                *(self._values.get(name, name) for name in node.inputs),
                *map(self._param, node.params),
            )
            self._values |= {name: _joined(made, number) for number, name in enumerate(node.outputs)}

    def layer(
        self, request: LayerRequest, activation: ActivationQuant | None, method: WeightMethod, importance: Array | None
    ) -> str:
        """Returns the name of a layer's integers: its operator, weights and bias, what is in front of it, and how they are chosen."""
        node = self._graph.node[request.name]
        return _joined(
            "integers",
            *self._code,
            self._batches,
            self._values[node.inputs[0]],
            operator_text(node.op),
            *map(self._param, node.params),
            request.forms,
            request.channel_wise,
            activation,
            replace(method, rounds=request.rounds).key(),
            None if importance is None else _array(importance),
        )

    def responses(self, plan: Plan) -> str:
        """Returns the name of what the layers of a plan, each alone, do to the network's outputs."""
        outputs = (self._values[name] for name in self._graph.outputs)
        return _joined("responses", *self._code, self._batches, plan.digest(), *self._graph.outputs, *outputs)

    def _param(self, name: str) -> str:
        if name not in self._params:
            self._params[name] = _array(self._graph.params[name])
        return self._params[name]


def operator_text(value: object) -> str:
    """Returns a text of an operator that tells it from others, also in another process; what has no such text gets one of this process only."""
    found = repr(value)
    if isinstance(value, Enum):
        found = f"{type(value).__qualname__}.{value.name}"
    elif is_dataclass(value) and not isinstance(value, type):
        inner = ",".join(f"{item.name}={operator_text(getattr(value, item.name))}" for item in fields(value))
        found = f"{type(value).__module__}.{type(value).__qualname__}({inner})"
    elif isinstance(value, np.ndarray):
        found = _array(value)
    elif isinstance(value, FunctionType | MethodType):
        found = contents_digest(value)
    elif isinstance(value, Mapping):
        found = f"{{{','.join(f'{key!r}:{operator_text(item)}' for key, item in value.items())}}}"
    elif isinstance(value, tuple | list):
        found = f"({','.join(map(operator_text, value))})"
    return found


def _array(array: Array) -> str:
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _joined(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()
