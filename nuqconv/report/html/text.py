"""Texts and numbers for HTML."""

from __future__ import annotations

import html
import math

__all__ = ["NONE", "attribute", "escaped", "number_cell", "share", "short", "signed", "size", "thousands"]


NONE = "\N{EN DASH}"
"""Stands for what is not known."""

_MINUS = "\N{MINUS SIGN}"


def escaped(text: object) -> str:
    """Returns a text from anywhere as HTML; no control character, and nothing that looks like an address, is left in it."""
    shown = "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
    return html.escape(shown, quote=False).replace("http", "h&#116;tp").replace("HTTP", "H&#84;TP")


def attribute(text: object) -> str:
    """Returns a text as the value of an attribute, with quotes where it needs some."""
    value = escaped(text).replace('"', "&quot;")
    return value if value and all(c.isalnum() or c in "-_./:#%" for c in value) else f'"{value}"'


def thousands(value: float) -> str:
    """Returns a number with its thousands apart; sizes may end in halves."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def short(value: float | None) -> str:
    """Returns a metric with as many digits as a reader wants."""
    if value is None:
        return NONE
    return f"{value:.5g}"


def signed(value: float) -> str:
    """Returns a difference with its sign, a real minus."""
    return f"{value:+.3g}".replace("-", _MINUS) if value else "0"


def share(part: float | None, whole: float | None) -> str:
    """Returns a part in per cent."""
    return NONE if part is None or not whole else f"{100 * part / whole:.1f} %"


def size(value: float | None) -> str:
    """Returns a number of bytes in a unit that fits, for where a rough size is enough."""
    if value is None:
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def number_cell(value: float | None, shown: str | None = None) -> str:
    """Returns a cell of a table with a number; where it is shown with fewer digits or with marks in it, the whole number is kept for sorting.

    Args:
        value: The number, or None for an empty cell.
        shown: What is read.
    """
    if value is None or not math.isfinite(value):
        return "<td>"
    exact = str(value)
    return f"<td>{exact}" if shown in (None, exact) else f"<td data-v={exact}>{shown}"
