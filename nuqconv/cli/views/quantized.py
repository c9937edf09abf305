"""What ``nuqconv quantize`` and ``nuqconv trials write`` show."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from nuqconv.cli.report import layer_table, path_shown
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.quantization import Quantized
from nuqconv.search.evaluator_facts import EvaluatorFacts
from nuqconv.search.metrics import metric_shown

__all__ = ["print_files", "print_quantized"]


def print_quantized(result: Quantized, files: OutputFiles, console: Console) -> None:
    """Prints what became of each layer, the sizes, the files, and whether a demand is met."""
    console.print(layer_table(result.layers))
    sizes = result.sizes
    share = f"{100 * sizes.bytes / sizes.float_bytes:.1f} %" if sizes.float_bytes else "-"
    console.print(f"\nparameters: {sizes.bytes:,} of {sizes.float_bytes:,} bytes in float ({share})", soft_wrap=True)
    facts = result.facts
    if facts is not None and result.metric is not None and result.original_metric is not None:
        shown = metric_shown(facts.metric)
        before, after = shown(result.original_metric), shown(result.metric)
        console.print(f"{escape(facts.metric)}: {after}, of the original {before}", soft_wrap=True)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    print_files(files, console)
    if facts is not None and result.accepted is not None:
        verdict = "[bold green]the demand is met[/]" if result.accepted else "[bold red]the demand is not met[/]"
        console.print(f"\n{verdict}: {escape(_demand(facts))}", soft_wrap=True)


def _demand(facts: EvaluatorFacts) -> str:
    if facts.limit is None:
        return facts.demand
    exact = f"{'at most' if facts.better == 'lower' else 'at least'} {facts.limit:.5g}"
    return f"{facts.metric} {exact if facts.demand == exact else f'{facts.demand}: {exact}'}"


def print_files(files: OutputFiles, console: Console) -> None:
    """Prints the paths of files."""
    console.print("\n[bold]files")
    for path in files.present().values():
        console.print(f"  {escape(path_shown(path))}", soft_wrap=True)
