"""The options of commands that take data, and the data set that they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from nuqconv.data import DataSet, open_data
from nuqconv.data.look import said
from nuqconv.formats.source import is_onnx, model_files, read_any
from nuqconv.frontends.onnx import fed_inputs, read_onnx

__all__ = ["DATA_HELP", "Labels", "Prep", "data_files", "data_set", "model_inputs", "say_data"]

DATA_HELP = "Samples: .npz, .npy, a folder of pictures (its subfolders are the classes), a list file, an LMDB, HDF5, or a train_val.prototxt."
Prep = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="What is done with a picture before the net sees it: 'bgr, resize 256x256, crop 224x224, mean 104 117 123, scale 0.017', "
        "a train_val.prototxt, an AIPP configuration, ncnn2table's words or MNN's JSON.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Labels that stand apart: one a line, 'name label' lines, a .npy, a folder of VOC's XML, or names of classes."
    ),
]


def model_inputs(model: Path, weights: Path | None) -> dict[str, tuple[int | None, ...]]:
    """Returns the net's inputs by the names that data have for them, with their shapes; None where a size is open."""
    if is_onnx(model):
        model_files(model, weights)
        return {item.name: _open_batch(_declared(item)) for item in fed_inputs(read_onnx(model))}
    graph = read_any(model, weights).graph
    return {graph.storage_name(item.name): _open_batch(item.shape) for item in graph.inputs}


def _declared(item: Any) -> list[int]:
    """Returns the sizes that an ONNX model declares of an input, 0 for an open one."""
    return [int(size.dim_value) for size in item.type.tensor_type.shape.dim]


def _open_batch(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return (None, *(size if isinstance(size, int) and size > 0 else None for size in shape[1:]))


def data_set(
    data: Path, prep: str | None, labels: Path | None, inputs: Mapping[str, Sequence[int | None]] | None = None
) -> DataSet:
    """Returns the data set that options say, for a net where its inputs are known."""
    found = open_data(data, prep, labels)
    return found if inputs is None else found.for_net(inputs)


def data_files(data: Path | None, prep: str | None, labels: Path | None) -> list[Path]:
    """Returns the files that options name, which no output may be."""
    named = [data, labels, None if prep is None else Path(prep)]
    return [path for path in named if path is not None and _is_file(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def say_data(data: DataSet, console: Console, more: str = "") -> None:
    """Prints in one line what the net sees, and below what was left out or taken for granted."""
    console.print(f"[bold]data[/]  {escape(said(data) + more)}", soft_wrap=True)
    for note in getattr(data, "notes", ()):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
