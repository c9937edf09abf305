"""The options of commands that take data, and the data set that they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from nuqconv.data import DataSet, open_data
from nuqconv.data.look import said
from nuqconv.formats.source import ModelFiles

__all__ = ["DATA_HELP", "Labels", "Prep", "data_files", "data_set", "say_data"]

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


def data_set(data: Path, prep: str | None, labels: Path | None, model: ModelFiles | None = None) -> DataSet:
    """Returns the data set that options say, for a net where one is known."""
    found = open_data(data, prep, labels)
    return found if model is None else found.for_net(model.inputs())


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
