"""Writes docs/metrics.md: the metrics that there are, as their table in the code says.

python tools/build_metric_table.py           # writes the file
python tools/build_metric_table.py --check   # exit code 1 if it is not current
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from tables import main, section

from nuqconv.search.metrics import METRICS, Metric, Takes

TARGET = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

HEAD = """# Metrics

Made by `python tools/build_metric_table.py` from the table in the code; do not edit.

`--metric` of `nuqconv auto`, `evaluate` and `data check`, `metric=` of `BatchEvaluator` and `nuqconv.evaluate` take the text of a metric: its
name and, after a colon, parameters, as in `top5` or `psnr:border=4,y`. Where more is better a loss against the original net is allowed
(`--max-drop`, `max_drop=`), where less is better a largest value (`--max-error`, `max_error=`). `metric=` also takes a function of your own,
`(outputs, labels) -> number`, with the outputs of all samples (blob name -> array): it needs memory for all of them.

A metric of the table is told batch by batch and keeps a few numbers of each sample. Metrics against the original net hold a model against the
first one that the evaluator was shown. What they need of its outputs is kept, at most 32 MiB of it in memory and the rest in a temporary file:
of `agreement` two bytes for each place, of `detections` the boxes, of the others the outputs themselves.

Outputs whose length depends on the data, such as those of a DetectionOutput layer, are judged by metrics that take boxes; any other is refused
when the net is read, with the blobs to take instead.

How sure a number is: `nuqconv auto` and `nuqconv evaluate` draw the samples again 1,000 times, with replacement, and say where 95 % of the
metrics of the draws lie (percentile interval, Efron and Tibshirani 1993). For the difference of two models both are measured on the same draws,
which takes out what the samples have in common (paired bootstrap, Koehn 2004). The random numbers are the same in every run.

"""


def needs(metric: Metric) -> str:
    """Returns what a metric needs besides the outputs."""
    words = ["the original net's outputs"] if metric.against_float else [metric.truth.value]
    if metric.takes is not Takes.FIXED:
        words.append(f"takes {metric.takes.value}")
    return "; ".join(words)


def parameters(kind: type[Metric]) -> Iterator[tuple[str, str, str]]:
    """Yields each parameter with its default and what it means, as the class says."""
    for field in fields(kind):
        if kind.numbered and field.name == "k":
            continue
        texts = [
            inspect.getdoc(base) or "" for base in kind.__mro__ if field.name in vars(base).get("__annotations__", {})
        ]
        found = re.search(rf"^ +{field.name}: (.*?)(?=^ +\w+: |^\S|\Z)", texts[0], re.MULTILINE | re.DOTALL)
        if found is None or field.default is MISSING:
            raise SystemExit(f"{kind.__name__} does not say what '{field.name}' is, or has no default for it")
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        default = "" if field.default is False else default
        yield field.name, default, " ".join(found[1].split())


def table() -> str:
    """Returns the text of the file."""
    rows, details = [], []
    for kind in METRICS:
        metric = kind()
        name = f"`{metric.names[0]}N`" if metric.numbered else f"`{metric.names[0]}`"
        better = "more" if metric.higher_is_better else "less"
        rows.append((name, better, needs(metric), metric.definition, metric.source))
        details += [(name, f"`{key}`", default, meaning) for key, default, meaning in parameters(kind)]
    first = section("The table", ("metric", "better", "needs", "what it is", "source"), rows)
    second = section("Parameters", ("metric", "parameter", "default", "what it is"), details)
    return (HEAD + first + second).rstrip() + "\n"


if __name__ == "__main__":
    main(TARGET, table)
