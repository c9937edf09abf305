"""The default strategy: binary search along the path of moves, then local repair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nuqconv.search.space import FLOAT_LEVEL, Levels, Move, SearchSpace
from nuqconv.search.strategies.base import Planner, View, counted

__all__ = ["PathStrategy"]

_Moves = Callable[[Levels, dict[int, int]], tuple[Move, ...]]

_EARLY_PATIENCE = 3
"""Win-back moves that may fail before the NUQ path is walked; the others are tried after it."""


class PathStrategy(Planner):
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
        max_layers: How many layers may have a codebook; None for any number. Those that save the most with one come first.
        knapsack_trials: How many trials each knapsack may take.
    """

    def __init__(self, space: SearchSpace, max_layers: int | None = None, knapsack_trials: int = 5) -> None:
        super().__init__()
        self._space = space
        self._max_layers = max_layers
        self._knapsack_trials = knapsack_trials
        self._order = space.by_harm()
        self._cheapest: dict[tuple[float, Levels, bool], Levels] = {}
        self._paths: dict[tuple[Levels, tuple[tuple[int, int], ...]], tuple[Move, ...]] = {}

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        moves = len(self._path(self._space.uniform(), {}))
        view.expect(2 + _bisections(moves) + 1 + self._knapsack_trials + moves)
        _Course(self, view).run()

    def _path(self, levels: Levels, ceilings: Mapping[int, int]) -> tuple[Move, ...]:
        key = (levels, tuple(sorted(ceilings.items())))
        if key not in self._paths:
            self._paths[key] = self._space.path(levels, self._limited(levels, ceilings))
        return self._paths[key]

    def _smallest_for(self, loss: float, levels: Levels, *, refloat: bool) -> Levels:
        key = (loss, levels, refloat)
        if key not in self._cheapest:
            limits = self._limited(self._space.uniform(), {})
            self._cheapest[key] = self._space.cheapest(loss, levels, refloat=refloat, ceilings=limits)
        return self._cheapest[key]

    def _limited(self, levels: Levels, ceilings: Mapping[int, int]) -> Mapping[int, int]:
        if self._max_layers is None:
            return ceilings
        return self._space.few_codebooks(levels, ceilings, self._max_layers)


class _Course:
    """One run of the procedure, from the beginning as far as the verdicts reach."""

    def __init__(self, strategy: PathStrategy, view: View) -> None:
        self._strategy = strategy
        self._view = view
        self._space = strategy._space  # noqa: SLF001
        self._knapsack_trials = strategy._knapsack_trials  # noqa: SLF001
        self._path = strategy._path  # noqa: SLF001
        self._grown = [0, 0]

    def run(self) -> None:
        """Go through the search."""
        space = self._space
        levels = space.uniform()
        verdict = self._view.ask(levels, "int8 for all layers", 0.9)
        kept_float: dict[int, int] = {}
        if not verdict.accepted:
            levels = self._retreat(kept_float)
            levels = self._grow(levels, space.win_back, kept_float, patience=_EARLY_PATIENCE)
        ceilings: dict[int, int] = {}
        levels = self._descend(levels, ceilings)
        if FLOAT_LEVEL in levels:
            levels = self._grow(levels, space.win_back, kept_float)
            self._grow(levels, self._path, ceilings)

    def _retreat(self, kept_float: dict[int, int]) -> Levels:
        """Put the fewest of the most harmful layers back to float; at worst all, which is the original model and needs no trial."""
        space = self._space
        order = self._strategy._order  # noqa: SLF001
        low, high, stride = 0, len(order), 1
        galloping = True
        while high - low > 1:
            count = min(low + stride, high - 1) if galloping else (low + high) // 2
            levels = self._with_floats(order[:count])
            step = f"{counted(count, 'most harmful layer')} back to float"
            if self._view.ask(levels, step).accepted:
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
        count = self._prefix(levels, moves, whole=True, galloping=False)
        levels = space.apply(levels, moves[:count])
        if count == len(moves):
            return levels
        block = moves[count]
        ceilings[block.layer] = block.stop - 1
        self._expect(1 + self._knapsack_trials + len(self._path(levels, ceilings)))
        others = space.apply(levels, self._path(levels, ceilings))
        if others != levels and self._view.ask(others, f"all others but {block.label}", 0.3).accepted:
            levels = others
        else:
            levels = self._knapsack(levels, space.loss(space.apply(levels, [block])))
        self._expect(len(self._path(levels, ceilings)))
        return self._grow(levels, self._path, ceilings, whole=False)

    def _knapsack(self, levels: Levels, most: float, *, refloat: bool = False) -> Levels:
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
            state = self._strategy._smallest_for(loss, levels, refloat=refloat)  # noqa: SLF001
            if space.size(state) >= space.size(levels):
                low = loss
            elif state in rejected:
                high = loss
            else:
                trials += 1
                if self._view.ask(state, f"smallest plan for a predicted loss of {loss:.4g}", 0.4).accepted:
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
        blocks = 0
        while (moves := moves_from(levels, ceilings)) and blocks != patience:
            count = self._prefix(levels, moves, whole=whole, galloping=True)
            levels = self._space.apply(levels, moves[:count])
            whole = count > 0
            if count < len(moves):
                ceilings[moves[count].layer] = moves[count].stop - 1
                blocks += 1
        return levels

    def _prefix(self, levels: Levels, moves: Sequence[Move], *, whole: bool, galloping: bool) -> int:
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
            step = f"{count} of {counted(len(moves), 'move')}: {named}"
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
        found = self._view.ask(levels, step, likely).accepted
        if galloping and not whole:
            self._grown = [accepted + found, asked + 1]
        return found

    def _expect(self, trials: int) -> None:
        self._view.expect(trials)

    def _path_trials(self, levels: Levels) -> int:
        moves = len(self._path(levels, {}))
        return 1 + _bisections(moves) + 1 + self._knapsack_trials + moves if moves else 0


def _bisections(length: int) -> int:
    """Return how many halvings a range of this length takes."""
    return max(0, length - 1).bit_length()
