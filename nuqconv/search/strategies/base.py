"""What all strategies share: the interface to the run loop, and how several proposals are found at once.

A strategy proposes states of a `SearchSpace` and is told whether they were accepted. It never calls the evaluator, keeps no clock and
writes nothing, so the same verdicts and calls always give the same proposals.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nuqconv.search.space import Levels

__all__ = ["Planner", "Proposal", "Strategy", "Verdict", "View", "counted"]

_MOST_GUESSES = 8
"""Guessed courses that are followed for each proposal that is asked for; it bounds the planner's time."""


@dataclass(frozen=True)
class Proposal:
    """A state that a strategy wants to be tried.

    Attributes:
        levels: The state.
        step: What is tried, for the log.
    """

    levels: Levels
    step: str


@dataclass(frozen=True)
class Verdict:
    """What the evaluator said about a state.

    Attributes:
        metric: The metric.
        accepted: Whether it satisfies.
    """

    metric: float
    accepted: bool


class Strategy(Protocol):
    """The interface of all strategies.

    The search asks for proposals, has each tried, and tells the verdicts; proposals may be asked for while others are outstanding. A
    proposal may repeat an earlier state: its verdict is remembered and costs nothing.
    """

    def propose(self, limit: int) -> Sequence[Proposal]:
        """Returns up to `limit` proposals that can be tried at the same time.

        An empty answer means that nothing can be proposed before the verdicts that are due; if none is due, the strategy has ended.
        """

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        """Take the verdict on a proposal."""

    def remaining(self) -> int:
        """Returns about how many more proposals are to be expected, for a progress bar."""


class _Due(Exception):  # noqa: N818  (no error: it ends a run of a procedure)
    """A procedure has come to states whose verdicts it needs and does not have."""

    def __init__(self, proposals: Sequence[Proposal], likely: float | None) -> None:
        super().__init__()
        self.proposals = proposals
        self.likely = likely


class View:
    """What a procedure knows while it runs: the verdicts told, and those that are guessed for the states under way.

    Attributes:
        expected: About how many more proposals are to be expected, as the procedure said last.
    """

    def __init__(self, known: Mapping[Levels, Verdict], guesses: Mapping[Levels, Verdict]) -> None:
        self._known = known
        self._guesses = guesses
        self._asked: set[Levels] = set()
        self.expected = 1

    def expect(self, proposals: int) -> None:
        """Say about how many more proposals are to be expected from here on."""
        self.expected = max(1, proposals)

    def verdict(self, levels: Levels) -> Verdict | None:
        """Returns the verdict on a state if there is one, be it a guess."""
        found = self._known.get(levels)
        return self._guesses.get(levels) if found is None else found

    def ask(self, levels: Levels, step: str, likely: float = 0.5) -> Verdict:
        """Returns the verdict on a state; without one the procedure ends here and is run again when there is one.

        Args:
            levels: The state.
            step: What is tried, for the log.
            likely: How probable it is that the state is accepted; decides what is tried at the same time.
        """
        verdict = self.verdict(levels)
        if verdict is None:
            raise _Due([Proposal(levels, step)], likely)
        self._count(levels)
        return verdict

    def ask_all(self, proposals: Sequence[Proposal]) -> list[Verdict]:
        """Returns the verdicts on several states, all of which are needed before it can go on; as `ask`."""
        verdicts = [self.verdict(proposal.levels) for proposal in proposals]
        missing = [proposal for proposal, verdict in zip(proposals, verdicts, strict=True) if verdict is None]
        if missing:
            raise _Due(missing, None)
        for proposal in proposals:
            self._count(proposal.levels)
        return [verdict for verdict in verdicts if verdict is not None]

    def _count(self, levels: Levels) -> None:
        if levels not in self._asked:
            self._asked.add(levels)
            self.expected = max(1, self.expected - 1)


class Planner(ABC):
    """A strategy that is written down as one procedure, as if every verdict were there at once.

    `run` is a function of the verdicts. It is run from the beginning whenever a proposal is wanted, up to the first state whose verdict is
    not known: that is the proposal. If more are wanted, it is run on with guesses of the verdicts under way, the most probable
    course first, and what it comes to there is tried ahead of time (speculation). Whatever was tried ahead is known when it is come to.
    Procedures keep what is costly to compute, so that running them again is cheap.
    """

    def __init__(self) -> None:
        self._known: dict[Levels, Verdict] = {}
        self._pending: dict[Levels, Proposal] = {}
        self._surely: tuple[_Due | None, int] | None = None
        """What is due without a guess, and about how much is to come; kept until the next verdict."""

    @abstractmethod
    def run(self, view: View) -> None:
        """Go through the search, asking the view for verdicts; return when nothing is left to try."""

    def propose(self, limit: int) -> Sequence[Proposal]:
        """Returns up to `limit` proposals; see `Strategy.propose`."""
        found: list[Proposal] = []
        courses: list[tuple[float, int, dict[Levels, Verdict]]] = [(-1.0, 0, {})]
        serial = 0
        left = _MOST_GUESSES * max(limit, 0) + len(self._pending)
        while courses and len(found) < limit and left > 0:
            left -= 1
            weight, _, guesses = heapq.heappop(courses)
            due = self._follow(guesses)[0] if guesses else self._next()[0]
            if due is None:
                continue
            for proposal in due.proposals:
                if proposal.levels not in self._pending and len(found) < limit:
                    found.append(proposal)
                    self._pending[proposal.levels] = proposal
            if due.likely is None:
                continue
            for accepted, part in ((True, due.likely), (False, 1 - due.likely)):
                if part > 0:
                    serial += 1
                    guess = {due.proposals[0].levels: Verdict(math.nan, accepted)}
                    heapq.heappush(courses, (weight * part, serial, guesses | guess))
        return tuple(found)

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        """Take the verdict on a proposal that is due.

        Raises:
            ValueError: No verdict is due on it.
        """
        if self._pending.get(proposal.levels) != proposal:
            raise ValueError(f"no verdict is due on the proposal {proposal.step!r}")
        del self._pending[proposal.levels]
        self._known[proposal.levels] = verdict
        self._surely = None

    def remaining(self) -> int:
        """Returns about how many more proposals are to be expected; see `Strategy.remaining`."""
        due, expected = self._next()
        return 0 if due is None else expected

    def _next(self) -> tuple[_Due | None, int]:
        if self._surely is None:
            self._surely = self._follow({})
        return self._surely

    def _follow(self, guesses: Mapping[Levels, Verdict]) -> tuple[_Due | None, int]:
        view = View(self._known, guesses)
        try:
            self.run(view)
        except _Due as due:
            # The traceback would keep every frame of the procedure alive.
            return due.with_traceback(None), view.expected
        return None, view.expected


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, in the plural where it is not one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
