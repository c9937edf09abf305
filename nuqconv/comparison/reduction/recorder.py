"""The values that a model has on its way, as inputs for its parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from nuqconv.comparison.sides import runnable
from nuqconv.errors import NuqconvError
from nuqconv.formats import ModelFiles
from nuqconv.ir import Array
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Recorder"]

_LOG = logging.getLogger(__name__)


class Recorder:
    """Runs a model for values of it, each once; a context manager.

    Args:
        model: The model.
        runtimes: Where it may run, the best first: what one does not give is asked of the next.
        inputs: Arrays by the names that inputs have in the file.
    """

    def __init__(self, model: ModelFiles, runtimes: Sequence[str], inputs: Mapping[str, Array]) -> None:
        self._inputs = inputs
        self._shapes = {name: tuple(array.shape) for name, array in inputs.items()}
        self._stack = ExitStack()
        self._known: dict[str, Array] = {}
        self._model = runnable(model, self._shapes, self._stack)
        self._waiting = list(dict.fromkeys(runtimes))
        self._sides: list[Side] = []

    def values(self, names: Sequence[str]) -> dict[str, Array] | None:
        """Returns values of the model, or None if one of them cannot be had."""
        for side in self._started():
            missing = [name for name in names if name not in self._known]
            if not missing:
                break
            self._record(side, [name for name in missing if side.has(name)])
        return {name: self._known[name] for name in names} if all(name in self._known for name in names) else None

    def _record(self, side: Side, names: Sequence[str]) -> None:
        if not names:
            return
        try:
            found = {**side.run(self._inputs, names), **side.exact(self._inputs, names)}
            self._known.update({name: np.asarray(found[name]) for name in names})
        except NuqconvError as error:
            _LOG.info("values cannot be recorded on %s: %s", side.label, error)

    def _started(self) -> Iterator[Side]:
        """Yields the sides, and starts one only when those before it have not been enough."""
        yield from self._sides
        while self._waiting:
            name = self._waiting.pop(0)
            shaped = self._model if name == DEFAULT else self._model.with_shapes(self._shapes)
            try:
                self._sides.append(self._stack.enter_context(RUNTIMES[name].side(shaped)))
            except NuqconvError as error:
                _LOG.info("values are not recorded in %s: %s", name, error)
                continue
            yield self._sides[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
