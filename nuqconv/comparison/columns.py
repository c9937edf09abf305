"""One side held against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nuqconv.comparison.explain import explain
from nuqconv.comparison.judge import Judge
from nuqconv.comparison.options import CompareOptions
from nuqconv.comparison.report import BlobComparison, Column, Role
from nuqconv.comparison.roots import find_roots
from nuqconv.comparison.taken import Taken, all_names
from nuqconv.comparison.tolerance import Needed
from nuqconv.errors import ModelError, some_of
from nuqconv.runtimes.loaded import Side

__all__ = ["Held", "in_order"]

_SHOWN = 6


class Held:
    """One side held against the reference, group by group of blobs.

    Args:
        reference: The reference.
        other: The side.
        judge: Says what agrees.
        options: Which blobs are wanted.

    Raises:
        ModelError: They have no blob in common.
    """

    def __init__(self, reference: Taken, other: Taken, judge: Judge, options: CompareOptions) -> None:
        self.reference, self.other, self.judge = reference, other, judge
        self.options = options
        self.notes: list[str] = []
        self._rows: dict[str, BlobComparison] = {}
        self._overwritten: list[str] = []
        wanted = None if options.blobs is None else set(options.blobs)
        both = set(other.side.names) & set(reference.side.names)
        self.order = in_order(judge.guide, reference.side)
        self.names = [name for name in self.order if name in both and (wanted is None or name in wanted)]
        if not self.names:
            sides = (reference.side, other.side)
            raise ModelError(
                "the two models have no blob in common, so there is nothing to compare",
                [f"{side.label}: {', '.join(side.names[:8])}, ... ({len(side.names)})" for side in sides],
            )

    def add(self, names: Sequence[str]) -> None:
        """Compares some of the blobs."""
        names = [name for name in self.names if name in set(names)]
        one, two = self.reference.run(names), self.other.run(names)
        rows = {name: self.judge.compare(name, two[name], one[name]) for name in names}
        self.notes += [
            f"'{name}' is empty on both sides with these inputs, which proves little; give inputs of the kind that the model is for"
            for name in names
            if not one[name].size and not two[name].size
        ]
        bad = [name for name, row in rows.items() if not row.agrees]
        if bad:
            # What differs is looked at again as it was when its layer had run: a runtime may write over it later.
            exact = self.reference.exact(bad), self.other.exact(bad)
            for name in bad:
                pairs = ((exact[0][name], one[name]), (exact[1][name], two[name]))
                if not all(np.array_equal(now, before, equal_nan=True) for now, before in pairs):
                    self._overwritten.append(name)
                    rows[name] = self.judge.compare(name, exact[1][name], exact[0][name])
        self._rows.update(rows)

    def column(self) -> Column:
        """Finds the roots of all differences, and returns all that is known of this side."""
        compared = {name: self._rows[name] for name in self.names}
        found = find_roots(self.reference, self.other, self.judge, compared, every=self.options.all_roots)
        rows = dict(found.rows)
        roots = tuple(explain(root, self.reference, self.other, self.judge, rows) for root in found.roots)
        label = self.other.side.label
        if self._overwritten:
            self.notes.append(
                f"{_named(self._overwritten)} overwritten in memory that is shared; compared is what the layers made"
            )
        if found.memory:
            self.notes.append(
                f"{label}: {_named(found.memory)} different, but all that is computed from that agrees: the memory was used again"
            )
        if found.unknown:
            self.notes.append(
                f"{label}: {_named(found.unknown)} different, and the layers cannot be run alone; it counts as inherited"
            )
        return Column(
            label,
            self.other.placed.name,
            tuple(rows[name] for name in self.order if name in rows),
            roots,
            self._missing(),
            self._needed(rows.values()),
            self._doubt(),
        )

    def _missing(self) -> dict[str, str]:
        wanted = self.reference.side.outputs if self.options.blobs is None else self.options.blobs
        return {
            name: self._why_not(name) for name in wanted if name not in self._rows and name not in self.reference.feeds
        }

    def _why_not(self, name: str) -> str:
        for side in (self.reference.side, self.other.side):
            if not side.has(name):
                return f"{side.label} does not give it"
        return "it is made by no layer"

    def _needed(self, rows: Iterable[BlobComparison]) -> Needed | None:
        default = self.options.tolerance
        return Needed.of_all(
            row.needed for row in rows if row.tolerance == default and not (row.role is Role.MEMORY and not row.agrees)
        )

    def _doubt(self) -> str:
        one, two = self.reference, self.other
        if one.side.own and two.side.own and one.placed.name == two.placed.name:
            return (
                f"both sides are this package's own conversion in {one.placed.name}, so that a fault of the converter would be on both; "
                "another runtime (--runtime) can tell"
            )
        return ""


def in_order(guide: Side, reference: Side) -> tuple[str, ...]:
    """Returns values in the order of execution: as one side has them, and those that only the reference has behind them."""
    graph = guide.graph
    names = all_names(guide) if graph is None else [name for node in graph.nodes for name in node.outputs]
    return tuple(dict.fromkeys((*names, *reference.names)))


def _named(names: Sequence[str]) -> str:
    shown = some_of([f"'{name}'" for name in names], _SHOWN)
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
