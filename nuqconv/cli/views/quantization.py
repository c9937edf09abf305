"""What ``nuqconv compare`` shows of a network and the same network quantized."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import new_table
from nuqconv.comparison.layer_errors import LayerError
from nuqconv.comparison.noise import Noise
from nuqconv.comparison.quantization import QuantizationReport

__all__ = ["print_quantization"]

_NARROW, _WIDEST = 8, 24
_PARTS = (
    "\N{LEFT ONE EIGHTH BLOCK}\N{LEFT ONE QUARTER BLOCK}\N{LEFT THREE EIGHTHS BLOCK}\N{LEFT HALF BLOCK}"
    "\N{LEFT FIVE EIGHTHS BLOCK}\N{LEFT THREE QUARTERS BLOCK}\N{LEFT SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"
)


def print_quantization(report: QuantizationReport, console: Console) -> None:
    """Prints the quantized layers, those that hurt most first, with a bar for each, and what reaches the outputs."""
    errors = report.errors
    for label, text in (("float", report.original), ("quantized", report.quantized)):
        console.print(f"[bold]{label}[/]  {escape(text)}", soft_wrap=True)
    console.print(f"[bold]data[/]  {escape(report.data)}: {errors.samples} samples\n", soft_wrap=True)
    console.print(_table(report, console))
    console.print(
        "\nSignal to noise in dB: 20 more is a tenth of the error. [bold]alone[/]: the layer with the float network's input, and of that "
        "what its weights and its input do; [bold]in net[/]: with the errors of all layers before it. Bars: the relative error alone.",
        soft_wrap=True,
    )
    for name, noise in errors.outputs.items():
        console.print(
            f"[bold]output[/] {escape(name)}: {_decibels(noise)} dB, relative error {noise.relative:.3g}, cosine {noise.cosine:.6f}, "
            f"largest difference {noise.largest:.3g}",
            soft_wrap=True,
        )
    for name, why in errors.unmeasured.items():
        console.print(f"[yellow]not measured:[/] {escape(name)}: {escape(why)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    if report.max_error is not None:
        word = "[bold green]within[/]" if report.agrees else "[bold red]above[/]"
        console.print(f"largest relative error of an output: {report.output_error:.3g}, {word} {report.max_error:g}")


def _table(report: QuantizationReport, console: Console) -> Table:
    numbers = ("place", "alone", "weights", "input", "in net", "cosine")
    # A narrow terminal has room for what matters most.
    narrow = console.width < 70
    headings = (
        "place",
        "layer",
        "",
        "alone",
        *(() if narrow else ("weights", "input")),
        "in net",
        *(() if narrow else ("cosine",)),
    )
    table = new_table(*headings, right=numbers)
    layers = report.errors.ranked
    worst = max((layer.single.relative for layer in layers), default=0.0)
    wide = min(_WIDEST, max(_NARROW, console.width - 60))
    for layer in layers:
        row = [
            str(layer.rank),
            escape(layer.layer),
            f"[cyan]{_bar(layer, worst, wide, console)}[/]",
            _decibels(layer.single),
            *([] if narrow else [_part(layer.weights), _part(layer.activations)]),
            _decibels(layer.accumulated),
            *([] if narrow else [f"{layer.single.cosine:.5f}"]),
        ]
        table.add_row(*row)
    return table


def _bar(layer: LayerError, worst: float, wide: int, console: Console) -> str:
    part = layer.single.relative / worst if worst else 0.0
    if not console.encoding.lower().startswith("utf"):
        return "#" * round(part * wide)
    whole, rest = divmod(round(8 * part * wide), 8)
    return _PARTS[-1] * whole + (_PARTS[rest - 1] if rest else "")


def _decibels(noise: Noise) -> str:
    return "exact" if noise.relative == 0 else f"{noise.snr_db:.1f}"


def _part(noise: Noise | None) -> str:
    return "" if noise is None else _decibels(noise)
