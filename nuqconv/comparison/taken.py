"""A side with what it is fed, and the values that it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nuqconv.comparison.judge import Judge
from nuqconv.comparison.sides import Placed
from nuqconv.ir import Array
from nuqconv.runtimes.loaded import Side

__all__ = ["Taken", "all_names", "groups"]


class Taken:
    """A side with what it is fed. It keeps values as long as there is room for them, and runs again for others.

    Args:
        placed: The side.
        feeds: Its inputs by its own names.
        judge: Makes values of different runtimes alike.
        room: Bytes of values that may be kept.
    """

    def __init__(self, placed: Placed, feeds: Mapping[str, Array], judge: Judge, room: int) -> None:
        self.placed = placed
        self.side = placed.side
        self.feeds = feeds
        self._judge = judge
        self._room = room
        self._kept: dict[str, Array] = {}
        self._exact: set[str] = set()

    def run(self, names: Sequence[str]) -> dict[str, Array]:
        """Returns values as the runtime has them when it has run."""
        missing = [name for name in names if name not in self._kept]
        if missing:
            made = self.side.run(self.feeds, missing)
            self._keep({name: self._judge.plain(name, array) for name, array in made.items()}, names)
        return {name: self._kept[name] for name in names}

    def exact(self, names: Sequence[str]) -> dict[str, Array]:
        """Returns values as they are when their layers have run, whatever is written over them later."""
        names = list(dict.fromkeys(names))
        found = self.run(names)
        unsure = [name for name in names if name not in self._exact]
        if unsure:
            made = self.side.exact(self.feeds, unsure)
            self._kept.update({name: self._judge.plain(name, array) for name, array in made.items()})
            self._exact.update(unsure)
            found = {name: self._kept[name] for name in names}
        return found

    def value(self, name: str) -> Array | None:
        """Returns a value, or what stands for one that is fed; None where the side does not give it."""
        if self.side.has(name):
            return self.exact([name])[name]
        if self.side.bottoms(name) is not None:
            return None
        graph = self.side.graph
        return self.feeds.get(name if graph is None else graph.storage_name(name))

    def _keep(self, made: Mapping[str, Array], wanted: Sequence[str]) -> None:
        size = sum(array.nbytes for array in (*self._kept.values(), *made.values()))
        if size > self._room:
            self._kept = {name: array for name, array in self._kept.items() if name in set(wanted)}
            self._exact &= self._kept.keys()
        self._kept.update(made)


def groups(names: Iterable[str], sizes: Mapping[str, int], room: int) -> Iterator[list[str]]:
    """Yields names in groups whose values have room, each of at least one; what has no known size counts as nothing.

    Args:
        names: The names.
        sizes: Bytes of their values.
        room: Bytes that may be taken at once.
    """
    group: list[str] = []
    left = room
    for name in names:
        size = sizes.get(name, 0)
        if group and size > left:
            yield group
            group, left = [], room
        group.append(name)
        left -= size
    if group:
        yield group


def all_names(side: Side) -> list[str]:
    """Returns the blobs that a side gives, and the earlier states of each."""
    return list(dict.fromkeys(item for name in side.names for item in (*side.states(name), name)))
