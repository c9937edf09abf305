"""How the search went: the size of every trial in order, the best so far, and what was left of the budget."""

from __future__ import annotations

from nuqconv.report.document import Document
from nuqconv.report.html.front import markers
from nuqconv.report.html.svg import HEIGHT, WIDTH, Plot, Scale, label, picture, point, ticks
from nuqconv.report.html.text import size, thousands

__all__ = ["history_picture"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 46
_ROOM = 1.6
"""A budget that is more than this many times what was used is cut off in the picture."""


def history_picture(document: Document) -> str:
    """Returns the picture; nothing without trials."""
    trials = document.trials
    if not trials:
        return ""
    last = max(trial.number for trial in trials)
    budget = document.budget.get("max_evaluations")
    end = last if budget is None else min(budget, max(_ROOM * last, last + 3))
    sizes = [trial.bytes for trial in trials]
    margin = 0.08 * ((max(sizes) - min(sizes)) or max(sizes) or 1)
    plot = Plot(
        Scale(0.4, max(end, 2) + 0.6, _LEFT, WIDTH - _RIGHT),
        Scale(min(sizes) - margin, max(sizes) + margin, HEIGHT - _BOTTOM, _TOP),
    )
    marks = sorted({max(1, round(value)) for value in ticks(1, end, 6)})
    parts = [
        _unused(plot, last, budget),
        plot.axes(marks, ticks(plot.y.low, plot.y.high), lambda v: f"{v:.0f}", size, "evaluation", "size"),
        _best_so_far(document, plot, last),
    ]
    parts.append(markers(plot, [(trial.number, trial.bytes, trial) for trial in trials], document))
    return picture("h", "How the search went", _description(document, budget), "".join(parts))


def _unused(plot: Plot, last: int, budget: float | None) -> str:
    if budget is None or budget <= last:
        return ""
    x, width = plot.x(last + 0.5), plot.x.stop - plot.x(last + 0.5)
    area = f"<rect x={point(x)} y={_TOP} width={point(width)} height={HEIGHT - _BOTTOM - _TOP} fill=var(--panel) />"
    return area + label(plot.x.stop - 6, _TOP + 16, f"{budget - last:.0f} of {budget:.0f} not used", "end")


def _best_so_far(document: Document, plot: Plot, last: int) -> str:
    """The smallest accepted trial so far, as steps."""
    path, best = "", None
    for trial in document.trials:
        if trial.accepted and (best is None or trial.bytes < best):
            y = point(plot.y(trial.bytes))
            path += f"M{point(plot.x(trial.number))} {y}" if best is None else f"H{point(plot.x(trial.number))}V{y}"
            best = trial.bytes
    if not path:
        return ""
    return f'<path d="{path}H{point(plot.x(last))}" stroke=var(--accent) stroke-opacity=.45 stroke-width=2 fill=none />'


def _description(document: Document, budget: float | None) -> str:
    accepted = [trial for trial in document.trials if trial.accepted]
    text = f"The sizes of {len(document.trials)} trials in the order in which they were tried"
    text += "." if budget is None else f", of {budget:.0f} that were allowed."
    if accepted:
        least = min(accepted, key=lambda trial: trial.bytes)
        text += f" The smallest accepted one is trial {least.number} with {thousands(least.bytes)} bytes."
    return text
