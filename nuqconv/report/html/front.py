"""Size against metric, with every trial and the demand."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.report.document import Document, TrialRow
from nuqconv.report.html.svg import HEIGHT, WIDTH, Plot, Scale, label, picture, point, ticks
from nuqconv.report.html.text import escaped, short, size, thousands

__all__ = ["front_picture", "markers", "trial_title"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 34, 46
_FEW = 50
"""Trials whose marks tell all about them."""

_FAR = 3.0
"""Metrics that are farther from the rest than this many times their range are drawn at the edge."""


def trial_title(trial: TrialRow, metric: str) -> str:
    """Returns what is said of a trial that is pointed at."""
    verdict = "accepted" if trial.accepted else "rejected"
    return (
        f"Trial {trial.number}: {verdict}\n{trial.step}\n{metric} {short(trial.metric)}, {thousands(trial.bytes)} bytes"
    )


def markers(plot: Plot, places: Sequence[tuple[float, float, TrialRow]], document: Document) -> str:
    """Returns the marks of trials: dots for accepted ones, crosses for rejected ones, and a ring around the result, which is drawn last.

    Args:
        plot: Where they are drawn.
        places: Numbers on both axes, and the trial.
        document: Says which is the result.
    """
    few = len(places) <= _FEW
    best = document.best_trial
    parts = []
    for x, y, trial in sorted(places, key=lambda place: place[2].number == best):
        px, py = point(plot.x(x)), point(plot.y(y))
        # In a crowd the number has to do, the table tells the rest.
        told = trial_title(trial, document.metric_name) if few else f"Trial {trial.number}"
        title = f"<title>{escaped(told)}</title>"
        if trial.number == best:
            shape = f"<circle class=R cx={px} cy={py}>{title}</circle><circle class=B cx={px} cy={py} />"
        elif trial.accepted:
            shape = f"<circle class=A cx={px} cy={py}>{title}</circle>"
        else:
            shape = f'<path class=X d="M{px} {py}m-4-4l8 8m0-8l-8 8">{title}</path>'
        parts.append(shape)
    return "".join(parts)


def front_picture(document: Document) -> str:
    """Returns the picture; nothing without trials."""
    trials = document.trials
    if not trials or document.original_metric is None:
        return ""
    low, high = _metric_range(document)
    sizes = [trial.bytes for trial in trials]
    margin = 0.06 * ((max(sizes) - min(sizes)) or max(sizes) or 1)
    plot = Plot(
        Scale(min(sizes) - margin, max(sizes) + margin, _LEFT, WIDTH - _RIGHT),
        Scale(low, high, HEIGHT - _BOTTOM, _TOP),
    )
    name = document.metric_name
    parts = [
        plot.axes(ticks(plot.x.low, plot.x.high, 6), ticks(low, high), size, short, "size of all parameters", name),
        _lines(document, plot),
        _front(document, plot),
    ]
    parts.append(markers(plot, [(trial.bytes, trial.metric, trial) for trial in trials], document))
    parts.append(_result(document, plot))
    outside = sum(not low <= trial.metric <= high for trial in trials)
    if outside:
        parts.append(label(WIDTH - _RIGHT, _TOP - 14, f"{outside} far off, drawn at the edge", "end"))
    return picture("f", "Size against metric", _description(document), "".join(parts))


def _metric_range(document: Document) -> tuple[float, float]:
    """What is near the demand and the accepted trials is told apart; what is far off is drawn at the edge."""
    original = document.original_metric or 0.0
    near = [original, *(trial.metric for trial in document.trials if trial.accepted)]
    if document.limit is not None:
        near.append(document.limit)
    if document.difference is not None:
        near += [original + document.difference.low, original + document.difference.high]
    low, high = min(near), max(near)
    room = (high - low) or abs(high) * 0.01 or 1.0
    others = [trial.metric for trial in document.trials if low - _FAR * room <= trial.metric <= high + _FAR * room]
    low, high = min([low, *others]), max([high, *others])
    margin = 0.08 * ((high - low) or room)
    return low - margin, high + margin


def _lines(document: Document, plot: Plot) -> str:
    """The original's metric and the demand."""
    lines = [(document.original_metric, "float", "muted", "2 3", document.better != "lower")]
    if document.limit is not None:
        lines.append((document.limit, "demanded", "bad", "6 4", document.better == "lower"))
    parts = []
    for value, word, colour, dash, above in lines:
        if value is None:
            continue
        y = plot.y(value)
        parts.append(
            f'<path d="M{_LEFT} {point(y)}H{WIDTH - _RIGHT}" stroke=var(--{colour}) stroke-width=1.5 stroke-dasharray="{dash}"/>'
        )
        below = not above and y + 16 < plot.y.start
        parts.append(label(WIDTH - _RIGHT, y + 16 if below else y - 6, f"{word} {short(value)}", "end", "h"))
    return "".join(parts)


def _front(document: Document, plot: Plot) -> str:
    """The trials that no other one beats in both, joined by steps."""
    front = sorted((trial for trial in document.trials if trial.pareto), key=lambda trial: trial.bytes)
    if len(front) < 2:
        return ""
    start = f"M{point(plot.x(front[0].bytes))} {point(plot.y(front[0].metric))}"
    # First along, then up: a size between two trials has the metric of the smaller one.
    steps = "".join(f"H{point(plot.x(trial.bytes))}V{point(plot.y(trial.metric))}" for trial in front[1:])
    return f'<path d="{start}{steps}" stroke=var(--accent) stroke-opacity=.45 stroke-width=2 fill=none />'


def _result(document: Document, plot: Plot) -> str:
    best = next((trial for trial in document.trials if trial.number == document.best_trial), None)
    if best is None:
        return ""
    x, y = plot.x(best.bytes), plot.y(best.metric)
    word = "result" if document.state == "finished" else "best so far"
    left = x > WIDTH / 2
    whisker = ""
    if document.difference is not None and document.original_metric is not None:
        low, high = (
            point(plot.y(document.original_metric + end)) for end in (document.difference.low, document.difference.high)
        )
        whisker = f'<path class=W d="M{point(x)} {low}V{high}m-4 0h8M{point(x - 4)} {low}h8"/>'
    return whisker + label(x - 14 if left else x + 14, y + 4, word, "end" if left else "", "b h")


def _description(document: Document) -> str:
    trials: Sequence[TrialRow] = document.trials
    accepted = sum(trial.accepted for trial in trials)
    text = f"{len(trials)} trials, {accepted} of them accepted, by size and {document.metric_name}."
    if document.limit is not None:
        text += f" The demand is {short(document.limit)}, the float model has {short(document.original_metric)}."
    best = next((trial for trial in trials if trial.number == document.best_trial), None)
    if best is not None:
        text += f" The best has {thousands(best.bytes)} bytes and {short(best.metric)}."
    if document.difference is not None:
        low, high = short(document.difference.low), short(document.difference.high)
        text += f" Its difference to the float model is between {low} and {high} in {document.difference.confidence:.0%} of draws."
    return text
