"""What a user wants each layer to be, without a search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nuqconv.config import NuqParams, QuantConfig, suggestion
from nuqconv.errors import ConfigError
from nuqconv.ir import Graph
from nuqconv.job.candidates import LayerRequest
from nuqconv.job.layer_facts import layer_requests
from nuqconv.quantize.capability import Capability, capabilities

__all__ = [
    "ALL",
    "LayerForm",
    "checked_levels",
    "chosen_requests",
    "configured_requests",
    "parse_choice",
    "parse_levels",
]

LayerForm = int | str
"""Levels of a codebook, 2 to 256; or ``"int8"`` or ``"float"``."""

ALL = "*"
"""Stands for every layer that is not named."""

_INT8, _FLOAT = "int8", "float"
_FEWEST, _MOST = 2, 256
_EXPECTED = f"expected 'int8', 'float' or a number of levels from {_FEWEST} to {_MOST}"


def parse_choice(text: str) -> dict[str, LayerForm]:
    """Returns a choice written as ``conv1=16 ip1=int8 *=float``.

    Raises:
        ConfigError: The text is none; all faults are listed.
    """
    found: dict[str, LayerForm] = {}
    problems = []
    for part in text.split():
        name, equals, form = part.rpartition("=")
        if not equals or not name:
            problems.append(f"'{part}': expected LAYER=LEVELS, LAYER=int8 or LAYER=float")
        elif name in found:
            problems.append(f"'{part}': '{name}' is named twice")
        else:
            found[name] = int(form) if form.isdecimal() else form
    if problems:
        raise ConfigError("the choice of layers is wrong", problems)
    return found


def parse_levels(text: str) -> tuple[int, ...]:
    """Returns codebook sizes written as ``64,16,8``, the largest first.

    Raises:
        ConfigError: The text is none; all faults are listed.
    """
    parts = [part.strip() for part in text.split(",")]
    return checked_levels([int(part) if part.isdecimal() else part for part in parts])


def checked_levels(levels: Iterable[object]) -> tuple[int, ...]:
    """Returns codebook sizes that a search may try, the largest first.

    Raises:
        ConfigError: There are none, one comes twice, or one is no integer from 2 to 256; all faults are listed.
    """
    given = list(levels)
    found = [item for item in given if type(item) is int and _FEWEST <= item <= _MOST]
    problems = [f"found {item!r}" for item in given if item not in found or type(item) is not int]
    problems += [f"{item} is named twice" for item in dict.fromkeys(found) if found.count(item) > 1]
    if problems or not found:
        raise ConfigError(
            f"levels must be different numbers from {_FEWEST} to {_MOST}, at least one: the sizes of codebooks that may be tried",
            problems,
        )
    return tuple(sorted(found, reverse=True))


def chosen_requests(
    choice: Mapping[str, LayerForm], config: QuantConfig, graph: Graph
) -> tuple[tuple[LayerRequest, ...], tuple[str, ...]]:
    """Returns what a choice makes of each layer, in the order of the graph.

    Args:
        choice: Forms by layer; ``"*"`` is for all that are not named, ``"int8"`` where it is not there.
        config: Enables all layers that can be quantized.
        graph: The model as it was written.

    Returns:
        The requests; and a note on layers for which ``"*"`` asked for levels that they cannot have, and which get int8.

    Raises:
        ConfigError: A form is none, a layer is not there or cannot be what is wanted of it; all faults are listed.
    """
    can = {item.name: item for item in capabilities(graph)}
    problems = [
        f"{name!r}: {problem}"
        for name, form in choice.items()
        if (problem := _wrong_form(form) or ("" if name == ALL else _wrong_layer(name, form, graph, can.get(name))))
    ]
    if problems:
        raise ConfigError("the choice of layers is wrong", problems)
    rest = choice.get(ALL, _INT8)
    requests, weaker = [], []
    for request in layer_requests(config, graph):
        form = choice.get(request.name, rest)
        if isinstance(form, int) and not can[request.name].nuq:
            weaker.append(request.name)
            form = _INT8
        if form != _FLOAT:
            steps = (form,) if isinstance(form, int) else ()
            requests.append(replace(request, steps=steps, strongest_only=True))
    notes = (f"these layers cannot have a codebook and are int8: {', '.join(weaker)}",) if weaker else ()
    return tuple(requests), notes


def configured_requests(config: QuantConfig, graph: Graph) -> tuple[LayerRequest, ...]:
    """Returns what a configuration makes of each layer where nothing is searched: ``num_steps`` levels, no more."""
    layers = config.layers
    requests: Sequence[LayerRequest] = layer_requests(config, graph)
    found = []
    for request in requests:
        weights = layers[request.name].weight_quant_params
        steps = (weights.num_steps,) if isinstance(weights, NuqParams) else ()
        found.append(replace(request, steps=steps, strongest_only=True))
    return tuple(found)


def _wrong_form(form: object) -> str:
    if form in (_INT8, _FLOAT) or (type(form) is int and _FEWEST <= form <= _MOST):
        return ""
    return f"found {form!r}; {_EXPECTED}"


def _wrong_layer(name: str, form: LayerForm, graph: Graph, can: Capability | None) -> str:
    if name not in graph.node:
        return f"the model has no layer of this name{suggestion(name, list(graph.node))}"
    if form == _FLOAT:
        return ""
    if can is None:
        return f"{graph.node[name].op.kind} layers are not quantized; leave it out"
    if not can.int8:
        return f"cannot be quantized: {can.reason}"
    return f"cannot have a codebook: {can.reason}; make it 'int8'" if isinstance(form, int) and not can.nuq else ""
