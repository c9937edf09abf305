"""The report as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nuqconv.report.document import Document, LayerRow, NoiseRow, TrialRow
from nuqconv.report.words import ENDINGS, calibration_words, demand_words, form_words, verdict
from nuqconv.search.strategies.words import legend

__all__ = ["markdown_page"]


def markdown_page(document: Document) -> str:
    """Returns the report as Markdown with GitHub's tables and details; the same document gives the same text."""
    kind, (news, more) = verdict(document)
    mark = {"ok": "\N{WHITE HEAVY CHECK MARK} ", "no": "\N{CROSS MARK} "}.get(kind, "")
    parts = [
        f"## {_text(document.network or 'network')}: quantization",
        f"{mark}**{_text(news)}** {_text(more)}",
        _comparison(document),
        *_notes(document),
        _errors(document),
        _folded("Layers", _layers(document.layers), len(document.layers)),
        _folded("Trials", _trials(document), len(document.trials)),
        _asked(document),
    ]
    if document.command:
        parts.append(f"```\n{document.command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(value: object) -> str:
    """Returns a text that Markdown takes as it is."""
    shown = "".join(c if c.isprintable() else " " for c in str(value))
    for mark in "\\`*_{}[]<>#|~":
        shown = shown.replace(mark, f"\\{mark}")
    return shown


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; headings that begin with ``<`` are those of texts."""
    lines = [
        f"| {' | '.join(heading.lstrip('<') for heading in headings)} |",
        f"| {' | '.join(':--' if heading.startswith('<') else '--:' for heading in headings)} |",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _folded(name: str, table: str, rows: int) -> str:
    return f"<details><summary>{name} ({rows})</summary>\n\n{table}\n\n</details>" if rows else ""


def _comparison(document: Document) -> str:
    sizes = document.sizes
    first = next((trial for trial in document.trials if trial.bytes == sizes.int8_bytes), None)
    columns = (
        ("float", document.original_metric, sizes.float_bytes, 32.0),
        ("int8", None if first is None else first.metric, sizes.int8_bytes, 8.0),
        ("**result**", document.metric, sizes.bytes, sizes.bits_per_weight),
    )
    rows = [
        (
            name,
            "" if metric is None else f"{metric:.5g}",
            "" if size is None else f"{size:,}",
            "" if size is None or not sizes.float_bytes else f"{100 * size / sizes.float_bytes:.1f} %",
            "" if bits is None else f"{bits:.2f}",
        )
        for name, metric, size, bits in columns
    ]
    return _table(("<", _text(document.metric_name), "bytes", "of float", "bits"), rows)


def _notes(document: Document) -> list[str]:
    return ["\n".join(f"> {_text(note)}  " for note in document.notes)] if document.notes else []


def _errors(document: Document) -> str:
    if document.errors is None:
        return ""
    worst = sorted(document.errors.layers, key=lambda layer: layer.rank)
    rows = [
        (
            str(layer.rank),
            _text(layer.layer),
            _decibels(layer.single),
            "" if layer.weights_snr_db is None else str(layer.weights_snr_db),
            "" if layer.activations_snr_db is None else str(layer.activations_snr_db),
            _decibels(layer.accumulated),
        )
        for layer in worst
    ]
    table = _table(("place", "<layer", "alone, dB", "by weights", "by input", "in the network, dB"), rows)
    few = "\n".join(table.splitlines()[:7])
    head = (
        f"**Where quantization hurts** (signal to noise on {document.errors.samples} samples, less is worse)\n\n{few}"
    )
    return head if len(rows) <= 5 else f"{head}\n\n{_folded('All layers', table, len(rows))}"


def _decibels(noise: NoiseRow) -> str:
    return "exact" if noise.snr_db is None else str(noise.snr_db)


def _layers(layers: Iterable[LayerRow]) -> str:
    rows = [
        (
            _text(layer.name),
            layer.kind,
            f"{layer.weights:,}",
            form_words(layer),
            str(layer.bits),
            f"{layer.bytes:,}",
            f"{100 * layer.bytes / layer.float_bytes:.1f} %" if layer.float_bytes else "",
        )
        for layer in layers
    ]
    return _table(("<layer", "<type", "weights", "<levels", "bits", "bytes", "of float"), rows)


def _trials(document: Document) -> str:
    rows = [
        (
            str(trial.number),
            _text(trial.step),
            f"{trial.metric:.5g}",
            f"{trial.bytes:,.0f}",
            f"{trial.seconds:.2f}",
            _verdict(trial, document),
        )
        for trial in document.trials
    ]
    table = _table(("trial", "<tried", _text(document.metric_name), "bytes", "seconds", "<verdict"), rows)
    words = legend(trial.step for trial in document.trials)
    return "\n\n".join([table, *(f"*{word}*: {meaning}" for word, meaning in words.items())])


def _verdict(trial: TrialRow, document: Document) -> str:
    words = "accepted" if trial.accepted else "rejected"
    return f"**{words}, the result**" if trial.number == document.best_trial else words


def _asked(document: Document) -> str:
    pairs = (
        ("aim", document.aim),
        ("demand", demand_words(document)),
        ("data", document.data),
        ("preparation", document.preparation),
        ("evaluated in", document.runtime),
        ("activations", calibration_words(document.calibration)),
        ("ended", ENDINGS.get(document.stopped_by or "", document.stopped_by)),
        ("date", document.date),
        ("versions", ", ".join(f"{name} {number}" for name, number in document.versions.items())),
        *((f"SHA-256 of {name}", digest) for name, digest in document.hashes.items()),
    )
    rows = [(name, _text(value)) for name, value in pairs if value]
    return _folded("What was asked", _table(("<", "<"), rows), len(rows))
