"""Which layers differ for a reason of their own.

A layer whose inputs agree and whose output does not is one. Behind it everything differs; there a layer is one if it differs also when it is fed the
reference's inputs, alone. All other differences are inherited. A blob that differs although its layer does not, nor anything computed from it, holds
something else by now: the runtime has used its memory again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nuqconv.comparison.alone import run_alone
from nuqconv.comparison.judge import Judge
from nuqconv.comparison.report import BlobComparison, Role
from nuqconv.comparison.taken import Taken
from nuqconv.ir import Array
from nuqconv.ir.ops import Quantize

__all__ = ["Found", "Root", "find_roots"]


@dataclass(frozen=True)
class Root:
    """A value that differs for a reason of its own.

    Attributes:
        name: The value.
        reference: What it is on the reference.
        found: What it is on the other side; where inputs differ, what its layer makes of the reference's.
        alone: Whether its inputs differ.
        agrees_alone: Whether the layer, fed the reference's inputs, agrees; None where it cannot be run alone.
        same_inputs: Whether its inputs agree to the bit.
    """

    name: str
    reference: Array
    found: Array
    alone: bool
    agrees_alone: bool | None
    same_inputs: bool


@dataclass(frozen=True)
class Found:
    """What a search for roots has found.

    Attributes:
        roots: The roots in the order of execution.
        rows: All blobs with their roles, and states of blobs that were looked at besides.
        memory: Blobs whose memory was used again.
        unknown: Values that differ, and of which it cannot be said whether they would if their inputs agreed.
    """

    roots: tuple[Root, ...]
    rows: Mapping[str, BlobComparison]
    memory: tuple[str, ...]
    unknown: tuple[str, ...]


def find_roots(
    reference: Taken, other: Taken, judge: Judge, rows: Mapping[str, BlobComparison], *, every: bool = True
) -> Found:
    """Finds the layers that differ for a reason of their own.

    Args:
        reference: The reference.
        other: The side that is held against it.
        judge: Says what agrees.
        rows: What was compared, by value, in the order of execution.
        every: Whether to look further when one is found.
    """
    search = _Search(reference, other, judge, rows)
    roots = list(search.run(every=every))
    return Found(tuple(roots), search.rows, tuple(search.memory), tuple(search.unknown))


class _Search:
    def __init__(self, reference: Taken, other: Taken, judge: Judge, rows: Mapping[str, BlobComparison]) -> None:
        self.reference, self.other, self.judge = reference, other, judge
        self.rows = dict(rows)
        self.memory: list[str] = []
        self.unknown: list[str] = []
        self.outputs = {*reference.side.outputs, *other.side.outputs}
        self.cuts = {name: self._cut(name) for name in self.rows}
        self.readers: dict[str, list[str]] = {}
        for name, cut in self.cuts.items():
            for value in cut:
                self.readers.setdefault(value, []).append(name)
        self.roots: set[str] = set()

    def run(self, *, every: bool) -> Iterator[Root]:
        for name in [name for name, row in self.rows.items() if not row.agrees]:
            if self.roots and not every:
                self.rows[name] = replace(self.rows[name], role=Role.INHERITED)
                continue
            root = self._looked_at(name)
            if root is not None:
                yield from self._narrowed(root)

    def _looked_at(self, name: str) -> Root | None:
        """Says what a value that differs is."""
        inputs_agree = all(self.rows[item].agrees for item in self.cuts[name] if item in self.rows)
        reference = self.reference.exact([name])[name]
        if inputs_agree and self._unread(name) and self._is_memory(name, reference):
            self.memory.append(name)
            return None
        found = self._alone(name, self.other)
        row = None if found is None else self.judge.compare(name, found, reference)
        agrees = None if row is None else row.agrees
        if inputs_agree:
            own = self.other.exact([name])[name]
            return self._root(Root(name, reference, own, False, agrees, self._same_inputs(name)))
        if found is not None and row is not None and not row.agrees and not self._holds_root(name):
            return self._root(Root(name, reference, found, True, False, True))
        if found is None:
            self.unknown.append(name)
        self.rows[name] = replace(self.rows[name], role=Role.INHERITED)
        return None

    def _root(self, root: Root) -> Root:
        self.roots.add(root.name)
        self.rows[root.name] = replace(self.rows[root.name], role=Role.ROOT)
        return root

    def _unread(self, name: str) -> bool:
        """Whether nothing that is computed from a value differs, and something is."""
        readers = self.readers.get(name, ())
        return name not in self.outputs and bool(readers) and all(self.rows[item].agrees for item in readers)

    def _is_memory(self, name: str, reference: Array) -> bool:
        """Whether one of the sides no longer holds what its layer makes of its own inputs; what it does make is then compared instead."""
        own = self.other.exact([name])[name]
        for taken, held in ((self.other, own), (self.reference, reference)):
            made = self._alone(name, taken, taken)
            if made is None or self.judge.compare(name, made, held).agrees:
                continue
            pair = (made, reference) if taken is self.other else (own, made)
            row = self.judge.compare(name, *pair)
            if row.agrees:
                self.rows[name] = replace(row, role=Role.MEMORY)
                return True
        if self._alone(name, self.other, self.other) is None:
            # All that is known is that nothing inherits the difference.
            self.rows[name] = replace(self.rows[name], role=Role.MEMORY)
            return True
        return False

    def _narrowed(self, root: Root) -> Iterator[Root]:
        """Looks among the layers that write a blob in place for those that differ."""
        states = [name for name in self._states(root.name) if name not in self.rows]
        if not states:
            yield root
            return
        one, two = self.reference.exact(states), self.other.exact(states)
        for state in states:
            self.rows[state] = self.judge.compare(state, two[state], one[state])
        for name in (*states, root.name):
            self.cuts[name] = self._cut(name)
        self.rows[root.name] = replace(self.rows[root.name], role=Role.INHERITED)
        self.roots.discard(root.name)
        found = [
            item
            for name in (*states, root.name)
            if not self.rows[name].agrees and (item := self._looked_at(name)) is not None
        ]
        if not found:
            self._root(root)
        yield from found or [root]

    def _states(self, name: str) -> Sequence[str]:
        """The earlier states of a blob that both sides give, in the order in which they are made."""
        one, two = self.reference.side, self.other.side
        states = one.states(name) or two.states(name)
        return [state for state in states if one.has(state) and two.has(state)]

    def _cut(self, name: str) -> tuple[str, ...]:
        """Returns the values nearest before a value that are compared, or fed."""
        return self._before(name, self.rows)

    def _before(self, name: str, known: Mapping[str, object] | set[str]) -> tuple[str, ...]:
        side = self.other.side
        waiting = list(reversed(side.bottoms(name) or ()))
        seen: set[str] = set()
        found: dict[str, None] = {}
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            bottoms = side.bottoms(value)
            if value in known or bottoms is None:
                found[value] = None
            else:
                waiting.extend(reversed(bottoms))
        return tuple(found)

    def _feedable(self) -> set[str]:
        """The compared values that a layer can be fed; integers behind a Quantize are of the runtime's own type."""
        return {name for name in self.rows if not isinstance(self.judge.op(name), Quantize)}

    def _holds_root(self, name: str) -> bool:
        """Whether one of the layers that were run together for a value is a root that was found already."""
        known = self._feedable()
        return any(item in self.roots for item in self.cuts[name] if item not in known)

    def _alone(self, name: str, taken: Taken, fed: Taken | None = None) -> Array | None:
        """Returns what a side makes of inputs, those of the reference or of ``fed``."""
        source = fed or self.reference
        cut = self._before(name, self._feedable())
        source.exact([item for item in cut if source.side.has(item)])
        given: dict[str, Array] = {}
        for item in cut:
            value = (self.other if self.other.side.bottoms(item) is None else source).value(item)
            row = self.rows.get(item)
            if value is None or (row is not None and value.size != np.prod(row.shapes[1], dtype=np.int64)):
                return None
            given[item] = value if row is None else value.reshape(row.shapes[1])
        found = run_alone(taken.placed, name, given)
        return None if found is None else self.judge.plain(name, found)

    def _same_inputs(self, name: str) -> bool:
        for item in self.cuts[name]:
            if self.other.side.bottoms(item) is None:
                continue
            one, two = self.reference.value(item), self.other.value(item)
            if one is not None and two is not None and not np.array_equal(one.ravel(), two.ravel(), equal_nan=True):
                return False
        return True
