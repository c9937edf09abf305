"""Tables for the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.config import ArqParams, NuqParams, QuantConfig
from nuqconv.ir import Graph
from nuqconv.job.calibration import Source
from nuqconv.job.result import LayerResult, NuqResult
from nuqconv.quantize.plan import Precision
from nuqconv.search.metrics import Interval, metric_shown
from nuqconv.search.strategies.words import legend

__all__ = [
    "config_table",
    "layer_table",
    "narrow",
    "new_console",
    "new_table",
    "path_shown",
    "print_legend",
    "print_result",
    "sizes_text",
]

_WIDE = 400
_NARROW = 90


class _Output(Console):
    """Standard output: a line that is as long as it has to be is so in a pipe; a terminal would break it inside words."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        super().print(*objects, soft_wrap=bool(soft_wrap) and not self.is_terminal, **options)


def new_console() -> Console:
    """Returns a console for standard output; in a pipe or a file, lines are as long as they have to be."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Output(width=_WIDE if piped else None, highlight=False)


def sizes_text(shape: tuple[int, ...] | None) -> str:
    """Returns a shape as text."""
    return "shape not known" if shape is None else "x".join(map(str, shape)) or "one number"


def narrow(console: Console) -> bool:
    """Whether tables have to give up columns."""
    return console.width < _NARROW


def new_table(*headings: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Returns an empty table; the columns named in ``right`` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    for heading in headings:
        number = heading in right
        table.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return table


def print_result(result: NuqResult, console: Console, metric: str = "metric") -> None:
    """Prints what a search found: layers, trials, before and after, files."""
    console.print(layer_table(result.layers))
    console.print()
    console.print(_trials(result, seconds=not narrow(console)))
    print_legend((trial.step for trial in result.trials), console)
    console.print()
    console.print(_summary(result, metric))
    console.print()
    for label, text in _facts(result):
        console.print(f"{label}: {escape(text)}", soft_wrap=True)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print("\n[bold]files")
    for path in result.files.present().values():
        size = f"{path.stat().st_size:,} bytes" if path.is_file() else ""
        console.print(f"  {escape(path_shown(path))}  [dim]{size}[/]", soft_wrap=True)


def print_legend(steps: Iterable[str], console: Console) -> None:
    """Prints what the words in the names of trials mean."""
    for word, meaning in legend(steps).items():
        console.print(f"[dim]{word}: {meaning}[/]", soft_wrap=True)


def config_table(config: QuantConfig, graph: Graph) -> Table:
    """Returns a table of what a configuration says of each layer that it names."""
    table = new_table("layer", "type", "input", "weights")
    for name, layer in config.layers.items():
        weights = layer.weight_quant_params
        form = "float"
        if layer.quant_enable and isinstance(weights, NuqParams):
            form = f"nuq, down to {weights.num_steps} steps"
        elif layer.quant_enable and isinstance(weights, ArqParams):
            form = "int8 by channel" if weights.channel_wise else "int8"
        elif layer.quant_enable:
            form = "none"
        table.add_row(escape(name), graph.node[name].op.kind, "int8" if layer.quant_enable else "float", form)
    return table


def layer_table(layers: Sequence[LayerResult]) -> Table:
    """Returns what became of each layer with weights."""
    table = new_table(
        "layer", "type", "weights", "levels", "bits", "bytes", right=("weights", "levels", "bits", "bytes")
    )
    for layer in layers:
        style = {Precision.NUQ: "green", Precision.FLOAT: "yellow"}.get(layer.precision)
        table.add_row(
            escape(layer.name),
            layer.kind,
            f"{layer.weights:,}",
            _levels(layer),
            str(layer.bits),
            f"{layer.bytes:,}",
            style=style,
        )
    return table


def _levels(layer: LayerResult) -> str:
    if layer.precision is not Precision.NUQ:
        return str(layer.precision.value)
    return f"{layer.levels} of {layer.num_steps}" + (" lossless" if layer.lossless else "")


def _trials(result: NuqResult, *, seconds: bool) -> Table:
    headings = ("trial", "tried", "metric", "bytes", *(["seconds"] if seconds else []), "verdict")
    table = new_table(*headings, right=("trial", "metric", "bytes", "seconds"))
    front = {trial.number for trial in result.pareto}
    for trial in result.trials:
        verdict = "[green]accepted[/]" if trial.accepted else "[red]rejected[/]"
        if trial.number == result.best.number:
            verdict += ", [bold]the result[/]"
        elif trial.number in front:
            verdict += ", on the front"
        table.add_row(
            str(trial.number),
            escape(trial.step),
            f"{trial.metric:.5g}",
            f"{trial.bytes:,.0f}",
            *([f"{trial.seconds:.2f}"] if seconds else []),
            verdict,
        )
    return table


def _summary(result: NuqResult, metric: str) -> Table:
    sizes = result.sizes
    table = new_table("", "original", "int8", "result", right=("original", "int8", "result"))
    shown = metric_shown(metric)
    table.add_row(metric, shown(result.original_metric), _int8_metric(result, shown), f"[bold]{shown(result.metric)}")
    table.add_row("parameters, bytes", f"{sizes.float_bytes:,}", f"{sizes.int8_bytes:,}", f"[bold]{sizes.bytes:,}")
    table.add_row(
        "share of the float size",
        "100 %",
        _share(sizes.int8_bytes, sizes.float_bytes),
        _share(sizes.bytes, sizes.float_bytes),
    )
    table.add_row("bits per weight", "32", "8", f"[bold]{sizes.bits_per_weight:.2f}")
    return table


def _facts(result: NuqResult) -> list[tuple[str, str]]:
    counts = {kind: sum(layer.precision is kind for layer in result.layers) for kind in Precision}
    layers = f"{counts[Precision.NUQ]} NUQ, {counts[Precision.INT8]} int8, {counts[Precision.FLOAT]} float"
    total, evaluator = result.seconds
    ended = {
        "complete": "the search is complete",
        "max_evaluations": "no more were allowed",
        "timeout": "time is up",
        "no_improvement": "nothing better was found for long",
        "callback": "the program has ended it",
    }
    calibrated = {Source.ONNXRUNTIME: "in onnxruntime", Source.CAFFE: "in Caffe", Source.NONE: "not at all"}
    difference = [] if result.difference is None else [("difference", _difference(result.difference))]
    facts = None if result.about is None else result.about.evaluator
    data = [] if facts is None or facts.data is None else [("data", facts.data)]
    data += [] if facts is None or facts.preparation is None else [("prepared", facts.preparation)]
    return [
        *difference,
        *data,
        ("layers with weights", f"{len(result.layers)} ({layers})"),
        ("quantized models evaluated", f"{result.evaluations} ({ended[result.stopped_by]})"),
        ("activations calibrated", calibrated[result.calibration]),
        ("seconds", f"{total:.1f}, {evaluator:.1f} of them in the evaluator"),
    ]


def _difference(found: Interval) -> str:
    ends = f"{found.low:+.3g} .. {found.high:+.3g}"
    return f"{found.estimate:+.3g} to the original; {ends} in {found.confidence:.0%} of draws"


def _int8_metric(result: NuqResult, shown: Callable[[float], str]) -> str:
    first = result.trials[0]
    uniform = all(layer.precision is Precision.INT8 for layer in first.plan.values())
    return shown(first.metric) if uniform else ""


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def path_shown(path: Path) -> str:
    """Returns a path as it is seen from the working directory, if it lies below."""
    relative = Path(os.path.relpath(path))
    return str(path) if relative.parts[0] == ".." else str(relative)
