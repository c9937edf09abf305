"""Data sets that are read sample by sample: what they have in common."""

from __future__ import annotations

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nuqconv.data.base import Batch, DataSet, Sizes, shown
from nuqconv.data.preparation import Preparation, read_preparation
from nuqconv.errors import ConfigError, FormatError
from nuqconv.ir import Array
from nuqconv.search.metrics.truth import Boxes

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["Reader", "Sample", "SampleSet", "stacked_labels"]

Sample = tuple[tuple[Array, ...], Any]
"""The prepared arrays of a sample, one for each input, and its label or None."""
Reader = Callable[[], Sample]

_UNNAMED = "data"


class SampleSet(DataSet):
    """A data set that is read sample by sample.

    Args:
        source: What messages call it.
        prep: What is done with a sample; see `read_preparation`.
        inputs: Names of the input blobs; by default those of the net that it is used for, and ``data`` where no net is known.
    """

    def __init__(
        self,
        source: str,
        *,
        prep: str | Path | Preparation | None = None,
        inputs: str | Sequence[str] | None = None,
    ) -> None:
        self.source = source
        self.prep = read_preparation(prep)
        self.inputs = (inputs,) if isinstance(inputs, str) else None if inputs is None else tuple(inputs)
        self.wanted: Mapping[str, tuple[int | None, ...]] = {}
        """What a net takes of one sample, by input, once it is known."""
        self.notes: tuple[str, ...] = self.prep.notes
        self._digest: str | None = None
        self._shapes: dict[str, Sizes] | None = None

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of arrays in a sample, one for each input."""

    @abstractmethod
    def readers(self) -> Iterator[tuple[str, Reader]]:
        """Yields for each sample its name and what reads it; that raises FormatError."""

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """Yields what tells the samples from others, for a hash."""

    @property
    def names(self) -> tuple[str, ...]:
        """The input blobs."""
        if self.inputs is not None:
            return self.inputs
        return (_UNNAMED,) if self.width == 1 else tuple(f"{_UNNAMED}{number}" for number in range(self.width))

    @property
    def preparation(self) -> str | None:
        """The canonical text of what is done with the samples; None for nothing."""
        return None if self.prep.is_empty else str(self.prep)

    def with_preparation(self, prep: str | Path | Preparation) -> Self:
        """Returns the same samples, prepared in another way."""
        return self._changed(prep=read_preparation(prep))

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yields the samples in order; see `DataSet.batches`.

        Where samples cannot be read, the others that were asked for are tried too, so that one error names all.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        waiting: list[tuple[str, Sample]] = []
        problems: list[str] = []
        for name, read in islice(self.readers(), limit):
            try:
                sample = read()
            except FormatError as error:
                problems.append(str(error))
                continue
            if problems:
                continue
            waiting.append((name, sample))
            if len(waiting) == batch_size:
                yield self._batch(waiting)
                waiting = []
        if problems:
            asked = len(self) if limit is None else min(limit, len(self))
            raise FormatError(f"{self.source}: {len(problems)} of {asked} samples cannot be read", problems)
        if waiting:
            yield self._batch(waiting)

    def shapes(self) -> dict[str, Sizes]:
        """Returns the sizes of the first sample; see `DataSet.shapes`."""
        if self._shapes is None:
            self._shapes = super().shapes()
        return dict(self._shapes)

    def digest(self) -> str:
        """Returns a hash of samples, labels and preparation."""
        if self._digest is None:
            found = hashlib.sha256(f"{type(self).__name__} {self.prep.digest()} {self.names};".encode())
            for part in self.contents():
                found.update(f"{len(part)};".encode())
                found.update(part)
            self._digest = found.hexdigest()
        return self._digest

    def describe(self) -> str:
        """Returns what the set is in a few words."""
        shapes = ", ".join(
            shown(shape) if len(self.names) == 1 else f"{name} {shown(shape)}" for name, shape in self.shapes().items()
        )
        return f"{len(self)} x {shapes} from {self.source}{self._colours()}"

    def _colours(self) -> str:
        colour = self.prep.colour or ("bgr" if self.has_pictures() else "native")
        return "" if colour == "native" else f", {'gray' if colour == 'gray' else colour.upper()}"

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> DataSet:
        """Returns the set with the net's names for its inputs, and colours that fit where nobody has said which; see `DataSet.for_net`."""
        if self.inputs is None and len(inputs) != self.width:
            raise ConfigError(
                f"{self.source}: a sample is {self.width} array{'s' if self.width > 1 else ''}, but the net has the inputs {', '.join(inputs)}"
            )
        names = tuple(inputs) if self.inputs is None else self.inputs
        wanted = {name: tuple(shape[1:]) for name, shape in inputs.items()}
        shapes = [shape for shape in wanted.values() if len(shape) == 3]
        axis = 2 if self.prep.channels_last else 0
        prep = self.prep.with_channels(shapes[0][axis]) if shapes and self.has_pictures() else self.prep
        found = self._changed(inputs=names, wanted=wanted, prep=prep)
        return DataSet.for_net(found, inputs)

    def has_pictures(self) -> bool:
        """Whether samples are pictures, which get a size and an order of colours."""
        return True

    def _changed(self, **changes: Any) -> Self:
        found = copy.copy(self)
        found._digest = found._shapes = None  # noqa: SLF001
        for name, value in changes.items():
            setattr(found, name, value)
        return found

    def _advice(self, found: Sequence[int], wanted: Sequence[int | None]) -> str:
        advice = super()._advice(found, wanted)
        if advice or not self.has_pictures() or len(found) != 3 or len(wanted) != 3:
            return advice
        channels, height, width = (wanted[-1], *wanted[:2]) if self.prep.channels_last else wanted
        words = [] if None in (height, width) or self.prep.resize is not None else [f"resize {height}x{width}"]
        if found[0] != channels and channels in (1, 3):
            words.append("gray" if channels == 1 else "bgr or rgb")
        return f"; say in the preparation (--prep) '{', '.join(words)}'" if words else ""

    def _batch(self, samples: Sequence[tuple[str, Sample]]) -> Batch:
        names = tuple(name for name, _ in samples)
        arrays = {}
        for place, blob in enumerate(self.names):
            column = [sample[0][place] for _, sample in samples]
            uneven = next((number for number, item in enumerate(column) if item.shape != column[0].shape), None)
            if uneven is not None:
                raise FormatError(
                    f"{self.source}: {names[uneven]} is {shown(column[uneven].shape)}, but {names[0]} {shown(column[0].shape)}: "
                    "samples of one batch have one size; say 'resize HEIGHTxWIDTH' in the preparation (--prep), or take batches of 1"
                )
            arrays[blob] = np.stack(column)
        return Batch(arrays, stacked_labels([sample[1] for _, sample in samples]), names)

    def _checked_boxes(self, label: Any, name: str) -> Any:
        """Raises FormatError where the net would see another part of the picture than the boxes are of."""
        if isinstance(label, Boxes) and not self.prep.keeps_edges:
            raise FormatError(
                f"{name}: its boxes are parts of the whole picture, but '{self.prep}' shows the net another part; resize without crop or pad"
            )
        return label


def stacked_labels(labels: Sequence[Any]) -> Any | None:
    """Returns the labels of a batch: an array of classes, a tuple of other truths, or None where there are none."""
    if all(label is None for label in labels):
        return None
    if all(isinstance(label, int | np.integer) for label in labels):
        return np.array(labels, np.int64)
    return tuple(labels)
