"""What pages of any form say in the same words."""

from __future__ import annotations

from collections.abc import Mapping

from nuqconv.report.document import Document, LayerRow

__all__ = ["ENDINGS", "calibration_words", "demand_words", "form_words", "verdict"]

ENDINGS: Mapping[str, str] = {
    "complete": "the search is complete",
    "max_evaluations": "no more evaluations were allowed",
    "timeout": "time was up",
    "no_improvement": "nothing better was found for long",
    "callback": "the program that began it has ended it",
}
"""Why a search ended."""

_CALIBRATION = {
    "onnxruntime": "measured in onnxruntime",
    "caffe": "measured in Caffe",
    "none": "not measured, they stay float",
}


def calibration_words(source: str | None) -> str | None:
    """Returns where activation ranges came from."""
    return None if source is None else _CALIBRATION.get(source, source)


def verdict(document: Document) -> tuple[str, tuple[str, str]]:
    """Returns whether it is good or bad news (``ok``, ``no`` or ``hi`` for neither), and the news in a short and a longer sentence."""
    sizes, name = document.sizes, document.metric_name
    if document.state != "finished":
        done = f"{len(document.trials)} evaluation{'' if len(document.trials) == 1 else 's'} so far."
        if document.state == "searching":
            return "hi", ("The search goes on.", done)
        return "hi", ("The search was stopped.", f"{done} The same command goes on where it ended.")
    if document.metric is None or sizes.bytes is None or not sizes.float_bytes:
        return "no", ("Nothing was found.", "")
    if document.original_metric is None:
        return "ok", ("Found.", "")
    what = f"{sizes.bytes:,} bytes, {100 * sizes.bytes / sizes.float_bytes:.1f} % of float, at {name} {document.metric:.5g}."
    need = _demand(document)
    if document.accepted:
        return "ok", (f"The demand is met{need}.", what[0].upper() + what[1:])
    return "no", (f"The demand is not met{need}.", f"This is the nearest that was found: {what}")


def demand_words(document: Document) -> str:
    """Returns what was demanded of the metric, with the number that follows from it."""
    demand = document.demand
    if document.limit is None:
        return demand
    exact = f"{'at most' if document.better == 'lower' else 'at least'} {document.limit:.5g}"
    return exact if demand == exact else f"{demand}: {exact}"


def form_words(layer: LayerRow) -> str:
    """Returns what a layer's weights are, in words."""
    if layer.precision != "nuq":
        return layer.precision
    return f"{layer.levels} of {layer.num_steps}" + (", lossless" if layer.lossless else "")


def _demand(document: Document) -> str:
    if document.limit is None:
        return ""
    return f": {document.metric_name} {'at most' if document.better == 'lower' else 'at least'} {document.limit:.5g}"
