"""What each layer may become: the search space of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nuqconv.errors import ConfigError
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import Weighted
from nuqconv.quantize.activation import ActivationQuant, ifmr, relative_noise
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.codebook import CodebookCurve, histogram, optimal_codebooks
from nuqconv.quantize.compensate import UNIFORM
from nuqconv.quantize.hfmg import hfmg
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Precision
from nuqconv.quantize.rate import bits_per_weight, layer_bytes
from nuqconv.quantize.weights import weight_importance
from nuqconv.search.space import LayerSpace, Option, SearchSpace

__all__ = [
    "STEPS",
    "ActivationRule",
    "Candidates",
    "Chosen",
    "HistogramRule",
    "LayerRequest",
    "Solutions",
    "activation_quants",
    "find_candidates",
]

STEPS = (32, 16)
"""Codebook sizes that the device knows, from the weakest to the strongest; a search tries them where nobody says others."""
_SLAB = 1 << 20
_INT8_BITS = 8


@dataclass(frozen=True)
class ActivationRule:
    """How the range of a layer's input is found; the fields are those of `ifmr`."""

    max_percentile: float = 0.999999
    min_percentile: float = 0.999999
    search_range: tuple[float, float] = (0.7, 1.3)
    search_step: float = 0.01

    def quantizer(self, hist: Histogram, *, with_offset: bool, name: str) -> ActivationQuant:
        """Returns the quantizer that the rule finds."""
        return ifmr(
            hist,
            max_percentile=self.max_percentile,
            min_percentile=self.min_percentile,
            search_range=self.search_range,
            search_step=self.search_step,
            with_offset=with_offset,
            name=name,
        )


@dataclass(frozen=True)
class HistogramRule:
    """Another rule: that of `hfmg`."""

    num_of_bins: int = 4096

    def quantizer(self, hist: Histogram, *, with_offset: bool, name: str) -> ActivationQuant:
        """Returns the quantizer that the rule finds."""
        return hfmg(hist, num_of_bins=self.num_of_bins, with_offset=with_offset, name=name)


@dataclass(frozen=True)
class LayerRequest:
    """What the configuration allows for one layer.

    Attributes:
        name: The layer.
        steps: Codebook sizes that may be tried, from the weakest to the strongest; empty for int8 only.
        channel_wise: Whether weights have one step size for each output channel (InnerProduct never has).
        activation: How the range of its input is found.
        rounds: How often levels and step sizes are fitted again once the weights are on them.
        strongest_only: Whether nothing but the last of the steps is wanted, so that int8 need not be worked out besides.
    """

    name: str
    steps: tuple[int, ...] = ()
    channel_wise: bool = True
    activation: ActivationRule | HistogramRule = ActivationRule()
    rounds: int = 1
    strongest_only: bool = False

    @property
    def forms(self) -> tuple[int, ...]:
        """All numbers of steps that are worked out, with `UNIFORM` for int8."""
        return self.steps if self.steps and self.strongest_only else (UNIFORM, *self.steps)


class Chosen(NamedTuple):
    """Integers that calibration has chosen for a layer at a number of steps.

    Attributes:
        weights: Their name in the quantizer's store.
        codebook: The levels in use; of no meaning for int8.
        loss: Relative squared error of the layer's output with them.
    """

    weights: str
    codebook: tuple[int, ...]
    loss: float


Solutions = Mapping[tuple[str, int], Chosen]
"""What is chosen for a layer and a number of steps (`UNIFORM` for int8)."""


@dataclass(frozen=True)
class Candidates:
    """The search space and what the report tells about it.

    Attributes:
        space: The options of each layer.
        lossless: NUQ layers for which a codebook loses nothing, with the number of levels that their weights have.
        distortions: For each layer with weights, the part of its strongest option's loss that the weights cause.
    """

    space: SearchSpace
    lossless: Mapping[str, int]
    distortions: Mapping[str, float] = field(default_factory=dict)


def activation_quants(
    quantizer: Quantizer, requests: Sequence[LayerRequest], histograms: Mapping[str, Histogram], *, with_offset: bool
) -> dict[str, ActivationQuant]:
    """Chooses step size and offset of every layer's input.

    Args:
        quantizer: Holds the float graph.
        requests: The layers to quantize.
        histograms: For each value that they read, its histogram.
        with_offset: Whether offsets other than 0 are allowed.

    Returns:
        The quantizer of each layer's input. Layers that read one value by one rule get the same.

    Raises:
        ConfigError: A rule is out of range.
    """
    graph = quantizer.graph
    chosen: dict[tuple[str, ActivationRule | HistogramRule], ActivationQuant] = {}
    result = {}
    for request in requests:
        value, rule = graph.node[request.name].inputs[0], request.activation
        if (value, rule) not in chosen:
            chosen[value, rule] = rule.quantizer(
                histograms[value], with_offset=with_offset, name=graph.storage_name(value)
            )
        result[request.name] = chosen[value, rule]
    return result


def find_candidates(
    quantizer: Quantizer,
    requests: Sequence[LayerRequest],
    activations: Mapping[str, ActivationQuant],
    histograms: Mapping[str, Histogram],
    solutions: Solutions | None = None,
) -> Candidates:
    """Builds the options of every layer with their sizes and predicted losses.

    The predicted loss of an option is noise power over signal power at the layer's own output, for inputs without correlation: the relative
    squared error of the weights plus that of the input.

    Args:
        quantizer: Holds the float graph and the integers.
        requests: The layers to quantize, in the order of the graph.
        activations: Quantizer of each layer's input; a layer that is missing gets its weights quantized only.
        histograms: Histograms of the values read.
        solutions: What calibration has chosen; where there is nothing, the integers are the nearest ones.

    Returns:
        The candidates.

    Raises:
        ConfigError: Not one layer can be quantized.
    """
    layers: list[LayerSpace] = []
    lossless: dict[str, int] = {}
    distortions: dict[str, float] = {}
    noise_of: dict[tuple[str, ActivationQuant], float] = {}
    for request in requests:
        node = quantizer.graph.node[request.name]
        activation = activations.get(request.name)
        noise = 0.0
        if activation is not None:
            key = (node.inputs[0], activation)
            if key not in noise_of:
                noise_of[key] = relative_noise(histograms[node.inputs[0]], activation)
            noise = noise_of[key]
        if node.params:
            space, levels = _weighted(quantizer, node, request, activation, noise, solutions or {})
            layers.append(space)
            distortions[request.name] = space.options[-1].loss - noise
            if levels is not None:
                lossless[request.name] = levels
        elif activation is not None:
            option = Option(LayerPlan(Precision.INT8, activation=activation), 0, noise)
            layers.append(LayerSpace(request.name, (option,), 0))
    if not layers:
        raise ConfigError("the configuration quantizes no layer that can be quantized; enable at least one")
    return Candidates(SearchSpace(tuple(layers)), lossless, distortions)


def _energies(weights: Array, integers: QuantizedWeights, axis: int | None) -> tuple[float, float]:
    """Returns the sum of the squares of weights (1 if all are 0), and that of their rounding errors, without a copy of all weights."""
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = -1
    steps = np.broadcast_to(integers.scales.reshape(shape), weights.shape)
    energy = rounding = 0.0
    count = max(1, _SLAB * len(weights) // max(1, weights.size))
    for start in range(0, len(weights), count):
        part = slice(start, start + count)
        difference = integers.weights[part].astype(np.float32) * steps[part] - weights[part]
        energy += float(np.square(weights[part], dtype=np.float64).sum())
        rounding += float(np.square(difference, dtype=np.float64).sum())
    return energy or 1.0, rounding


def _weighted(
    quantizer: Quantizer,
    node: Node,
    request: LayerRequest,
    activation: ActivationQuant | None,
    noise: float,
    solutions: Solutions,
) -> tuple[LayerSpace, int | None]:
    """Returns a layer's options, and the number of its levels if a codebook holds them all."""
    integers = quantizer.integers(node.name, activation, channel_wise=request.channel_wise)
    weights = quantizer.graph.params[node.params[0]]
    biases = quantizer.graph.params[node.params[1]].size if len(node.params) > 1 else 0
    axis = None if integers.scales.size == 1 else getattr(node.op, "weight_output_axis", 0)
    per_channel = request.channel_wise and isinstance(node.op, Weighted) and node.op.scales_by_channel
    energy, rounding = _energies(weights, integers, axis)
    counts = {"n_scales": integers.scales.size, "n_bias": biases}
    int8 = solutions.get((node.name, UNIFORM))
    plan = LayerPlan(
        Precision.INT8, activation=activation, channel_wise=per_channel, weights=None if int8 is None else int8.weights
    )
    loss = rounding / energy if int8 is None else int8.loss
    options = [Option(plan, layer_bytes(weights.size, Precision.INT8, **counts), noise + loss)]
    curve: CodebookCurve | None = None
    for steps in request.steps:
        if curve is None:
            importance = weight_importance(integers.scales, axis, weights.shape)
            curve = optimal_codebooks(histogram(integers.weights, importance), max(*STEPS, *request.steps))
        book = curve.codebook(steps)
        if options[-1].layer_plan.codebook == book:
            # Fewer steps change nothing: the layer's levels fit already.
            options.pop()
        weights_name, loss = None, (rounding + float(curve.distortion[steps - 1])) / energy
        if (node.name, steps) in solutions:
            weights_name, book, loss = solutions[node.name, steps]
        if bits_per_weight(len(book)) == _INT8_BITS and not request.strongest_only:
            # Int8 itself is as small and does less harm.
            continue
        plan = LayerPlan(Precision.NUQ, book, steps, activation, per_channel, weights_name)
        size = layer_bytes(weights.size, Precision.NUQ, levels=len(book), **counts)
        options.append(Option(plan, size, noise + loss))
    if all(option.layer_plan.weights is not None for option in options):
        quantizer.drop(node.name)
    space = LayerSpace(node.name, tuple(options), layer_bytes(weights.size, Precision.FLOAT, n_bias=biases))
    return space, curve.lossless_at if curve is not None else None
