"""What trials are called, in words that say what was tried, and what these words mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nuqconv.search.space import Levels, Move, SearchSpace

__all__ = ["LEGEND", "exchange", "least_harm", "legend", "steps_of_path"]

LEGEND: Mapping[str, str] = {
    "steps": "layers go one by one to fewer levels (32, then 16, if you name no others); first those of the least expected harm for each byte",
    "expected harm": "what quantization is expected to do to the outputs: measured for each layer alone, and added up",
    "exchange": "the best plan so far with a layer or two changed, smaller in all",
    "in float": "layers that quantization harms most stay as they were",
}
"""Words that occur in the names of trials, with what they mean."""


def legend(steps: Iterable[str]) -> dict[str, str]:
    """Returns the words of `LEGEND` that occur in the names of some trials."""
    text = "\n".join(steps)
    return {word: meaning for word, meaning in LEGEND.items() if word in text}


def steps_of_path(moves: Sequence[Move], count: int) -> str:
    """Returns the name of a trial with the first moves of a path.

    Args:
        moves: The moves.
        count: How many of them, at least 1.
    """
    return f"{count} of {len(moves)} steps, the last {moves[count - 1].label}"


def least_harm(size: float, power: float = 1.0) -> str:
    """Returns the name of the trial that is expected to do the least harm at a size in bytes.

    Args:
        size: The size.
        power: What the expected harm of each layer was raised to: less than 1 prefers to harm few layers, more than 1 to harm each a little.
    """
    bent = "" if power == 1 else ", rather few layers much" if power < 1 else ", rather many layers a little"
    return f"least expected harm at {size:,.0f} bytes{bent}"


def exchange(space: SearchSpace, before: Levels, after: Levels) -> str:
    """Returns the name of a trial that differs from the best one in some layers."""
    changes = (
        f"{layer.name} from {layer.label(old)} to {layer.label(new)}"
        for layer, old, new in zip(space.layers, before, after, strict=True)
        if old != new
    )
    return f"exchange: {', '.join(changes)}"
