"""What ``nuqconv trials`` shows and exports."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nuqconv.cli.report import narrow, new_table, print_legend
from nuqconv.errors import JournalError, NuqconvError
from nuqconv.search.journal import Journal, JournalRecord

__all__ = ["csv_text", "json_text", "print_journal"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CSV_COLUMNS = (
    "number", "step", "metric", "accepted", "bytes", "float_layers", "seconds", "worker", "finished", "digest"
)  # fmt: skip


def print_journal(journal: Journal, file: Path, console: Console, *, title: bool = True) -> None:
    """Prints what a search is of, how far it is, and a table of its trials; ``title`` puts the name of the file above."""
    records = journal.trials()
    if title:
        console.print(f"[bold]{_text(file)}", soft_wrap=True)
    facts = new_table("", "")
    facts.show_header = False
    for label, text in [*_progress(journal, records), *journal.identity.items()]:
        facts.add_row(f"  {_text(label)}", _text(_briefly(text) if narrow(console) else text))
    console.print(facts)
    if records:
        console.print()
        console.print(_table(records, journal.float_bytes, brief=narrow(console)))
        print_legend((record.step for record in records), console)


def _briefly(text: str) -> str:
    """Returns the beginning of a digest, and lists with places to break them."""
    return f"{text[:16]}..." if _DIGEST.fullmatch(text) else re.sub(r",(?=[a-z_]+=)", ", ", text)


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
    """Returns the smallest accepted trial; the first of several."""
    return min((record for record in records if record.accepted), key=lambda record: record.bytes, default=None)


def _table(records: Sequence[JournalRecord], float_bytes: float | None, *, brief: bool) -> Table:
    numbers = ("trial", "metric", "bytes", "%", "seconds")
    headings = ["trial", "tried", "metric", "bytes", *([] if brief else ["%", "seconds"]), "verdict"]
    workers = not brief and any(record.worker for record in records)
    table = new_table(*headings, *(["worker"] if workers else []), right=numbers)
    table.columns[headings.index("verdict")].no_wrap = True
    best = _best(records)
    for record in records:
        table.add_row(
            str(record.number),
            _text(record.step),
            f"{record.metric:.5g}",
            f"{record.bytes:,.0f}",
            *([] if brief else [_share(record.bytes, float_bytes), f"{record.seconds:.2f}"]),
            "[green]accepted" if record.accepted else "[red]rejected",
            *([_text(record.worker)] if workers else []),
            style="bold" if record is best else None,
        )
    return table


def _share(size: float, float_bytes: float | None) -> str:
    return f"{100 * size / float_bytes:.1f}" if float_bytes else ""


def _text(value: object) -> str:
    """Returns a text from a file for the terminal, which must obey neither markup nor control characters in it."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value)))


def json_text(journal: Journal) -> str:
    """Returns all that a journal holds, with every plan, as JSON."""
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


def csv_text(journal: Journal) -> str:
    """Returns one line for each trial."""
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
