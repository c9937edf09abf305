"""The tables of the page. They are whole without a script; with it, a click on a heading sorts."""

from __future__ import annotations

from collections.abc import Iterable

from nuqconv.report.document import Document, ErrorRow, Errors, LayerRow, NoiseRow, TrialRow
from nuqconv.report.html.layer_sizes import form_of
from nuqconv.report.html.text import NONE, attribute, escaped, number_cell, share, short, thousands
from nuqconv.report.html.weights import WeightPictures
from nuqconv.report.words import form_words

__all__ = ["comparison_table", "error_table", "layer_table", "trial_table"]


def _table(kind: str, headings: Iterable[str], rows: Iterable[str], caption: str, style: str = "") -> str:
    """Returns a table whose kind the style sheet knows; end tags are left out where HTML lets them be."""
    heads = "".join(f"<th scope=col>{heading}" for heading in headings)
    return (
        f'<div class=w tabindex=0 role=region aria-label="{caption}"><table class="{kind}"{style}><thead><tr>{heads}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def comparison_table(document: Document) -> str:
    """Returns float, int8 and result side by side."""
    sizes, trials = document.sizes, document.trials
    first = trials[0] if trials and sizes.int8_bytes is not None and trials[0].bytes == sizes.int8_bytes else None
    metric = escaped(document.metric_name)
    columns = (
        ("float", document.original_metric, sizes.float_bytes, 32.0),
        ("int8", None if first is None else first.metric, sizes.int8_bytes, 8.0),
        (
            "result" if document.state == "finished" else "best so far",
            document.metric,
            sizes.bytes,
            sizes.bits_per_weight,
        ),
    )
    rows = []
    for name, value, size, bits in columns:
        bar = 0.0 if not size or not sizes.float_bytes else 100 * size / sizes.float_bytes
        form = {"float": "float", "int8": "int8"}.get(name, "nuq16")
        kind = " class=r" if name not in ("float", "int8") else ""
        exact = "" if value is None else f" data-v={value}"
        rows.append(
            f"<tr{kind}><td>{name}<td{exact}>{short(value)}"
            f"<td>{NONE if size is None else thousands(size)}"
            f"<td class=m style=--w:{bar:.4g}%;--f:var(--f-{form})>{share(size, sizes.float_bytes)}"
            + (f"<td>{NONE}" if bits is None else number_cell(bits, f"{bits:.2f}"))
        )
    return _table("q", ("", metric, "bytes", "of float", "bits"), rows, "Float, int8 and result")


def layer_table(document: Document, pictures: WeightPictures) -> str:
    """Returns what became of each layer."""
    headings = (
        *("layer", "type", "weights", "levels", "bits", "bytes", "float bytes", "left of float"),
        *("input step", "offset", "weights by level"),
    )
    rows = [_layer(layer, pictures) for layer in document.layers]
    return _table("t L", headings, rows, "Layers", f" style=--n:{pictures.detail.units}")


def _layer(layer: LayerRow, pictures: WeightPictures) -> str:
    left = 100 * layer.bytes / layer.float_bytes if layer.float_bytes else 0.0
    step, offset = pictures.input_of(layer)
    return (
        f"<tr class=f-{form_of(layer)}><td>{escaped(layer.name)}<td>{escaped(layer.kind)}<td>{thousands(layer.weights)}"
        f"<td>{form_words(layer)}<td>{layer.bits}<td>{thousands(layer.bytes)}<td>{thousands(layer.float_bytes)}"
        f"<td style=--w:{left:.3g}%>{left:.1f} %{number_cell(step, None if step is None else f'{step:.4g}')}"
        f"{number_cell(offset)}<td>{pictures.picture(layer)}"
    )


def error_table(errors: Errors) -> str:
    """Returns the errors of the quantized layers, the largest first."""
    headings = (
        *("place", "layer", "alone, dB", "by weights", "by input", "in the network, dB", "cosine alone"),
        *("in the network", "largest error alone", "in the network"),
    )
    rows = [_error(layer) for layer in sorted(errors.layers, key=lambda layer: layer.rank)]
    return _table("t E", headings, rows, "Errors of layers")


def _error(layer: ErrorRow) -> str:
    return (
        f"<tr><td>{layer.rank}<td>{escaped(layer.layer)}{_snr(layer.single)}{_decibels(layer.weights_snr_db)}"
        f"{_decibels(layer.activations_snr_db)}{_snr(layer.accumulated)}"
        + "".join(f"<td>{noise.cosine:.6f}" for noise in (layer.single, layer.accumulated))
        + "".join(f"<td>{noise.largest}" for noise in (layer.single, layer.accumulated))
    )


def _snr(noise: NoiseRow) -> str:
    return "<td data-v=999>exact" if noise.snr_db is None else f"<td>{noise.snr_db:.2f}"


def _decibels(value: float | None) -> str:
    return "<td>" if value is None else f"<td>{value:.2f}"


def trial_table(document: Document) -> str:
    """Returns every trial."""
    headings = ("trial", "tried", escaped(document.metric_name), "bytes", "of float", "seconds", "verdict", "plan")
    rows = [_trial(trial, document) for trial in document.trials]
    return _table("t T", headings, rows, "Trials")


def _trial(trial: TrialRow, document: Document) -> str:
    verdict = "accepted" if trial.accepted else "rejected"
    best = trial.number == document.best_trial
    if best:
        verdict += ", the result" if document.state == "finished" else ", best so far"
    elif trial.pareto:
        verdict += ", on the front"
    kind = ("ok" if trial.accepted else "no") + (" r" if best else "")
    return (
        f"<tr class={attribute(kind)}><td>{trial.number}<td>{escaped(trial.step)}"
        f"{number_cell(trial.metric, short(trial.metric))}<td>{thousands(trial.bytes)}"
        f"<td>{share(trial.bytes, document.sizes.float_bytes)}<td>{trial.seconds}<td>{verdict}<td>{trial.plan[:12]}"
    )
