"""The page of a comparison of a network with the same network quantized."""

from __future__ import annotations

from nuqconv.comparison.quantization import QuantizationReport
from nuqconv.report.document import Errors
from nuqconv.report.html.layer_errors import ERRORS_KEY, layer_errors_picture
from nuqconv.report.html.page import definitions, errors_section, html_text, section
from nuqconv.report.html.text import escaped

__all__ = ["comparison_page"]


def comparison_page(report: QuantizationReport) -> str:
    """Returns a comparison as one HTML page, which needs nothing beside it; the same comparison gives the same text."""
    errors = Errors.from_object(report.errors.to_object())
    worst = report.errors.ranked[0]
    words = (
        f"Alone, the layer <b>{escaped(worst.layer)}</b> has the largest error. The largest relative error of an output is "
        f"{report.output_error:.3g}"
    )
    if report.max_error is not None:
        kind, verdict = ("ok", "within") if report.agrees else ("no", "above")
        words += f", <b class={kind}>{verdict}</b> the {report.max_error:g} that are allowed"
    facts = [
        ("float", escaped(report.original)),
        ("quantized", escaped(report.quantized)),
        ("data", escaped(report.data)),
        ("output error", str(report.output_error)),
        *([] if report.max_error is None else [("allowed", str(report.max_error))]),
    ]
    notes = "".join(f"<li>{escaped(note)}" for note in report.notes)
    body = (
        f"<header><p class=k>A network and its quantization · nuqconv</p><h1>Float and quantized</h1><p class=v>{words}.</p></header>"
        f'{definitions(facts)}<div class=g style="grid-template-columns:minmax(0,620px)">'
        f"<figure>{layer_errors_picture(errors)}{ERRORS_KEY}</figure></div>"
        + errors_section(errors)
        + section("Notes", "", f"<ul class=o>{notes}</ul>" if notes else "", "n")
    )
    return html_text("Where quantization hurts", body)
