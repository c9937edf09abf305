"""The default strategy: binary search along a path of states, local repair, and a look at states of another make-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nuqconv.search.space import FLOAT_LEVEL, Levels, Move, SearchSpace
from nuqconv.search.strategies.base import Planner, View, counted
from nuqconv.search.strategies.predictions import Predictions
from nuqconv.search.strategies.words import exchange, least_harm, steps_of_path

__all__ = ["PathStrategy"]

_Moves = Callable[[Levels, dict[int, int]], tuple[Move, ...]]

_POWERS = (1.0, 0.5, 2.0)
"""Predicted losses may be off by a power: what they say about many mild layers against few strong ones is tried both ways."""

_NEAR = 0.005
"""Sizes nearer to each other than this part are not told apart."""

_EXCHANGES = 20
"""Exchanges that may fail in a row."""

_IDLE = 3
"""Knapsacks in a row that may give nothing to try; each takes a hundredth of a second on 512 layers."""

_BLAME = 0.3
"""Part of what all moves do to the metric that the one that blocks must have done for the others to be tried without it."""

_WORTH = 0.01
"""Part of the size that a knapsack must promise to save."""

_NEAR_MISSES = 4
"""Trials shortly before prefixes that nearly were accepted."""

_EARLY_PATIENCE = 3
"""Win-back moves that may fail before the NUQ path is walked; the others are tried after it."""


class PathStrategy(Planner):
    """The default: binary search along a path of states, local repair, then a look at states of another make-up.

    1. Int8 everywhere. If that fails, every layer at its strongest, which may do less harm: its integers are chosen with more care. If that fails
       too, the most harmful layers go back to float, as many as it takes; then plans are tried that keep other layers in float but
       are smaller (as in step 4), and layers that need not have gone are won back.
    2. The whole path of NUQ moves. If it fails: half of it, and the state of the least predicted loss that is as small (a knapsack, float among
       its levels). The one that does less harm to the metric says along which of both the binary search goes: prefixes of the path, or states
       of the least predicted loss at the sizes of these prefixes.
    3. After a prefix: the move that blocks it is left out and all others are tried, if it did much of the harm that all do; else prefixes a
       little shorter than those that nearly were accepted.
    4. Plans that spend the predicted loss between the prefix and the blocking move better: a knapsack, by binary search on its capacity, if it
       promises to save something.
    5. The moves that are left, in order and in growing groups; each that blocks is left out.
    6. States of the least predicted loss for a size, float among their levels, by binary search on the size between the smallest state's and the
       best so far; with losses as they are and raised to powers.
    7. Exchanges: one layer stronger, another milder or none, smaller than the best so far, by predicted loss; then, if the space has few states, all
       that are smaller. It ends when some in a row fail.

    Every state that it builds upon is one that was accepted, whatever the metric does, or the original. How far the metric has gone, and which way
    it goes when much is quantized, decides only what is tried next.

    Args:
        space: What to choose from.
        max_layers: How many layers may have a codebook; None for any number. Those that save the most with one come first.
        knapsack_trials: How many trials each knapsack may take.
    """

    def __init__(self, space: SearchSpace, max_layers: int | None = None, knapsack_trials: int = 5) -> None:
        super().__init__()
        self._predictions = Predictions(space, max_layers)
        self._knapsack_trials = knapsack_trials

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        _Course(self._predictions, self._knapsack_trials, view).run()


class _Course:
    """One run of the procedure, from the beginning as far as the verdicts reach."""

    def __init__(self, predictions: Predictions, knapsack_trials: int, view: View) -> None:
        self._predictions = predictions
        self._view = view
        self._space = predictions.space
        self._knapsack_trials = knapsack_trials
        self._path = predictions.path
        self._size = predictions.size
        self._grown = [0, 0]
        self._best: Levels | None = None
        self._lengths: set[int] = set()
        """Lengths of the prefixes that were last tried."""

    def run(self) -> None:
        """Go through the search."""
        space = self._space
        levels = space.uniform()
        self._expect(2 + self._path_trials(levels))
        kept_float: dict[int, int] = {}
        if not self._try(levels, "int8 for all layers", 0.9):
            strongest = space.apply(levels, self._path(levels, {}))
            if strongest != levels and self._try(strongest, "every layer at its strongest", 0.3):
                levels = strongest
            else:
                levels = self._retreat(kept_float)
                levels = self._grow(levels, space.win_back, kept_float, patience=_EARLY_PATIENCE)
        ceilings: dict[int, int] = {}
        levels = self._descend(levels, ceilings)
        if FLOAT_LEVEL in levels:
            levels = self._grow(levels, space.win_back, kept_float)
            self._grow(levels, self._path, ceilings)
        for power in _POWERS:
            self._by_size(power)
        self._exchange()

    def _by_size(self, power: float) -> None:
        """Look for a smaller state, of the least predicted loss for its size."""
        space = self._space
        strongest = space.apply(space.uniform(), self._path(space.uniform(), {}))
        low = self._size(strongest)
        high = space.float_bytes if self._best is None else self._size(self._best)
        self._expect(_bisections(int(1 / _NEAR)) + _EXCHANGES)
        while high - low > _NEAR * high:
            size = (low + high) / 2
            state = self._predictions.mildest(size, power)
            if self._size(state) < high and self._try(state, least_harm(size, power), 0.3):
                high = self._size(state)
            else:
                low = size

    def _exchange(self) -> None:
        """Exchange levels between two layers, from the best state on."""
        failed = 0
        while self._best is not None:
            best = self._best
            for state in self._predictions.near(best):
                self._expect(_EXCHANGES - failed)
                if self._view.verdict(state) is None:
                    failed += 1
                    if failed > _EXCHANGES:
                        return
                if self._try(state, exchange(self._space, best, state), 0.2):
                    failed = 0
                    break
            else:
                return

    def _try(self, levels: Levels, step: str, likely: float = 0.5) -> bool:
        """Ask about a state, and keep the smallest that is accepted."""
        accepted = self._view.ask(levels, step, likely).accepted
        if accepted and (self._best is None or self._size(levels) < self._size(self._best)):
            self._best = levels
        return accepted

    def _retreat(self, kept_float: dict[int, int]) -> Levels:
        """Put the fewest of the most harmful layers back to float; at worst all, which is the original model and needs no trial."""
        space = self._space
        order = self._predictions.by_harm
        low, high, stride = 0, len(order), 1
        galloping = True
        while high - low > 1:
            count = min(low + stride, high - 1) if galloping else (low + high) // 2
            levels = self._with_floats(order[:count])
            step = f"{counted(count, 'layer')} in float, the rest int8"
            if self._try(levels, step):
                high, galloping = count, False
            else:
                low, stride = count, stride * 2
        kept_float[order[high - 1]] = FLOAT_LEVEL
        levels = self._with_floats(order[:high])
        self._expect(self._knapsack_trials + _EARLY_PATIENCE + self._path_trials(levels))
        if high == len(order):
            return levels
        return self._knapsack(levels, space.loss(self._with_floats(order[: high - 1])), refloat=True)

    def _descend(self, levels: Levels, ceilings: dict[int, int]) -> Levels:
        space = self._space
        moves = self._path(levels, {})
        self._expect(self._path_trials(levels))
        whole = space.apply(levels, moves)
        if not moves or self._try(whole, steps_of_path(moves, len(moves))):
            return whole
        if self._milder_by_size(levels, moves):
            levels = self._mildest_prefix(levels, moves)
            return self._grow(levels, self._path, ceilings, whole=False)
        count = self._prefix(levels, moves, whole=True, galloping=False)
        if self._blame(levels, moves, count) < _BLAME:
            count = self._before_near_miss(levels, moves, count)
        found, block = space.apply(levels, moves[:count]), moves[count]
        ceilings[block.layer] = block.stop - 1
        self._expect(1 + self._knapsack_trials + len(self._path(found, ceilings)))
        others = space.apply(found, self._path(found, ceilings))
        to_blame = not self._blame(levels, moves, count) < _BLAME
        if others != found and to_blame and self._try(others, f"all other steps but {block.label}", 0.3):
            found = others
        else:
            found = self._knapsack(found, space.loss(space.apply(found, [block])))
        self._expect(len(self._path(found, ceilings)))
        return self._grow(found, self._path, ceilings, whole=False)

    def _milder_by_size(self, levels: Levels, moves: Sequence[Move]) -> bool:
        """Try half of the moves, and the state of the least predicted loss that is as small; return whether that does less harm."""
        half = self._space.apply(levels, moves[: len(moves) // 2])
        other = self._mildest_as_small(half)
        if other == half or not len(moves) // 2:
            return False
        accepted = self._try(half, steps_of_path(moves, len(moves) // 2))
        if self._try(other, least_harm(self._size(half))) != accepted:
            return not accepted
        return self._harm(levels, moves, other) < self._harm(levels, moves, half)

    def _mildest_prefix(self, levels: Levels, moves: Sequence[Move]) -> Levels:
        """Returns the smallest accepted state of those of the least predicted loss at the sizes along some moves, by binary search."""
        found = levels
        low, high = 0, len(moves)
        while high - low > 1:
            count = (low + high) // 2
            prefix = self._space.apply(levels, moves[:count])
            state = self._mildest_as_small(prefix)
            if self._try(state, least_harm(self._size(prefix))):
                low, found = count, state
            else:
                high = count
        return found

    def _mildest_as_small(self, levels: Levels) -> Levels:
        return self._predictions.mildest(self._size(levels))

    def _before_near_miss(self, levels: Levels, moves: Sequence[Move], count: int) -> int:
        """Look for a longer accepted prefix a few moves before prefixes that nearly were accepted, the longest first; return its length.

        Harm does not always grow with the prefix. Nearly means no farther from the least that was too much than that is from the most that was not.
        """
        harm = {
            length: self._harm(levels, moves, self._space.apply(levels, moves[:length]))
            for length in {*self._lengths, count}
        }
        limit = 2 * min(item for length, item in harm.items() if length > count) - harm[count]
        most = (1 - _WORTH) * self._size(self._space.apply(levels, moves[:count]))
        left = _NEAR_MISSES
        for length in sorted((length for length in harm if length > count), reverse=True):
            for back in (1, 2, 4) if harm[length] <= limit else ():
                state = self._space.apply(levels, moves[: max(count, length - back)])
                if not left or self._size(state) > most:
                    break
                left -= 1
                if self._try(state, steps_of_path(moves, max(count, length - back, 1)), 0.3):
                    return length - back
        return count

    def _blame(self, levels: Levels, moves: Sequence[Move], count: int) -> float:
        """Returns which part of the harm of all moves the one after a prefix does alone; NaN if that cannot be said."""
        lengths = (count, count + 1, len(moves))
        before, after, last = (
            self._harm(levels, moves, self._space.apply(levels, moves[:length])) for length in lengths
        )
        return math.nan if last == before else (after - before) / (last - before)

    def _harm(self, levels: Levels, moves: Sequence[Move], state: Levels) -> float:
        """Returns how far a state has taken the metric from that of `levels`, the way that all moves take it; NaN if that is not known."""
        asked = (levels, state, self._space.apply(levels, moves))
        start, found, end = (self._view.verdict(item) for item in asked)
        if start is None or found is None or end is None or end.metric == start.metric:
            return math.nan
        return math.copysign(1, end.metric - start.metric) * (found.metric - start.metric)

    def _knapsack(self, levels: Levels, most: float, *, refloat: bool = False) -> Levels:
        """Look for smaller plans whose predicted loss is at most `most`.

        Args:
            levels: An accepted state.
            most: A predicted loss that failed.
            refloat: Whether layers may go back to float too.
        """
        space = self._space
        loss = space.loss(levels)
        if not refloat:
            promised = self._size(self._predictions.smallest_for(most, levels, refloat=False))
            if promised > (1 - _WORTH) * self._size(levels):
                return levels
        # Plans of another make-up may need a smaller predicted loss than the state: the predictions are not exact.
        low, high = 0.0 if refloat else loss, most
        rejected: set[Levels] = set()
        trials = idle = 0
        # A round without a trial halves the range too; after some of them in a row there is next to nothing left of it.
        while trials < self._knapsack_trials and idle < _IDLE:
            idle += 1
            state = self._predictions.smallest_for(loss, levels, refloat=refloat)
            if self._size(state) >= self._size(levels):
                low = loss
            elif state in rejected:
                high = loss
            else:
                trials, idle = trials + 1, 0
                if self._try(state, f"smallest at an expected harm of {loss:.4g}", 0.4):
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
    ) -> Levels:
        """Make as many moves as are accepted, one blocking move after the other left out.

        Args:
            levels: An accepted state.
            moves_from: Gives the moves that are left.
            ceilings: Strongest levels by layer; blocking moves are entered here.
            whole: Whether to try all moves at once first; it is done again after each success.
            patience: How many moves may block before this ends; None is any number.
        """
        blocks, failed = 0, math.inf if whole else len(moves_from(levels, ceilings))
        while (moves := moves_from(levels, ceilings)) and blocks != patience:
            # What failed with many moves mostly fails with one less.
            all_first = whole and len(moves) <= failed / 2
            count = self._prefix(levels, moves, whole=all_first, galloping=True)
            if all_first and count < len(moves):
                failed = len(moves)
            levels = self._space.apply(levels, moves[:count])
            whole = count > 0
            if count < len(moves):
                ceilings[moves[count].layer] = moves[count].stop - 1
                blocks += 1
        return levels

    def _prefix(self, levels: Levels, moves: Sequence[Move], *, whole: bool, galloping: bool) -> int:
        """Returns how many of the moves, from the first on, are accepted together, while one more is not; keeps the lengths tried.

        Args:
            levels: An accepted state.
            moves: The moves, in order.
            whole: Whether to try all of them first.
            galloping: Whether to start with few and double, which is cheap where few will do; else the range is halved from the start.
        """
        low, high, stride = 0, len(moves) + 1, 1
        self._lengths = set()
        while high - low > 1:
            part = min(low + stride, high - 1) if galloping else (low + high) // 2
            count = len(moves) if whole else part
            self._lengths.add(count)
            step = steps_of_path(moves, count)
            if self._ask(self._space.apply(levels, moves[:count]), step, whole=whole, galloping=galloping):
                low, stride = count, stride * 2
            else:
                high = count
                galloping = galloping and whole
            whole = False
        return low

    def _with_floats(self, layers: Sequence[int]) -> Levels:
        chosen = set(layers)
        return tuple(FLOAT_LEVEL if index in chosen else level for index, level in enumerate(self._space.uniform()))

    def _ask(self, levels: Levels, step: str, *, whole: bool, galloping: bool) -> bool:
        """Try a prefix; how probable it is that it is accepted is learned from those before, except when a range is halved."""
        accepted, asked = self._grown
        likely = (accepted + 1) / (asked + 3) if whole or galloping else 0.5
        found = self._try(levels, step, likely)
        if galloping and not whole:
            self._grown = [accepted + found, asked + 1]
        return found

    def _expect(self, trials: int) -> None:
        self._view.expect(trials)

    def _path_trials(self, levels: Levels) -> int:
        moves = len(self._path(levels, {}))
        return 1 + _bisections(moves) + 1 + self._knapsack_trials + moves if moves else 0


def _bisections(length: int) -> int:
    """Returns how many halvings a range of this length takes."""
    return max(0, length - 1).bit_length()
