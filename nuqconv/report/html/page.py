"""The page put together."""

from __future__ import annotations

import base64

from nuqconv.report.document import DifferenceRow, Document, Errors
from nuqconv.report.html.front import front_picture
from nuqconv.report.html.history import history_picture
from nuqconv.report.html.layer_errors import ERRORS_KEY, decibels, layer_errors_picture
from nuqconv.report.html.layer_sizes import FORMS, form_of, layer_sizes_picture
from nuqconv.report.html.script import SCRIPT
from nuqconv.report.html.style import style_sheet
from nuqconv.report.html.tables import comparison_table, error_table, layer_table, trial_table
from nuqconv.report.html.text import NONE, escaped, share, short, signed, thousands
from nuqconv.report.html.weights import DETAILS, Detail, WeightPictures
from nuqconv.report.sources import Report
from nuqconv.report.words import ENDINGS, calibration_words, demand_words, verdict
from nuqconv.search.strategies.words import legend

__all__ = ["MOST_BYTES", "definitions", "errors_section", "html_page", "html_text", "section"]

MOST_BYTES = 300_000
"""Size up to which pictures are as fine as they can be."""


def html_page(report: Report) -> str:
    """Returns the report as one HTML file, which holds its pictures and needs nothing else; the same report gives the same text."""
    for detail in DETAILS:
        page = _page(report, detail)
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


def _page(report: Report, detail: Detail) -> str:
    document = report.document
    pictures = WeightPictures(report.histograms, document.plan, detail)
    parts = [
        _head(document),
        _pictures(document),
        _layers(document, pictures),
        errors_section(document.errors),
        _trials(document),
        _notes(document),
        _asked(document, report.picture),
        _again(document),
    ]
    return html_text(f"{document.network or 'network'}: quantization report", "".join(parts))


def html_text(title: str, body: str) -> str:
    """Returns a whole page with its style and script.

    Args:
        title: Its title.
        body: What is on it, as HTML.
    """
    return (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{style_sheet()}</style>"
        f"<body><main>{body}</main><script>{SCRIPT.strip()}</script>\n"
    )


def section(name: str, text: str, content: str, number: str) -> str:
    """Returns a part of a page under a heading; nothing if there is nothing in it.

    Args:
        name: The heading.
        text: What to know of it, as HTML.
        content: What is in it, as HTML.
        number: A name for it, unlike all others on the page.
    """
    note = f"<p class=n>{text}</p>" if text else ""
    return f"<section aria-labelledby={number}><h2 id={number}>{name}</h2>{note}{content}</section>" if content else ""


def _head(document: Document) -> str:
    kind, words = verdict(document)
    date = "" if document.date is None else f" · {document.date[:10]}"
    return (
        f"<header><p class=k>Quantization report · nuqconv{date}</p><h1>{escaped(document.network or 'Network')}</h1>"
        f"<p class=v><b class={kind}>{escaped(words[0])}</b> {escaped(words[1])}</p></header>"
        f"{_facts(document)}<div style=margin-top:28px>{comparison_table(document)}</div>"
    )


def _facts(document: Document) -> str:
    sizes = document.sizes
    name = escaped(document.metric_name)
    smaller = change = "nothing accepted yet"
    if sizes.bytes and sizes.float_bytes:
        smaller = f"of float, {sizes.float_bytes / sizes.bytes:.1f} times smaller"
    if document.metric is not None and document.original_metric is not None:
        difference = document.metric - document.original_metric
        change = f"{signed(difference)} against float" if difference else "as in float"
    if document.difference is not None:
        low, high = signed(document.difference.low), signed(document.difference.high)
        if low != high:
            change += f", {100 * document.difference.confidence:.4g} % from {low} to {high}"
    budget = document.budget.get("max_evaluations")
    spent = f"of {budget} allowed" if budget else "any number allowed"
    bits = NONE if sizes.bits_per_weight is None else f"{sizes.bits_per_weight:.2f}"
    facts = (
        ("Size", share(sizes.bytes, sizes.float_bytes), smaller),
        (name, short(document.metric), change),
        ("Bits for each weight", bits, "of 32 in float"),
        ("Evaluations", str(len(document.trials)), spent),
    )
    tiles = "".join(f"<div><dt>{what}<dd>{value}<small>{note}</small></div>" for what, value, note in facts)
    return f"<dl class=c>{tiles}</dl>"


def _pictures(document: Document) -> str:
    figures = (
        ("Size against metric", _FRONT, front_picture(document), _MARKS),
        ("How the search went", _HISTORY, history_picture(document), _MARKS),
        ("What is left of each layer", _SIZES, layer_sizes_picture(document), _forms_key(document)),
        ("Error through the network", _ERROR, layer_errors_picture(document.errors), ERRORS_KEY),
    )
    shown = [
        f"<figure><figcaption><h3>{name}</h3><p>{text}</p></figcaption>{image}{key}</figure>"
        for name, text, image, key in figures
        if image
    ]
    return f"<div class=g>{''.join(shown)}</div>" if shown else ""


def _forms_key(document: Document) -> str:
    there = {form_of(layer) for layer in document.layers}
    items = (f"<li><i style=background:var(--f-{form})></i>{words}" for form, words in FORMS.items() if form in there)
    return f"<ul class=key>{''.join(items)}</ul>"


def _layers(document: Document, pictures: WeightPictures) -> str:
    return section("Layers", _LAYERS, layer_table(document, pictures) if document.layers else "", "l")


def errors_section(errors: Errors | None) -> str:
    """Returns the errors of layers as a table; nothing where they were not measured."""
    if errors is None:
        return ""
    outputs = "; ".join(
        f"{name} {decibels(noise)}, cosine {noise.cosine}, largest error {noise.largest}"
        for name, noise in errors.outputs.items()
    )
    text = f"{_ERRORS} Measured on {errors.samples} samples."
    if outputs:
        text += f" At the outputs of the network: {escaped(outputs)}."
    missing = "".join(f"<li>{escaped(name)}: {escaped(why)}" for name, why in errors.unmeasured.items())
    return section(
        "Where quantization hurts",
        text,
        error_table(errors) + (f"<ul class=o>{missing}</ul>" if missing else ""),
        "w",
    )


def _trials(document: Document) -> str:
    words = legend(trial.step for trial in document.trials)
    text = _TRIALS + "".join(f"<br><b>{word}</b>: {meaning}" for word, meaning in words.items())
    return section("Trials", text, trial_table(document) if document.trials else "", "t")


def _notes(document: Document) -> str:
    items = [*document.notes]
    if document.reverted and not any("stay float" in note for note in items):
        items.append(f"layers that stay float: {', '.join(document.reverted)}")
    return section(
        "Notes", "", "<ul class=o>" + "".join(f"<li>{escaped(item)}" for item in items) + "</ul>" if items else "", "n"
    )


def definitions(pairs: list[tuple[str, str]]) -> str:
    """Returns names with what they mean, the latter as HTML."""
    return "<dl class=d>" + "".join(f"<dt>{escaped(name)}<dd>{text}" for name, text in pairs) + "</dl>"


def _asked(document: Document, picture: bytes | None) -> str:
    budget = {"max_evaluations": "evaluations", "timeout": "seconds", "patience": "evaluations without a better result"}
    allowed = [f"{value} {budget.get(name, name)}" for name, value in document.budget.items() if value is not None]
    pairs = [
        ("aim", document.aim),
        ("metric", document.metric_name),
        ("demand", demand_words(document)),
        ("data", document.data),
        ("samples", None if document.samples is None else thousands(document.samples)),
        ("preparation", document.preparation),
        ("evaluated in", document.runtime),
        ("activations", calibration_words(document.calibration)),
        ("search", document.strategy),
        ("allowed", ", ".join(allowed)),
        ("ended", ENDINGS.get(document.stopped_by or "", document.stopped_by)),
    ]
    numbers = [
        ("limit", document.limit),
        ("original metric", document.original_metric),
        ("metric of the result", document.metric),
        *([] if document.difference is None else _interval(document.difference)),
    ]
    shown = [(name, escaped(text)) for name, text in pairs if text]
    shown += [(name, str(value)) for name, value in numbers if value is not None]
    return section("What was asked", "", definitions(shown) + _picture(picture), "a")


def _interval(row: DifferenceRow) -> list[tuple[str, float | None]]:
    return [
        ("difference to the original", row.estimate),
        ("its lower end", row.low),
        ("its upper end", row.high),
        ("confidence", row.confidence),
        ("samples drawn from", row.units),
    ]


def _picture(picture: bytes | None) -> str:
    """The data as the net sees them; lines are cut so that chance does not put what looks like an address into them."""
    if picture is None:
        return ""
    text = base64.b64encode(picture).decode().replace("http", "ht\ntp")
    words = "The first samples, as the network sees them"
    return f'<figure><img class=p alt="{words}" src="data:image/jpeg;base64,{text}"><figcaption><p>{words}.</p></figcaption></figure>'


def _again(document: Document) -> str:
    pairs = []
    for name, path in document.model.items():
        digest = document.hashes.get(name)
        pairs.append((name, escaped(path) + (f"<br><code>SHA-256 {digest}</code>" if digest else "")))
    for name, path in document.files.items():
        size = document.file_bytes.get(name)
        pairs.append(
            (
                name.replace("_", " "),
                escaped(path) + (f", {thousands(size)} bytes" if size is not None else ""),
            )
        )
    if document.journal:
        pairs.append(("journal", escaped(document.journal)))
    if document.folded:
        pairs.append(
            (
                "folded",
                "; ".join(
                    f"{escaped(', '.join(names))} into {escaped(name)}" for name, names in document.folded.items()
                ),
            )
        )
    if document.seconds is not None:
        pairs.append(("seconds", f"{document.seconds.total} in all, {document.seconds.evaluator} in the evaluator"))
    if document.date:
        pairs.append(("date", escaped(document.date)))
    if document.versions:
        pairs.append(("versions", escaped(", ".join(f"{name} {number}" for name, number in document.versions.items()))))
    command = f"<pre>{escaped(document.command)}</pre>" if document.command else ""
    content = command + (definitions(pairs) if pairs else "")
    return section("How to make it again", "", content, "r")


_FRONT = "Every trial. Further left is smaller; the line joins the trials that no other one beats in both."
_HISTORY = "Every trial in the order in which it was tried; the line is the smallest accepted one so far."
_SIZES = "Areas are bytes: the filled part is what the layer still has, the rest is saved."
_ERROR = "How much stronger the signal is than the error, behind each quantized layer."
_LAYERS = (
    "Bars show what is left of the float size. The small pictures show how many weights a layer has of each of the 256 integers, "
    "and below the levels that its codebook keeps. Click on a heading to sort."
)
_ERRORS = (
    "Signal to noise in decibels: 20 more is a tenth of the error. Alone means with the float network's input, so that only the layer itself "
    "adds error; in the network the error of all layers before it comes with it."
)
_TRIALS = "Each is one quantized model that the evaluator was asked about. The size is that of all parameters."
_MARKS = (
    "<ul class=key><li><i style=background:var(--good);border-radius:50%></i>accepted<li><b class=no>&times;</b> rejected"
    '<li><i style="background:none;border:2px solid var(--accent);border-radius:50%"></i>result</ul>'
)
