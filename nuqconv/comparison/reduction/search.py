"""The smallest part of a sequence that still fails a test.

Bisection finds the end and the beginning, and the complements of delta debugging (Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002) drop what is left in between. What is tested is a black box: nothing is assumed of it but that it gives the same
answer again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

__all__ = ["Part", "smallest_part", "without_pieces"]

Part = tuple[int, ...]
"""Numbers of elements, in order."""

Test = Callable[[Part], "bool | None"]
"""Whether a part fails; None ends the search, which has no more tries."""


class _EndError(Exception):
    """There are no more tries."""


def smallest_part(count: int, test: Test, needs: Sequence[Iterable[int]], suspects: Sequence[int] = ()) -> Part | None:
    """Returns the smallest part that was found to fail, or None if no part but the whole does.

    With one element to blame it takes about 2 log2(count) tests, and two where the element is suspected.

    Args:
        count: Number of elements; the whole of them fails.
        test: Says whether a part fails; no part is asked for twice.
        needs: For each element, those before it that it is computed from.
        suspects: Elements that are likely to be to blame, the likeliest first.
    """
    search = _Search(count, test, needs)
    with suppress(_EndError):
        search.run(suspects)
    return search.best


class _Search:
    def __init__(self, count: int, test: Test, needs: Sequence[Iterable[int]]) -> None:
        self.whole: Part = tuple(range(count))
        self.needs = needs
        self.best: Part | None = None
        self._test = test
        self._known: dict[Part, bool] = {self.whole: True, (): False}

    def run(self, suspects: Sequence[int]) -> None:
        part = self._around(suspects)
        if part is None:
            part = self._begun(self._needed(self._ended(self.whole)))
        ends = (part[0], part[-1])
        # Both ends are needed now, and nothing between them if two elements are to blame.
        without_pieces(ends if len(part) > len(ends) and self.fails(ends) else part, self.fails)

    def fails(self, part: Part) -> bool:
        if part not in self._known:
            found = self._test(part)
            if found is None:
                raise _EndError
            self._known[part] = found
            if found and (self.best is None or len(part) < len(self.best)):
                self.best = part
        return self._known[part]

    def _around(self, suspects: Sequence[int]) -> Part | None:
        """Tries a suspect alone, then with all that it needs."""
        for last in suspects:
            if self.fails((last,)):
                return (last,)
            part = self._needed(tuple(range(last + 1)))
            if part[-1] == last and self.fails(part):
                return self._begun(part)
        return None

    def _ended(self, part: Part) -> Part:
        """Cuts off the end."""
        low, high = 0, len(part)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fails(part[:middle]) else (middle, high)
        return part[:high]

    def _needed(self, part: Part) -> Part:
        """Leaves out what the last element is not computed from."""
        wanted, kept = {part[-1]}, []
        for number in reversed(part):
            if number in wanted:
                kept.append(number)
                wanted.update(self.needs[number])
        found = tuple(reversed(kept))
        return found if self.fails(found) else part

    def _begun(self, part: Part) -> Part:
        """Cuts off the beginning; the last elements are tried first, since mostly few are to blame."""
        size, step = 0, 1
        while step < len(part) and not self.fails(part[-step:]):
            size, step = step, 2 * step
        low, high = size, min(step, len(part))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fails(part[-middle:]) else (middle, high)
        return part[-high:]


def without_pieces(part: Part, fails: Callable[[Part], bool]) -> Part:
    """Leaves out pieces of a part that fails, large ones first, until each single element is needed.

    Args:
        part: The part.
        fails: Says whether a smaller one does.
    """
    size = len(part) // 2
    while size and len(part) > 1:
        start, before = 0, len(part)
        while start < len(part):
            rest = part[:start] + part[start + size :]
            if rest and fails(rest):
                part = rest
            else:
                start += size
        # Single elements are gone over again, since one may be needed for another's sake only.
        if size > 1 or len(part) == before:
            size //= 2
    return part
