"""What ``nuqconv convert`` shows."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from nuqconv.formats.convert import Conversion

__all__ = ["print_conversion"]


def print_conversion(result: Conversion, console: Console) -> None:
    """Prints what was converted into what, and what was chosen on the way."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.layers.items())
    form = f"ONNX, opset {result.opset}" if result.opset else "Caffe"
    facts = [
        *((f"input {name}", _shape(shape)) for name, shape in result.inputs.items()),
        *((f"output {name}", _shape(shape)) for name, shape in result.outputs.items()),
        ("layers", f"{sum(result.layers.values())} ({kinds})"),
        ("parameters", f"{result.parameters:,}"),
        ("written as", form),
        ("size", f"{result.bytes:,} bytes, from {result.source_bytes:,}"),
        ("seconds", f"{result.seconds:.2f}"),
    ]
    if result.folded:
        count = sum(len(names) for names in result.folded.values())
        facts.insert(-3, ("folded", f"{count} layers into {len(result.folded)} others"))
    for label, text in facts:
        console.print(f"[bold]{escape(label)}[/]  {escape(text)}", soft_wrap=True)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for place in result.opaque:
        console.print(f"[yellow]kept without being understood:[/] {escape(place)}", soft_wrap=True)
    for path in result.files:
        console.print(f"written to {escape(str(path))}", soft_wrap=True)


def _shape(shape: tuple[int | str, ...] | None) -> str:
    return "shape not known before it runs" if shape is None else "x".join(map(str, shape)) or "one number"
