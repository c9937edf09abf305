"""How much a network's outputs change through one layer alone, for all layers with a few sessions.

The predicted loss of an option is the layer's response times its own distortion; the response is what is measured here, at one
perturbation for each layer, divided by the distortion of that perturbation. Decision D25 in ``docs/decisions.md`` has the numbers behind
the choices.

The idea of ranking layers by what each alone does to the outputs is that of HAWQ and of the sensitivity analyses of other quantizers (Dong
et al., "HAWQ: Hessian AWare Quantization", 2019); they take the loss and labels, or one whole evaluation for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from nuqconv.backends.onnx.batch import batch_problems, batched_values, rebatch
from nuqconv.errors import CalibrationError, ModelError
from nuqconv.ir import Array, Graph, Input
from nuqconv.ir.ops import Opaque, Weighted
from nuqconv.ir.traits import Decides, Rearranges, SizedByData
from nuqconv.job.parts import numbers_of_a_sample
from nuqconv.runtimes.base import Exchanging
from nuqconv.runtimes.table import DEFAULT, RUNTIMES
from nuqconv.search.space import SearchSpace

__all__ = ["Responses", "default_samples", "measure_responses", "network_losses", "watched_values"]

_RUNS, _SAMPLES = 512, (2, 8)
_FEWEST, _NUMBERS = 4, 160_000_000

_LEAST = 1e-3
"""Smallest response, as a share of the median."""
_DUST = 1e-12
"""Distortions up to this come from the rounding of float32 and say nothing of what a quantization would do."""
_TAILS = 6
"""Places from which on the network is run."""
_FEW = 256
"""Outputs with fewer entries for each sample say too little on few samples, so the features that they are made of are looked at as well."""


@dataclass(frozen=True)
class Responses:
    """What each layer alone does to the outputs.

    Attributes:
        divergences: For each layer the squared change of the outputs through its perturbed weights, relative to the square of the outputs; the
            mean over the outputs. An output of few entries counts as the mean of itself and the features that it is made of, for the layers
            that these depend on.
        unmeasured: For each layer that could not be measured, why.
        outputs: The values that were compared.
        samples: How many samples were run.
    """

    divergences: Mapping[str, float]
    unmeasured: Mapping[str, str]
    outputs: tuple[str, ...]
    samples: int


def watched_values(graph: Graph, outputs: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the values at which changes are compared: the outputs, or what is decided by in front of them.

    A Softmax, Sigmoid or ArgMax at the end of the network is stepped over to its inputs, since it hides changes where the network is sure. So is
    all that a Filter or DetectionOutput leads to, since its size varies, and all that an Opaque layer leads to, which onnxruntime cannot run.

    Args:
        graph: The network.
        outputs: The values that the user judges by; None takes the network's outputs.

    Raises:
        ModelError: An output does not exist.
    """
    wanted = graph.outputs if outputs is None else tuple(outputs)
    missing = [name for name in wanted if name not in graph.consumers]
    if missing:
        raise ModelError(f"network '{graph.name}' has no value {', '.join(map(repr, missing))}")
    blocked = _behind(graph, _barriers(graph))
    found: dict[str, tuple[str, ...]] = {item.name: () for item in graph.inputs}
    for node in graph.nodes:
        fronts = tuple(dict.fromkeys(front for name in node.inputs for front in found[name]))
        moved = node.op.trait(Rearranges) is not None and any(front not in node.inputs for front in fronts)
        for name in node.outputs:
            found[name] = fronts if moved or node.op.trait(Decides) or name in blocked else (name,)
    return tuple(dict.fromkeys(front for name in wanted for front in found[name]))


def default_samples(layers: int, numbers: int) -> int:
    """Returns how many samples are run for each layer.

    At least 2, at most 8, and 512 runs of one sample in all in between; of large networks, whose values of one sample tell as much, so many as hold
    160 million numbers, but 4.

    Args:
        layers: Number of layers.
        numbers: Numbers in all values of the network for one sample.
    """
    most = min(_SAMPLES[1], max(_FEWEST, _NUMBERS // max(numbers, 1)))
    return min(max(_RUNS // max(layers, 1), _SAMPLES[0]), most)


def measure_responses(
    graph: Graph,
    perturbed: Mapping[str, Array],
    batches: Iterable[Mapping[str, Array]],
    *,
    outputs: Sequence[str] | None = None,
    features: bool = True,
    samples: int | None = None,
    threads: int | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Responses:
    """Measures what each layer's perturbed weights do to the outputs while all other layers stay as they are.

    One session is made for the network and each of a few parts of it that reach from a layer to the outputs; each layer's weights are exchanged
    for the runs of that layer, which begin at the last such place in front of it. The runs are as many as there are layers times batches, and one
    more for each batch. Held in memory are the float weights, one layer's perturbed ones, the samples, their outputs and what is between the parts.

    Args:
        graph: The float graph.
        perturbed: For each layer its weights after quantization, float32 in the shape of the float ones. Each is asked for once, so a mapping may
            make them when it is asked.
        batches: Inputs by name; as many are taken as make up ``samples``, or all if there are fewer. Where layers fix the batch size, whole
            batches are taken.
        outputs: The values that the user judges by, by default the network's outputs; those that are compared are their `watched_values`.
        features: Whether outputs of few entries are looked at together with the features that they are made of.
        samples: Number of samples to run, at least 1; by default `default_samples`.
        threads: Number of threads, or None for onnxruntime's choice.
        on_layer: Called after each layer with the number of layers done and their total.

    Returns:
        The divergences. Layers behind an Opaque, Filter or DetectionOutput layer, those on which none of the outputs depends, and those whose
        perturbed weights make outputs that are not finite are named as not measured.

    Raises:
        CalibrationError: There are no samples, a batch does not fit the network, or the float network's outputs are not finite or all zero.
        ModelError: A layer or an output does not exist, or weights have another shape.
        UnsupportedError: Layers in front of the outputs have no form in ONNX.
    """
    unknown = [name for name in perturbed if name not in graph.node or not graph.node[name].params]
    if unknown:
        raise ModelError(f"network '{graph.name}' has no layers with weights {', '.join(map(repr, unknown))}")
    if samples is not None and samples < 1:
        raise CalibrationError(f"samples must be at least 1, found {samples}")
    reached = _behind(graph, perturbed)
    values = tuple(value for value in watched_values(graph, outputs) if value in reached)
    made_of = {value: _features(graph, value) if features else () for value in values}
    unmeasured = _unmeasured(graph, perturbed, values)
    layers = [name for name in perturbed if name not in unmeasured]
    if not layers:
        return Responses({}, unmeasured, values, 0)
    compared = tuple(dict.fromkeys(name for value in values for name in (value, *made_of[value])))
    runs = _Runs(graph, [graph.node[name].params[0] for name in layers], compared, threads)
    wanted = default_samples(len(layers), numbers_of_a_sample(graph)) if samples is None else samples
    count = runs.load(batches, wanted)
    divergences: dict[str, float] = {}
    for done, name in enumerate(layers, 1):
        errors = runs.errors(graph.node[name].params[0], perturbed[name])
        behind = _behind(graph, [name])
        stations = [[value, *(item for item in made_of[value] if item in behind)] for value in values]
        found = float(np.mean([np.mean([errors[item] for item in items]) for items in stations]))
        if np.isfinite(found):
            divergences[name] = found
        else:
            unmeasured[name] = "its perturbed weights make outputs that are not finite or of another size"
        if on_layer is not None:
            on_layer(done, len(layers))
    return Responses(divergences, unmeasured, values, count)


def network_losses(space: SearchSpace, measured: Responses, distortions: Mapping[str, float]) -> SearchSpace:
    """Turns the predicted losses of a space, which are those of each layer's own output, into losses at the network's outputs.

    The response of a layer is its divergence divided by the distortion that caused it, and each loss of the layer is multiplied by its
    response. That goes for the noise of a quantized input as well: what a layer's output error does behind it does not depend on where it comes
    from. Layers without a response (not measured, without weights, or with a perturbation that changed nothing) get the median of all others.
    No response counts as less than a thousandth of the median: the samples measured may leave parts of the network unused.

    Args:
        space: The layers with their own losses.
        measured: What `measure_responses` found.
        distortions: For each layer measured, the loss at its own output of the very weights that were measured, in the unit of the space's losses.

    Returns:
        A space with other losses; the same space if no layer has a response.
    """
    ratios = {
        name: divergence / distortions[name]
        for name, divergence in measured.divergences.items()
        if divergence > 0 and distortions[name] > _DUST
    }
    if not ratios:
        return space
    typical = float(np.median(list(ratios.values())))
    layers = []
    for layer in space.layers:
        response = max(ratios.get(layer.name, typical), _LEAST * typical)
        options = (replace(option, loss=option.loss * response) for option in layer.options)
        layers.append(replace(layer, options=tuple(options)))
    return SearchSpace(tuple(layers))


class _Runs:
    """The samples, what the float network makes of them, and sessions of the network from several places on."""

    def __init__(self, graph: Graph, free: Sequence[str], values: Sequence[str], threads: int | None) -> None:
        self._graph, self._free, self._values, self._threads = graph, free, values, threads
        part = graph.up_to(values)
        self._fixed = bool(batch_problems(part))
        self._tails = _tails(part, free)
        read = (item.name for tail in self._tails.values() for item in tail.inputs)
        self._watched = tuple(dict.fromkeys((*values, *read)))
        self._sessions: dict[tuple[str, int], Exchanging] = {}
        self._batches: list[tuple[int, dict[str, Array]]] = []

    def load(self, batches: Iterable[Mapping[str, Array]], samples: int) -> int:
        """Takes the first samples and computes their outputs; returns how many there are."""
        count = 0
        for number, batch in enumerate(batches):
            if not isinstance(batch, Mapping) or not batch:
                raise CalibrationError(
                    f"calibration batch {number} cannot be run: expected a mapping from input blobs to arrays, found {batch!r:.60}"
                )
            try:
                given = self._graph.feeds(batch)
                arrays = {name: np.asarray(array, np.float32) for name, array in given.items()}
                if not self._fixed:
                    arrays = {name: array[: samples - count] for name, array in arrays.items()}
                size = len(next(iter(arrays.values())))
                known = {**arrays, **self._session("", size).run(arrays)}
            except (IndexError, ModelError, TypeError, ValueError) as error:
                raise CalibrationError(f"calibration batch {number} cannot be run: {error}") from error
            self._batches.append((size, known))
            count += size
            if count >= samples:
                break
        if not count:
            raise CalibrationError("there is no calibration batch to measure layers on; give at least one sample")
        self._signal = {value: sum(_energy(known[value]) for _, known in self._batches) for value in self._values}
        odd = [repr(value) for value, signal in self._signal.items() if not (np.isfinite(signal) and signal > 0)]
        if odd:
            raise CalibrationError(
                f"the outputs {', '.join(odd)} of the float network are all zero or not finite on the calibration batches; "
                "check the inputs' scale and layout"
            )
        return count

    def errors(self, param: str, weights: Array) -> dict[str, float]:
        """Returns the relative squared change of each value through exchanged weights; only what may change is run."""
        noise = dict.fromkeys(self._values, 0.0)
        first = next((param_of for param_of, tail in reversed(self._tails.items()) if param in tail.params), "")
        for size, known in self._batches:
            session = self._session(first, size)
            inputs = self._tails[first].inputs if first else self._graph.inputs
            feeds = {item.name: known[item.name] for item in inputs if item.name in known}
            for value, array in session.run(feeds, weights={param: weights}).items():
                if value not in noise:
                    continue
                if array.shape == known[value].shape:
                    noise[value] += _energy(np.subtract(array, known[value], dtype=np.float64))
                else:
                    noise[value] = np.inf
        return {value: noise[value] / self._signal[value] for value in self._values}

    def _session(self, first: str, size: int) -> Exchanging:
        """Returns the session of the tail of a name, or of the whole network for an empty one."""
        key = (first, size if self._fixed else 0)
        if key not in self._sessions:
            # A session may hold copies of its weights, so those of one part only are kept.
            self._sessions = {other: session for other, session in self._sessions.items() if other[0] == first}
            graph, values = (self._tails[first], self._tails[first].outputs) if first else (self._graph, self._watched)
            graph = rebatch(graph, size) if self._fixed else graph
            free = [name for name in self._free if name in graph.params]
            self._sessions[key] = RUNTIMES[DEFAULT].exchanging(graph, free, values, self._threads)
        return self._sessions[key]


def _energy(array: Array) -> float:
    flat = np.asarray(array, np.float64).reshape(-1)
    return float(flat @ flat)


def _behind(graph: Graph, layers: Iterable[str]) -> frozenset[str]:
    """Returns the values that depend on some layers."""
    sources, reached = set(layers), set[str]()
    for node in graph.nodes:
        if node.name in sources or reached.intersection(node.inputs):
            reached.update(node.outputs)
    return frozenset(reached)


def _tails(graph: Graph, free: Sequence[str]) -> dict[str, Graph]:
    """Returns parts of a graph from some layers on to its outputs, by the name of the first layer, the longest part first.

    What the float network makes of the samples is known, so a run of a layer's other weights need not begin before that layer.

    Args:
        graph: The part of the network that makes the values compared.
        free: The parameters that will be exchanged.
    """
    if batch_problems(graph):
        return {}
    places = [number for number, node in enumerate(graph.nodes) if set(node.params).intersection(free)]
    batched = batched_values(graph)
    found: dict[str, Graph] = {}
    for number in range(1, _TAILS):
        last, first = ((part * len(places)) // _TAILS for part in (number, number - 1))
        tails = (_tail(graph, places[place], batched) for place in range(last, first, -1))
        tail = next((tail for tail in tails if tail is not None), None)
        if tail is not None:
            found[tail.nodes[0].name] = tail
    return found


def _tail(graph: Graph, start: int, batched: Collection[str]) -> Graph | None:
    """Returns the graph from a node on, or None where what is read across the cut cannot be had or fed.

    It must have the batch as its first axis, and be no sum's own operand: onnxruntime adds those inside of the product that makes them.
    """
    nodes = graph.nodes[start:]
    made = {name for node in nodes for name in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name not in made)
    shapes = {name: graph.shapes[name] for name in read}
    makers = [graph.producer.get(name) for name in read]
    if any(shape is None or name not in batched for name, shape in shapes.items()):
        return None
    if any(maker is not None and isinstance(maker.op, Weighted) for maker in makers):
        return None
    inputs = tuple(Input(name, shape) for name, shape in shapes.items() if shape is not None)
    outputs = tuple(value for value in graph.outputs if value in made)
    return replace(graph.with_nodes(nodes), inputs=inputs, outputs=outputs)


def _barriers(graph: Graph) -> dict[str, str]:
    """Returns the layers behind which nothing can be compared, with the reasons."""
    found = {}
    for node in graph.nodes:
        sized = node.op.trait(SizedByData)
        if isinstance(node.op, Opaque):
            found[node.name] = "onnxruntime cannot run it"
        elif sized is not None:
            found[node.name] = sized.why
    return found


def _features(graph: Graph, value: str) -> tuple[str, ...]:
    """Returns the input of the layer with weights that makes an output of few entries, or nothing."""
    shape = graph.shapes[value]
    if shape is None or prod(shape[1:]) >= _FEW:
        return ()
    node = graph.producer.get(value)
    while node is not None and len(node.inputs) == 1:
        source = graph.producer.get(node.inputs[0])
        if isinstance(node.op, Weighted):
            return () if source is None else node.inputs
        node = source
    return ()


def _unmeasured(graph: Graph, layers: Iterable[str], values: Sequence[str]) -> dict[str, str]:
    """Returns the layers that the session cannot measure, with the reasons."""
    barriers = _barriers(graph)
    behind = {name: _behind(graph, [name]) for name in barriers}
    part = graph.up_to(values).node if values else {}
    reasons = {}
    for name in layers:
        first = next((item for item, values in behind.items() if values.intersection(graph.node[name].outputs)), None)
        if first is not None:
            reasons[name] = f"it lies behind {graph.node[first].place}: {barriers[first]}"
        elif name not in part:
            reasons[name] = "none of the outputs that are compared depends on it"
    return reasons
