"""The data set that options say, and what ``nuqconv data`` shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from nuqconv.cli.report import new_table
from nuqconv.data import DataSet, open_data
from nuqconv.data.datafile import read_inputs
from nuqconv.data.look import said
from nuqconv.data.preparation import Preparation
from nuqconv.data.write import write_npz
from nuqconv.errors import ConfigError
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array
from nuqconv.job.data_check import DataCheck, Evidence

__all__ = [
    "data_files",
    "data_set",
    "like",
    "preparation_of",
    "print_check",
    "run_inputs",
    "say_data",
    "say_more",
    "write_set",
]


def data_set(data: Path, prep: str | None, labels: Path | None, model: ModelFiles | None = None) -> DataSet:
    """Returns the data set that options say, for a net where one is known."""
    found = open_data(data, prep, labels)
    if model is None:
        return found
    inputs = model.inputs()
    pictures = getattr(found, "has_pictures", None)
    if model.format.open_sizes and (pictures is None or not pictures()):
        # A net whose sizes can be others gets those of arrays; pictures get the net's.
        inputs = {name: (*shape[:2], *(None for _ in shape[2:])) for name, shape in inputs.items()}
    return found.for_net(inputs)


def run_inputs(path: Path, prep: str | None, model: ModelFiles) -> Mapping[str, Array] | DataSet:
    """Returns what a model is run on once: of a .npz all arrays, which need not have one number of samples; else a data set."""
    if path.suffix != ".npz" or prep is not None:
        return open_data(path, prep)
    return read_inputs(path, model.input_names())


def like(data: DataSet, other: DataSet) -> DataSet:
    """Returns other samples prepared as the data are, where nothing was said of them: pictures beside a train_val.prototxt, for instance."""
    prep, again = getattr(data, "prep", None), getattr(other, "with_preparation", None)
    pictures = getattr(other, "has_pictures", None)
    if other.preparation is not None or prep is None or again is None or pictures is None or not pictures():
        return other
    found: DataSet = again(prep)
    return found


def data_files(data: Path | None, prep: str | None, labels: Path | None) -> list[Path]:
    """Returns the files that options name, which no output may be."""
    named = [data, labels, None if prep is None else Path(prep)]
    return [path for path in named if path is not None and _is_file(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def say_data(data: DataSet, console: Console, more: str = "", *, word: str = "data") -> None:
    """Prints in one line what the net sees, and below what was left out or taken for granted."""
    console.print(f"[bold]{word}[/]  {escape(said(data) + more)}", soft_wrap=True)
    for note in getattr(data, "notes", ()):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def preparation_of(found: DataSet) -> Preparation:
    """Returns how the samples of a data set are prepared.

    Raises:
        ConfigError: They are not.
    """
    prep = getattr(found, "prep", None)
    if not isinstance(prep, Preparation):
        raise ConfigError(f"{found.describe()}: nothing is prepared here")
    return prep


def say_more(found: DataSet, console: Console) -> None:
    """Prints how samples are prepared, and of what kind their labels are."""
    if found.preparation is not None:
        console.print(f"[bold]prep[/]  {escape(found.preparation)}", soft_wrap=True)
    console.print(f"[bold]labels[/]  {escape(_labels(found))}", soft_wrap=True)


def _labels(found: DataSet) -> str:
    first = next(iter(found.batches(1, 1))).labels
    if first is None:
        return "none"
    label = first[0]
    shape = getattr(label, "shape", ())
    if shape:
        return f"maps of classes, the first {'x'.join(map(str, shape))}"
    if hasattr(label, "boxes"):
        return f"boxes, {len(label)} in the first"
    return f"texts, the first {label!r}" if isinstance(label, str) else f"classes, the first {label}"


def write_set(found: DataSet, path: Path, console: Console) -> None:
    """Writes the prepared samples, and says what is not among them."""
    if not write_npz(found, path) and found.has_labels():
        console.print(
            "[yellow]note:[/] the labels are no numbers of classes, so that they are not in the .npz", soft_wrap=True
        )


def print_check(checked: DataCheck, console: Console) -> None:
    """Prints how other ways to prepare the data do, and what to think of it."""
    declared = checked.declared
    columns = ["outputs move", "times int8"]
    columns += [] if declared.distance is None else ["unlike training"]
    columns += [] if declared.likelihood is None else ["log-likelihood"]
    columns += [] if checked.metric is None else [checked.metric]
    table = new_table("prepared", *columns, right=tuple(columns))
    rows = list(checked.variants)
    merit = declared.merit(checked.evidence)
    rows.insert(sum(item.merit(checked.evidence) > merit for item in rows), declared)
    for item in rows:
        numbers = [f"{item.moved:.2%}", f"{item.moved / checked.int8:.1f}" if checked.int8 else ""]
        numbers += [] if item.distance is None else [f"{item.distance:.3f}"]
        numbers += [] if item.likelihood is None else [f"{item.likelihood:.3f}"]
        numbers += [] if item.score is None else [f"{item.score:.4g}"]
        style = "bold" if item is declared else "red" if item is checked.suspect else None
        table.add_row(escape(item.name or "as declared"), *numbers, style=style)
    console.print(table)
    if checked.int8 is not None:
        console.print(f"int8 moves the outputs by {checked.int8:.2%} ({checked.samples} samples)", soft_wrap=True)
    for note in checked.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(_verdict(checked), soft_wrap=True)


def _verdict(checked: DataCheck) -> str:
    if checked.evidence is Evidence.NONE:
        return (
            "there are no labels, and the net keeps nothing of its training, so that nobody can say which way is right; "
            "what moves the outputs most deserves a second look"
        )
    suspect, by = checked.suspect, checked.evidence.value
    if suspect is None:
        return f"[green]no other way to prepare the data is clearly better than what is declared[/], by {by}"
    if checked.evidence is Evidence.TRAINING:
        numbers = f"{suspect.distance:.3f} from the training instead of {checked.declared.distance:.3f}"
    elif suspect.likelihood is not None:
        numbers = f"log-likelihood {suspect.likelihood:.3f} instead of {checked.declared.likelihood:.3f}"
    else:
        numbers = f"{checked.metric} {suspect.score:.4g} instead of {checked.declared.score:.4g}"
    return f"[bold red]these data are probably prepared wrongly:[/] '{escape(suspect.name)}' is clearly better by {by} ({numbers})"
