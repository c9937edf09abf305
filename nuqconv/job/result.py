"""What a search gives back."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nuqconv.comparison.layer_errors import LayerErrors
from nuqconv.errors import ConfigError
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Weighted
from nuqconv.job.about import UNKNOWN, About
from nuqconv.job.calibration import Source
from nuqconv.job.network_facts import NetworkFacts
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.planned import PlannedModel
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.quantize.rate import bits_per_weight, layer_bytes
from nuqconv.report.document import DifferenceRow, Document, Errors, LayerRow, Seconds, SizesRow, TrialRow
from nuqconv.search.metrics import Interval
from nuqconv.search.trial import StopReason, Trial

__all__ = ["LayerResult", "NuqResult", "OutputFiles", "Sizes", "layer_results", "measure_sizes"]


@dataclass(frozen=True)
class LayerResult:
    """One layer of the result.

    Attributes:
        name: The layer.
        kind: Its type.
        precision: Float, int8 or NUQ.
        num_steps: The codebook size asked for, of a NUQ layer.
        levels: The number of levels that its weights really have, of a NUQ layer.
        weights: Number of weights.
        bits: Bits for each weight.
        bytes: Size with step sizes, biases and codebook.
        float_bytes: Size with its bias in float32.
        lossless: Whether the codebook holds all levels of the int8 weights, so that NUQ costs nothing.
    """

    name: str
    kind: str
    precision: Precision
    num_steps: int | None
    levels: int | None
    weights: int
    bits: int
    bytes: int
    float_bytes: int
    lossless: bool


@dataclass(frozen=True)
class Sizes:
    """Sizes of all parameters.

    Attributes:
        float_bytes: With every parameter a float32, after folding.
        int8_bytes: With every layer of the search space at uniform int8.
        bytes: Of the result.
        bits_per_weight: Bits for each weight of a Convolution, Deconvolution or InnerProduct, on average.
    """

    float_bytes: int
    int8_bytes: int
    bytes: int
    bits_per_weight: float


@dataclass(frozen=True)
class NuqResult:
    """The best plan, and how it was found.

    Attributes:
        plan: The plan.
        original_metric: The evaluator's number for the original model.
        metric: Its number for the plan.
        trials: Every plan evaluated, in order.
        best: The trial of the plan.
        pareto: The trials, by size, that no other one beats in size or nearness of the metric to the original's without losing in the other.
        layers: What became of each layer with weights.
        sizes: Sizes before and after.
        files: The files written.
        calibration: Where activation ranges came from.
        reverted: Layers that had to go back to float because int8 was too coarse for them.
        folded: For each layer, the layers that were folded into it.
        stopped_by: Why the search ended, as `StopReason` says.
        notes: What the user should know.
        seconds: Duration of the whole call, and of the evaluator in it.
        journal: Where the journal of the search is, if one is kept.
        difference: ``metric - original_metric`` with the interval in which it lies, from samples drawn again (`difference_interval`); None where the
            evaluator does not tell.
        about: What was asked for, on what, and when.
        network: What the network was before.
        picture: The first samples that were evaluated, side by side, JPEG; None for data that are no pictures.
        model: The model with the plan: what can be run and saved.
        errors: What quantization does to the output of each layer, measured on inputs that the net was calibrated on; None without such.
    """

    plan: Plan
    original_metric: float
    metric: float
    trials: tuple[Trial, ...]
    best: Trial
    pareto: tuple[Trial, ...]
    layers: tuple[LayerResult, ...]
    sizes: Sizes
    files: OutputFiles
    calibration: Source
    reverted: tuple[str, ...]
    folded: Mapping[str, tuple[str, ...]]
    stopped_by: StopReason
    notes: tuple[str, ...]
    seconds: tuple[float, float]
    journal: Path | None = None
    difference: Interval | None = None
    about: About | None = None
    network: NetworkFacts | None = None
    errors: LayerErrors | None = None
    picture: bytes | None = field(default=None, repr=False)
    model: PlannedModel | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        counts = Counter(layer.precision.value for layer in self.layers)
        forms = ", ".join(f"{counts[precision.value]} {precision.value}" for precision in reversed(Precision))
        return (
            f"<NuqResult metric {self.metric:.6g} of {self.original_metric:.6g}, {self.sizes.bytes:,} of {self.sizes.float_bytes:,} bytes, "
            f"{len(self.layers)} layers with weights ({forms}), {len(self.trials)} trials ({self.stopped_by})>"
        )

    @property
    def evaluations(self) -> int:
        """Number of quantized models that the evaluator was asked about; the original is not counted."""
        return len(self.trials)

    def run(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """Runs the quantized network in onnxruntime; see `PlannedModel.run`."""
        return self._planned().run(inputs)

    def save(self, save_dir: str | os.PathLike[str], **options: Any) -> OutputFiles:
        """Writes the models and record files again, or for the first time; see `PlannedModel.save`."""
        return self._planned().save(save_dir, **options)

    def write(self, *, trial: int, save_dir: str | os.PathLike[str], **options: Any) -> OutputFiles:
        """Writes the files of another trial, to the byte those that the search would have written for it.

        Args:
            trial: Its number.
            save_dir: DIR/PREFIX of the files.
            **options: As of `PlannedModel.save`.

        Raises:
            ConfigError: There is no such trial.
            OutputError: The files cannot be written. The earlier ones are as they were.
        """
        found = next((item for item in self.trials if item.number == trial), None)
        if found is None:
            raise ConfigError(f"there is no trial {trial!r}; the search made 1 to {len(self.trials)}")
        return replace(self._planned(), plan=found.plan).save(save_dir, **options)

    def _planned(self) -> PlannedModel:
        if self.model is None:
            raise ConfigError("this result was read, not found here, and does not hold its model; search again")
        return self.model

    def to_json(self) -> str:
        """Returns the result as JSON for other programs, with the plan in its own form."""
        return self.document().to_json()

    def to_html(self) -> str:
        """Returns the result as one HTML page, which needs nothing beside it; see ``nuqconv report``."""
        from nuqconv.report.html import html_page  # noqa: PLC0415 - it knows results
        from nuqconv.report.sources import report_of_result  # noqa: PLC0415

        return html_page(report_of_result(self))

    def _repr_html_(self) -> str:
        """Shows the page in a notebook, in a frame of its own."""
        page = html.escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" title="Quantization report" style="width:100%;height:720px;border:0"></iframe>'

    def document(self) -> Document:
        """Returns all that the result tells, as its JSON has it."""
        front = {trial.number for trial in self.pareto}
        files = self.files.present()
        return Document(
            state="finished",
            **(UNKNOWN if self.about is None else self.about.fields()),
            original_metric=self.original_metric,
            metric=self.metric,
            difference=None if self.difference is None else DifferenceRow(**vars(self.difference)),
            accepted=self.best.accepted,
            best_trial=self.best.number,
            sizes=SizesRow(**vars(self.sizes)),
            layers=tuple(LayerRow(**{**vars(layer), "precision": layer.precision.value}) for layer in self.layers),
            trials=tuple(trial_row(trial, pareto=trial.number in front) for trial in self.trials),
            calibration=self.calibration.value,
            reverted=self.reverted,
            folded=self.folded,
            stopped_by=self.stopped_by,
            notes=self.notes,
            seconds=Seconds(*self.seconds),
            files={name: str(path) for name, path in files.items()},
            file_bytes={name: path.stat().st_size for name, path in files.items() if path.is_file()},
            journal=None if self.journal is None else str(self.journal),
            errors=None if self.errors is None else Errors.from_object(self.errors.to_object()),
            plan=json.loads(self.plan.to_json()),
        )


def trial_row(trial: Trial, *, pareto: bool) -> TrialRow:
    """Returns a trial as a document tells it."""
    seconds = round(trial.seconds, 3)
    size = int(trial.bytes) if float(trial.bytes).is_integer() else trial.bytes
    return TrialRow(trial.number, trial.step, trial.metric, trial.accepted, size, seconds, pareto, trial.plan.digest())


def layer_results(quantizer: Quantizer, plan: Plan, lossless: Mapping[str, int]) -> tuple[LayerResult, ...]:
    """Returns what a plan makes of each layer with weights."""
    results = []
    for node in quantizer.graph.nodes:
        if not isinstance(node.op, Weighted):
            continue
        layer = plan.get(node.name)
        precision = Precision.FLOAT if layer is None else layer.precision
        weights = quantizer.graph.params[node.params[0]].size
        biases = sum(quantizer.graph.params[name].size for name in node.params[1:])
        levels = None if layer is None or layer.codebook is None else len(layer.codebook)
        scales = 0
        if layer is not None and precision is not Precision.FLOAT:
            scales = quantizer.layer_integers(node.name, layer).scales.size
        size = layer_bytes(weights, precision, levels=levels, n_scales=scales, n_bias=biases)
        bits = {Precision.FLOAT: 32, Precision.INT8: 8}.get(precision) or bits_per_weight(levels or 1)
        whole = levels is not None and lossless.get(node.name, 257) <= levels
        steps = None if layer is None else layer.num_steps
        before = 4 * (weights + biases)
        results.append(
            LayerResult(node.name, node.op.kind, precision, steps, levels, weights, bits, size, before, whole)
        )
    return tuple(results)


def measure_sizes(graph: Graph, layers: tuple[LayerResult, ...], int8: tuple[LayerResult, ...]) -> Sizes:
    """Returns the sizes before and after.

    Args:
        graph: The float graph after folding.
        layers: What became of each layer.
        int8: The same with every layer of the search space at int8.
    """
    total = 4 * sum(array.size for array in graph.params.values())
    weights = sum(layer.weights for layer in layers)
    return Sizes(
        float_bytes=total,
        int8_bytes=total - sum(layer.float_bytes - layer.bytes for layer in int8),
        bytes=total - sum(layer.float_bytes - layer.bytes for layer in layers),
        bits_per_weight=sum(layer.weights * layer.bits for layer in layers) / weights if weights else 0.0,
    )
