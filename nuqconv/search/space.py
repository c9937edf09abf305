"""What the search may choose from: the options of each layer, and the path through them.

A state of the search is one level for each layer: `FLOAT_LEVEL`, or the index of one of the layer's options. Everything that is
predicted here (losses, the order of the path) only decides what is tried first; whether a plan is accepted is the evaluator's to say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nuqconv.errors import QuantizationError
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search.knapsack import grid_of, knapsack

__all__ = ["FLOAT_LEVEL", "LayerSpace", "Levels", "Move", "Option", "SearchSpace"]

Levels = tuple[int, ...]
"""One level for each layer of a space, in its order."""

FLOAT_LEVEL = -1
"""The level of a layer that stays in float."""

_INT8_LEVEL = 0


@dataclass(frozen=True)
class Option:
    """One form that a layer can take.

    Attributes:
        layer_plan: The form.
        bytes: Size of the layer in that form.
        loss: Predicted loss of the network through that form, relative to the layer in float; 0 is lossless. Losses of
            different layers are comparable and are added up.
    """

    layer_plan: LayerPlan
    bytes: float
    loss: float


@dataclass(frozen=True)
class LayerSpace:
    """The options of one layer.

    Attributes:
        name: The layer.
        options: First int8, then its NUQ forms from the weakest to the strongest. A layer that can only be int8, or has only
            activations to quantize, has one option.
        float_bytes: Size of the layer in float.

    Raises:
        QuantizationError: The options are not of that kind, or a number is negative or not finite; all faults are listed.
    """

    name: str
    options: tuple[Option, ...]
    float_bytes: float

    def __post_init__(self) -> None:
        precisions = [option.layer_plan.precision for option in self.options]
        problems = []
        if precisions[:1] != [Precision.INT8] or any(item is not Precision.NUQ for item in precisions[1:]):
            found = ", ".join(item.value for item in precisions) or "none"
            problems.append(f"options: expected int8, then nuq options if there are any; found {found}")
        if len({option.layer_plan for option in self.options}) != len(self.options):
            problems.append("options: one layer plan comes twice")
        numbers = [("float_bytes", self.float_bytes)]
        for index, option in enumerate(self.options):
            numbers += [(f"options[{index}].bytes", option.bytes), (f"options[{index}].loss", option.loss)]
        problems += [
            f"{where}: expected a finite number that is not negative, found {number!r}"
            for where, number in numbers
            if not (math.isfinite(number) and number >= 0)
        ]
        if problems:
            raise QuantizationError(f"the options of layer {self.name!r} are wrong", problems)

    def __repr__(self) -> str:
        return f"<LayerSpace {self.name!r}: {', '.join(map(self.label, range(len(self.options))))} or float>"

    @cached_property
    def losses(self) -> tuple[float, ...]:
        """Predicted losses by level, where a stronger option counts as no better than a weaker one."""
        losses = np.maximum.accumulate([option.loss for option in self.options])
        return tuple(float(loss) for loss in losses)

    def size(self, level: int) -> float:
        """Returns the layer's size in bytes at a level."""
        return self.float_bytes if level == FLOAT_LEVEL else self.options[level].bytes

    def loss(self, level: int) -> float:
        """Returns the layer's predicted loss at a level."""
        return 0.0 if level == FLOAT_LEVEL else self.losses[level]

    @cached_property
    def named_plans(self) -> tuple[tuple[str, LayerPlan], ...]:
        """The layer's name with what happens to it, by level; `FLOAT_LEVEL` is the last. Plans of hundreds of layers share them."""
        plans = (*(option.layer_plan for option in self.options), LayerPlan(Precision.FLOAT))
        return tuple((self.name, plan) for plan in plans)

    def plan(self, level: int) -> LayerPlan:
        """Returns what happens to the layer at a level."""
        return self.named_plans[level][1]

    def label(self, level: int) -> str:
        """Returns a level in words: ``float``, ``int8`` or the number of levels that the weights may have."""
        plan = self.plan(level)
        return plan.precision.value if plan.num_steps is None else f"{plan.num_steps} levels"


_Measure = Callable[[LayerSpace, int], float]


@dataclass(frozen=True, slots=True)
class Move:
    """One layer goes from a level to a stronger one.

    Attributes:
        layer: Index of the layer in the space.
        start: Its level before.
        stop: Its level after.
        saved: Bytes that are saved.
        loss: Predicted loss that is added.
        rate: Predicted loss for each saved byte; the path is ordered by it.
        label: The move for messages.
    """

    layer: int
    start: int
    stop: int
    saved: float
    loss: float
    rate: float
    label: str


@dataclass(frozen=True)
class SearchSpace:
    """All quantizable layers of a model with their options.

    Attributes:
        layers: The layers in the model's order.
        untouched_bytes: Size of the model's other parameters, which no state changes; every size counts them.

    Raises:
        QuantizationError: There is no layer, or a name comes twice.
    """

    layers: tuple[LayerSpace, ...]
    untouched_bytes: float = 0.0

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if not names:
            raise QuantizationError("there is no layer that can be quantized; enable at least one in the configuration")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise QuantizationError("layers come twice in the search space; give each once", map(repr, twice))

    def __repr__(self) -> str:
        return f"<SearchSpace of {len(self.layers)} layers, {self.state_count:,} states, {self.float_bytes:,.0f} bytes in float>"

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def float_bytes(self) -> float:
        """Size of all parameters in float."""
        return self.size(self.uniform(FLOAT_LEVEL))

    @property
    def state_count(self) -> int:
        """How many states there are."""
        return math.prod(len(layer.options) + 1 for layer in self.layers)

    def states(self) -> Iterator[Levels]:
        """Returns all states, in the order of their levels."""
        return itertools.product(*(range(FLOAT_LEVEL, len(layer.options)) for layer in self.layers))

    def uniform(self, level: int = _INT8_LEVEL) -> Levels:
        """Returns the state in which all layers are at one level: `FLOAT_LEVEL`, or 0 for int8."""
        return (level,) * len(self.layers)

    def problem(self, levels: Levels) -> str:
        """Returns why something is no state of this space; an empty text if it is one."""
        if not isinstance(levels, tuple) or len(levels) != len(self.layers):
            return f"expected a tuple of {len(self.layers)} levels, one for each layer of the space, found {levels!r}"
        for layer, level in zip(self.layers, levels, strict=True):
            if type(level) is not int or not FLOAT_LEVEL <= level < len(layer.options):
                return f"layer {layer.name!r}: expected a level from {FLOAT_LEVEL} to {len(layer.options) - 1}, found {level!r}"
        return ""

    def plan(self, levels: Levels) -> Plan:
        """Returns the plan of a state."""
        return Plan(tuple(layer.named_plans[level] for layer, level in zip(self.layers, levels, strict=True)))

    def size(self, levels: Levels) -> float:
        """Returns the size of all parameters of the model in a state, in bytes."""
        return self.untouched_bytes + math.fsum(
            layer.size(level) for layer, level in zip(self.layers, levels, strict=True)
        )

    def loss(self, levels: Levels) -> float:
        """Returns the predicted loss of a state: the sum of its layers' losses."""
        return math.fsum(layer.loss(level) for layer, level in zip(self.layers, levels, strict=True))

    def floats(self, levels: Levels) -> tuple[str, ...]:
        """Returns the names of the layers that a state leaves in float."""
        return tuple(layer.name for layer, level in zip(self.layers, levels, strict=True) if level == FLOAT_LEVEL)

    def apply(self, levels: Levels, moves: Iterable[Move]) -> Levels:
        """Returns the state after some moves."""
        result = list(levels)
        for move in moves:
            result[move.layer] = move.stop
        return tuple(result)

    def by_harm(self) -> tuple[int, ...]:
        """Returns the indices of the layers, first the one with the largest predicted loss in int8."""
        return tuple(sorted(range(len(self.layers)), key=lambda index: (-self.layers[index].losses[0], index)))

    def path(self, levels: Levels | None = None, ceilings: Mapping[int, int] | None = None) -> tuple[Move, ...]:
        """Returns the moves from a state towards the strongest options, those that cost the least loss for each saved byte first.

        For each layer the moves follow the lower convex hull of its (bytes, loss) points, so that no option is stopped at which is
        dearer than a mixture of its neighbours, and a layer's moves are in order. Layers in float have no moves.

        Args:
            levels: The state to start from; None is int8 throughout.
            ceilings: Strongest level that a layer may take, by its index; the others may take all.
        """
        start = self.uniform() if levels is None else levels
        limits = ceilings or {}
        moves: list[Move] = []
        for index, level in enumerate(start):
            if level != FLOAT_LEVEL:
                key = (index, level, limits.get(index, len(self.layers[index].options) - 1))
                if key not in self._hulls:
                    self._hulls[key] = self._hull(*key)
                moves += self._hulls[key]
        return tuple(sorted(moves, key=lambda move: (move.rate, move.layer, move.stop)))

    def win_back(self, levels: Levels, ceilings: Mapping[int, int] | None = None) -> tuple[Move, ...]:
        """Returns the moves from float to int8 of a state's float layers, cheapest in loss for each saved byte first.

        Args:
            levels: The state to start from.
            ceilings: As in `path`; a layer with the ceiling `FLOAT_LEVEL` stays in float.
        """
        limits = ceilings or {}
        moves = [
            self._move(index, FLOAT_LEVEL, _INT8_LEVEL, 0.0)
            for index, level in enumerate(levels)
            if level == FLOAT_LEVEL and limits.get(index, _INT8_LEVEL) >= _INT8_LEVEL
        ]
        return tuple(sorted(moves, key=lambda move: (move.rate, move.layer)))

    def smallest(self) -> Levels:
        """Returns the state of the least size: each layer at its smallest option, of equal ones the weakest."""
        return tuple(
            min(range(FLOAT_LEVEL, len(layer.options)), key=lambda level: (layer.size(level), level))
            for layer in self.layers
        )

    def few_codebooks(self, levels: Levels, ceilings: Mapping[int, int], count: int | None) -> Mapping[int, int]:
        """Returns ceilings under which at most `count` layers have a codebook: those that have one, then those that save the most bytes with it.

        Args:
            levels: The state to start from.
            ceilings: Strongest level that a layer may take, by its index; the others may take all.
            count: How many layers may have a codebook; None for any number, which leaves the ceilings as they are.
        """
        if count is None:
            return ceilings
        limits = {index: ceilings.get(index, len(layer.options) - 1) for index, layer in enumerate(self.layers)}
        have = [index for index, level in enumerate(levels) if level > _INT8_LEVEL]
        saved = {
            index: layer.size(_INT8_LEVEL) - min(layer.size(level) for level in range(limits[index] + 1))
            for index, layer in enumerate(self.layers)
            if levels[index] == _INT8_LEVEL and limits[index] > _INT8_LEVEL
        }
        more = sorted(saved, key=lambda index: (-saved[index], index))[: max(0, count - len(have))]
        chosen = {*have, *more}
        return {index: limit if index in chosen else min(limit, _INT8_LEVEL) for index, limit in limits.items()}

    def mildest(self, size: float, power: float = 1.0, ceilings: Mapping[int, int] | None = None) -> Levels:
        """Returns about the state of the least predicted loss whose size is at most `size`: a knapsack, solved on a grid of sizes.

        Args:
            size: Bytes, no less than the smallest state has.
            power: The losses of layers and options are raised to it before they are added up; it leaves their order as it is.
            ceilings: Strongest level that a layer may take, by its index; the others may take all.
        """
        picked = self._least(
            lambda layer, level: layer.loss(level) ** power,
            LayerSpace.size,
            size - self.untouched_bytes,
            range(len(self)),
            FLOAT_LEVEL,
            ceilings or {},
            math.ceil,
        )
        return tuple(picked.values())

    def cheapest(
        self, loss: float, levels: Levels, *, refloat: bool = False, ceilings: Mapping[int, int] | None = None
    ) -> Levels:
        """Returns about the smallest state whose predicted loss is at most `loss`: a knapsack, solved on a grid of losses.

        Args:
            loss: The predicted loss that may be spent.
            levels: A state; layers that it leaves in float stay in float, all others may take any option.
            refloat: Whether instead all layers may take any option and float.
            ceilings: Strongest level that a layer may take, by its index; the others may take all.
        """
        free = [index for index, level in enumerate(levels) if refloat or level != FLOAT_LEVEL]
        picked = self._least(
            LayerSpace.size,
            LayerSpace.loss,
            loss,
            free,
            FLOAT_LEVEL if refloat else _INT8_LEVEL,
            ceilings or {},
            round,
        )
        return tuple(picked.get(index, level) for index, level in enumerate(levels))

    def _least(
        self,
        value: _Measure,
        cost: _Measure,
        most: float,
        layers: Sequence[int],
        first: int,
        ceilings: Mapping[int, int],
        to_whole: Callable[[float], int],
    ) -> dict[int, int]:
        """Returns for some layers the levels of about the least sum of values whose costs add up to at most `most`, by index.

        Args:
            value: What is made least, of a layer at a level.
            cost: What is limited.
            most: The limit.
            layers: Indices of the layers.
            first: The first level that they may take.
            ceilings: The last level that a layer may take, by its index; the others may take all.
            to_whole: Rounds costs to the grid; `math.ceil` keeps the limit, `round` may go past it by the grid's rounding.
        """
        grid = grid_of(len(layers))
        choices = [range(first, ceilings.get(index, len(self.layers[index].options) - 1) + 1) for index in layers]
        chosen = [(self.layers[index], choice) for index, choice in zip(layers, choices, strict=True)]
        costs = [[cost(layer, level) for level in choice] for layer, choice in chosen]
        unit = max(most - math.fsum(map(min, costs)), 0.0) / grid
        whole = [[_grid_cost(item - min(row), unit, grid, to_whole) for item in row] for row in costs]
        values = [[value(layer, level) for level in choice] for layer, choice in chosen]
        picked = knapsack(values, whole, grid)
        return {index: choice[place] for index, choice, place in zip(layers, choices, picked, strict=True)}

    @cached_property
    def _hulls(self) -> dict[tuple[int, int, int], list[Move]]:
        """The moves of a layer by its index, level and ceiling: paths from hundreds of states share them."""
        return {}

    def _hull(self, index: int, level: int, ceiling: int) -> list[Move]:
        layer = self.layers[index]
        moves: list[Move] = []
        floor = 0.0
        while True:
            smaller = [stop for stop in range(level + 1, ceiling + 1) if layer.size(stop) < layer.size(level)]
            if not smaller:
                return moves
            # The floor keeps rounding from giving a later move of a layer the smaller rate, which would turn their order round.
            move = min(
                (self._move(index, level, stop, floor) for stop in smaller), key=lambda item: (item.rate, item.stop)
            )
            moves.append(move)
            level, floor = move.stop, move.rate

    def _move(self, index: int, start: int, stop: int, floor: float) -> Move:
        layer = self.layers[index]
        saved = layer.size(start) - layer.size(stop)
        loss = layer.loss(stop) - layer.loss(start)
        rate = max(loss / saved, floor) if saved > 0 else math.inf
        label = f"{layer.name} to {layer.label(stop)}"
        return Move(index, start, stop, saved, loss, rate, label)


def _grid_cost(cost: float, unit: float, grid: int, to_whole: Callable[[float], int]) -> int:
    """Returns a cost in units of the grid; more than the whole grid if it cannot be afforded."""
    if cost <= 0:
        return 0
    return to_whole(min(cost / unit, grid + 1.0)) if unit > 0 else grid + 1
