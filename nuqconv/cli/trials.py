"""``nuqconv trials show`` and ``nuqconv trials export``."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import new_console, new_table
from nuqconv.errors import JournalError, NuqconvError
from nuqconv.files.staging import check_targets, write_atomically
from nuqconv.search.journal import Journal, JournalRecord, journal_files

__all__ = ["trials"]

trials = typer.Typer(
    no_args_is_help=True,
    help="Look into the journal of a search, also while it runs: what was tried, with what result, and what it is a search of.",
)

_FILE = typer.Argument(
    help="The journal; `nuqconv auto --save DIR/PREFIX` keeps it as DIR/PREFIX_trials.sqlite.", show_default=False
)
_CSV_COLUMNS = (
    "number", "step", "metric", "accepted", "bytes", "float_layers", "seconds", "worker", "finished", "digest"
)  # fmt: skip


class Format(str, Enum):
    """What trials are exported as."""

    JSON = "json"
    CSV = "csv"


@trials.command()
def show(file: Annotated[Path, _FILE]) -> None:
    """Show what a journal holds: the search's identity, how far it is, the best trial, and a table of all trials.

    The percentage beside a size is its share of the size in float. The verdict is that of the search that asked last; with another
    demand the same metrics may be judged otherwise. Example: nuqconv trials show out/model_trials.sqlite
    """
    with Journal.read(file) as journal:
        _show(journal, file, new_console())


@trials.command()
def export(
    file: Annotated[Path, _FILE],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="json holds everything, with every plan; csv is one line for each trial. By default as OUT ends, else json.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default standard output.", metavar="OUT")
    ] = None,
) -> None:
    """Write the trials of a journal for other programs. Numbers keep every bit.

    Examples: nuqconv trials export out/model_trials.sqlite -o trials.csv, nuqconv trials export out/model_trials.sqlite | jq .best
    """
    if output is not None:
        check_targets([output], inputs=journal_files(file))
    if form is None:
        form = Format.CSV if output is not None and output.suffix.lower() == ".csv" else Format.JSON
    with Journal.read(file) as journal:
        text = _WRITERS[form](journal)
    if output is None:
        # As it is: typer's own output would take terminal codes out of it.
        sys.stdout.write(text)
    else:
        write_atomically(output, text)


def _show(journal: Journal, file: Path, console: Console) -> None:
    records = journal.trials()
    console.print(f"[bold]{_text(file)}", soft_wrap=True)
    facts = new_table("", "")
    facts.show_header = False
    for label, text in [*_progress(journal, records), *journal.identity.items()]:
        facts.add_row(f"  {_text(label)}", _text(text))
    console.print(facts)
    if records:
        console.print()
        console.print(_table(records, journal.float_bytes))


def _progress(journal: Journal, records: Sequence[JournalRecord]) -> list[tuple[str, str]]:
    original, holder = journal.original, journal.holder
    accepted = sum(record.accepted for record in records)
    facts = [
        ("begun", journal.created),
        ("searching now", holder or "no"),
        ("search space", "not worked out yet" if journal.space_text is None else "worked out"),
        ("original metric", "not measured yet" if original is None else f"{original:.6g}"),
        ("trials", f"{len(records)}, {accepted} accepted"),
    ]
    if records:
        facts.append(("evaluator's seconds", f"{sum(record.seconds for record in records):,.1f}"))
        facts.append(("last trial ended", records[-1].finished))
    best = _best(records)
    if best is not None:
        share = _share(best.bytes, journal.float_bytes)
        size = f"{best.bytes:,.0f} bytes" + (f" ({share} % of float)" if share else "")
        facts.append(("smallest accepted", f"trial {best.number}: metric {best.metric:.6g}, {size}"))
    return facts


def _best(records: Sequence[JournalRecord]) -> JournalRecord | None:
    """Return the smallest accepted trial; the first of several."""
    return min((record for record in records if record.accepted), key=lambda record: record.bytes, default=None)


def _table(records: Sequence[JournalRecord], float_bytes: float | None) -> Table:
    numbers = ("trial", "metric", "bytes", "%", "seconds")
    headings = ["trial", "tried", "metric", "bytes", "%", "seconds", "verdict"]
    workers = any(record.worker for record in records)
    table = new_table(*headings, *(["worker"] if workers else []), right=numbers)
    table.columns[6].no_wrap = True
    best = _best(records)
    for record in records:
        table.add_row(
            str(record.number),
            _text(record.step),
            f"{record.metric:.5g}",
            f"{record.bytes:,.0f}",
            _share(record.bytes, float_bytes),
            f"{record.seconds:.2f}",
            "[green]accepted" if record.accepted else "[red]rejected",
            *([_text(record.worker)] if workers else []),
            style="bold" if record is best else None,
        )
    return table


def _share(size: float, float_bytes: float | None) -> str:
    return f"{100 * size / float_bytes:.1f}" if float_bytes else ""


def _text(value: object) -> str:
    """Return a text from a file for the terminal, which must obey neither markup nor control characters in it."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value)))


def _json(journal: Journal) -> str:
    records = journal.trials()
    best = _best(records)
    content = {
        "format": "nuqconv trials",
        "version": 1,
        "created": journal.created,
        "identity": journal.identity,
        "original_metric": journal.original,
        "float_bytes": journal.float_bytes,
        "best": None if best is None else {"number": best.number, "digest": best.digest},
        "trials": [{**_fields(record), "plan": _plan(journal, record)} for record in records],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _plan(journal: Journal, record: JournalRecord) -> object:
    try:
        return json.loads(record.plan.to_json())
    except NuqconvError as error:
        raise JournalError(f"{journal.path}: the journal is damaged: trial {record.number}: {error}") from error


def _csv(journal: Journal) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in journal.trials():
        fields = _fields(record)
        # A layer's name may hold any character, so the list stays JSON.
        writer.writerow({**fields, "float_layers": json.dumps(fields["float_layers"])})
    return text.getvalue()


def _fields(record: JournalRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _CSV_COLUMNS}


_WRITERS: dict[Format, Callable[[Journal], str]] = {Format.JSON: _json, Format.CSV: _csv}
