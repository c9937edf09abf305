"""Which plan to try next.

A strategy proposes states of a `SearchSpace` and is told whether they were accepted. It never calls the evaluator, keeps no clock and
writes nothing, so the same verdicts always give the same proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nuqconv.search.space import FLOAT_LEVEL, Levels, Move, SearchSpace

__all__ = ["PathStrategy", "Proposal", "Strategy", "Verdict"]


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

    The search asks for proposals, has each tried, and tells the verdicts, in any order. A proposal may repeat an earlier state: its
    verdict is remembered and costs nothing.
    """

    def propose(self, limit: int) -> Sequence[Proposal]:
        """Return up to `limit` proposals that can be tried at the same time.

        An empty answer means that nothing can be proposed before the verdicts that are due; if none is due, the strategy has ended.
        """

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        """Take the verdict on a proposal."""

    def remaining(self) -> int:
        """Return about how many more proposals are to be expected, for a progress bar."""


_Result = Generator[Proposal, Verdict, Levels]
_Count = Generator[Proposal, Verdict, int]
_Moves = Callable[[Levels, dict[int, int]], tuple[Move, ...]]

_EARLY_PATIENCE = 3
"""Win-back moves that may fail before the NUQ path is walked; the others are tried after it."""


class PathStrategy:
    """The default: binary search along the path of moves, then local repair.

    1. Int8 everywhere. If that fails, the most harmful layers go back to float, as many as it takes; then plans are tried that keep
       other layers in float but are smaller (as in step 4), and layers that need not have gone are won back.
    2. The whole path of NUQ moves; if it fails, binary search for an accepted prefix of it.
    3. The move that blocks the prefix is left out and all others are tried.
    4. Plans that spend the predicted loss between the prefix and the blocking move better: a knapsack, by binary search on its capacity.
    5. The moves that are left, in order and in growing groups; each that blocks is left out.

    It ends when no move is left. Every state that it builds upon is one that was accepted, whatever the metric does, or the original.

    Args:
        space: What to choose from.
        knapsack_trials: How many trials each knapsack may take.
    """

    def __init__(self, space: SearchSpace, knapsack_trials: int = 5) -> None:
        self._space = space
        self._knapsack_trials = knapsack_trials
        moves = len(space.path())
        self._expected = 2 + _bisections(moves) + 1 + knapsack_trials + moves
        self._procedure = self._run()
        self._due: Proposal | None = next(self._procedure)
        self._handed_out = False

    def propose(self, limit: int) -> Sequence[Proposal]:
        """Return the next proposal; this strategy has one at a time. See `Strategy.propose`."""
        if self._due is None or self._handed_out or limit < 1:
            return ()
        self._handed_out = True
        return (self._due,)

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        """Take the verdict on the proposal that is due.

        Raises:
            ValueError: The proposal is not the one that is due.
        """
        if proposal != self._due:
            raise ValueError(f"no verdict is due on the proposal {proposal.step!r}")
        self._handed_out = False
        self._expected = max(1, self._expected - 1)
        try:
            self._due = self._procedure.send(verdict)
        except StopIteration:
            self._due = None

    def remaining(self) -> int:
        """Return about how many more proposals are to be expected; see `Strategy.remaining`."""
        return 0 if self._due is None else self._expected

    def _run(self) -> Generator[Proposal, Verdict, None]:
        space = self._space
        levels = space.uniform()
        verdict = yield Proposal(levels, "int8 for all layers")
        kept_float: dict[int, int] = {}
        if not verdict.accepted:
            levels = yield from self._retreat(kept_float)
            levels = yield from self._grow(levels, space.win_back, kept_float, patience=_EARLY_PATIENCE)
        ceilings: dict[int, int] = {}
        levels = yield from self._descend(levels, ceilings)
        if FLOAT_LEVEL in levels:
            levels = yield from self._grow(levels, space.win_back, kept_float)
            yield from self._grow(levels, space.path, ceilings)

    def _retreat(self, kept_float: dict[int, int]) -> _Result:
        """Put the fewest of the most harmful layers back to float; at worst all, which is the original model and needs no trial."""
        space = self._space
        order = space.by_harm()
        low, high, stride = 0, len(order), 1
        galloping = True
        while high - low > 1:
            count = min(low + stride, high - 1) if galloping else (low + high) // 2
            levels = self._with_floats(order[:count])
            step = f"{_counted(count, 'most harmful layer')} back to float"
            if (yield Proposal(levels, step)).accepted:
                high, galloping = count, False
            else:
                low, stride = count, stride * 2
        kept_float[order[high - 1]] = FLOAT_LEVEL
        levels = self._with_floats(order[:high])
        self._expect(self._knapsack_trials + _EARLY_PATIENCE + self._path_trials(levels))
        if high == len(order):
            return levels
        return (yield from self._knapsack(levels, space.loss(self._with_floats(order[: high - 1])), refloat=True))

    def _descend(self, levels: Levels, ceilings: dict[int, int]) -> _Result:
        space = self._space
        moves = space.path(levels)
        self._expect(self._path_trials(levels))
        count = yield from self._prefix(levels, moves, whole=True, galloping=False)
        levels = space.apply(levels, moves[:count])
        if count == len(moves):
            return levels
        block = moves[count]
        ceilings[block.layer] = block.stop - 1
        self._expect(1 + self._knapsack_trials + len(space.path(levels, ceilings)))
        others = space.apply(levels, space.path(levels, ceilings))
        if others != levels and (yield Proposal(others, f"all others but {block.label}")).accepted:
            levels = others
        else:
            levels = yield from self._knapsack(levels, space.loss(space.apply(levels, [block])))
        self._expect(len(space.path(levels, ceilings)))
        return (yield from self._grow(levels, space.path, ceilings, whole=False))

    def _knapsack(self, levels: Levels, most: float, *, refloat: bool = False) -> _Result:
        """Look for smaller plans whose predicted loss is at most `most`.

        Args:
            levels: An accepted state.
            most: A predicted loss that failed.
            refloat: Whether layers may go back to float too.
        """
        space = self._space
        loss = space.loss(levels)
        # Plans of another make-up may need a smaller predicted loss than the state: the predictions are not exact.
        low, high = 0.0 if refloat else loss, most
        rejected: set[Levels] = set()
        trials = 0
        # A round without a trial halves the range too, so the rounds are few even where nothing is to be tried.
        for _ in range(4 * self._knapsack_trials):
            if trials == self._knapsack_trials:
                break
            state = space.cheapest(loss, levels, refloat=refloat)
            if space.size(state) >= space.size(levels):
                low = loss
            elif state in rejected:
                high = loss
            else:
                trials += 1
                if (yield Proposal(state, f"smallest plan for a predicted loss of {loss:.4g}")).accepted:
                    levels, low = state, loss
                else:
                    high = loss
                    rejected.add(state)
            loss = (low + high) / 2
        return levels

    def _grow(
        self,
        levels: Levels,
        moves_from: _Moves,
        ceilings: dict[int, int],
        *,
        whole: bool = True,
        patience: int | None = None,
    ) -> _Result:
        """Make as many moves as are accepted, one blocking move after the other left out.

        Args:
            levels: An accepted state.
            moves_from: Gives the moves that are left.
            ceilings: Strongest levels by layer; blocking moves are entered here.
            whole: Whether to try all moves at once first; it is done again after each success.
            patience: How many moves may block before this ends; None is any number.
        """
        blocks = 0
        while (moves := moves_from(levels, ceilings)) and blocks != patience:
            count = yield from self._prefix(levels, moves, whole=whole, galloping=True)
            levels = self._space.apply(levels, moves[:count])
            whole = count > 0
            if count < len(moves):
                ceilings[moves[count].layer] = moves[count].stop - 1
                blocks += 1
        return levels

    def _prefix(self, levels: Levels, moves: Sequence[Move], *, whole: bool, galloping: bool) -> _Count:
        """Return how many of the moves, from the first on, are accepted together, while one more is not.

        Args:
            levels: An accepted state.
            moves: The moves, in order.
            whole: Whether to try all of them first.
            galloping: Whether to start with few and double, which is cheap where few will do; else the range is halved from the start.
        """
        low, high, stride = 0, len(moves) + 1, 1
        while high - low > 1:
            part = min(low + stride, high - 1) if galloping else (low + high) // 2
            count = len(moves) if whole else part
            named = moves[0].label if count == 1 else f"{moves[0].label} to {moves[count - 1].label}"
            step = f"{count} of {_counted(len(moves), 'move')}: {named}"
            if (yield Proposal(self._space.apply(levels, moves[:count]), step)).accepted:
                low, stride = count, stride * 2
            else:
                high = count
                galloping = galloping and whole
            whole = False
        return low

    def _with_floats(self, layers: Sequence[int]) -> Levels:
        chosen = set(layers)
        return tuple(FLOAT_LEVEL if index in chosen else level for index, level in enumerate(self._space.uniform()))

    def _expect(self, trials: int) -> None:
        self._expected = max(1, trials)

    def _path_trials(self, levels: Levels) -> int:
        moves = len(self._space.path(levels))
        return 1 + _bisections(moves) + 1 + self._knapsack_trials + moves if moves else 0


def _bisections(length: int) -> int:
    """Return how many halvings a range of this length takes."""
    return max(0, length - 1).bit_length()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
