"""The metrics that there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics.base import Metric
from nuqconv.search.metrics.classification import Agreement, TopK
from nuqconv.search.metrics.ctc import CtcAccuracy
from nuqconv.search.metrics.detection import CocoAp, Detections, VocMap
from nuqconv.search.metrics.difference import Cosine, OutputError
from nuqconv.search.metrics.picture import Psnr, Ssim
from nuqconv.search.metrics.segmentation import MeanIou
from nuqconv.search.metrics.verification import Verification

__all__ = ["METRICS", "METRIC_NAMES", "metric_names", "metric_shown", "parse_metric"]

METRICS: tuple[type[Metric], ...] = (
    TopK,
    Agreement,
    OutputError,
    Cosine,
    Detections,
    VocMap,
    CocoAp,
    MeanIou,
    Psnr,
    Ssim,
    CtcAccuracy,
    Verification,
)
"""Every metric; the command line, the evaluators and the documentation read it here."""

_KINDS = {"int": int, "float": float, "str": str}


def metric_names() -> str:
    """Returns the names as text for messages."""
    names = [f"{kind.names[0]}1, {kind.names[0]}5 (any number)" if kind.numbered else kind.names[0] for kind in METRICS]
    return ", ".join(names)


METRIC_NAMES = metric_names()
"""Their names, as text."""


def parse_metric(text: str) -> Metric:
    """Returns the metric of a text such as ``top5``, ``output_error`` or ``psnr:border=4,y``.

    Args:
        text: The name and, after a colon, parameters: ``key=value``, or ``key`` alone for one that is on or off.

    Raises:
        EvaluatorError: There is no such metric or parameter, or a value is not what it may be; all faults are listed.
    """
    name, _, words = (part.strip() for part in text.partition(":"))
    given: dict[str, Any] = {}
    kind = next((kind for kind in METRICS if not kind.numbered and name in kind.names), None)
    numbered = re.fullmatch(r"([a-z_]+?)([1-9][0-9]{0,8})", name)
    if kind is None and numbered:
        kind = next((kind for kind in METRICS if kind.numbered and numbered[1] in kind.names), None)
        given["k"] = int(numbered[2])
    if kind is None:
        raise EvaluatorError(
            f"metric '{name}' is not known; these are: {metric_names()}; or give a function of your own"
        )
    problems: list[str] = []
    kinds = {field.name: str(field.type) for field in fields(kind) if not (kind.numbered and field.name == "k")}
    for word in filter(None, (word.strip() for word in words.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if key not in kinds:
            problems.append(f"'{key}' is no parameter; {', '.join(kinds) or 'there are none'}")
        elif key in given:
            problems.append(f"'{key}' is given twice")
        elif kinds[key] == "bool":
            if equals:
                problems.append(f"'{word}': '{key}' stands alone, or is left out")
            given[key] = True
        else:
            try:
                given[key] = _KINDS[kinds[key]](value)
            except ValueError:
                problems.append(f"'{word}': expected {'a whole number' if kinds[key] == 'int' else 'a number'}")
    if problems:
        raise EvaluatorError(f"the parameters of metric '{text}' are wrong", problems)
    return kind(**given)


def metric_shown(text: str) -> Callable[[float], str]:
    """Returns what makes a text for people of a metric's values; of a metric that is not in the table, five digits."""
    try:
        return parse_metric(text).shown
    except EvaluatorError:
        return lambda value: f"{value:.5g}"
