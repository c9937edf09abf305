"""What a data set is to all that runs models on data: batches of inputs and labels, read as they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nuqconv.errors import ConfigError
from nuqconv.ir import Array

__all__ = ["Batch", "DataSet", "Sizes", "fits", "shown"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Some samples, ready for a net.

    Attributes:
        inputs: For each input blob float32 (n, ...).
        labels: One entry for each sample: classes as integers (n,), or a tuple of n truths (`Boxes`, label maps, texts); None where there
            are none.
        ids: What names each sample in messages: a path, ``file:line``, a key.
    """

    inputs: Mapping[str, Array]
    labels: Any | None
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


class DataSet(ABC):
    """Samples that can be read again and again, a batch at a time; it can be pickled.

    A set says the names of the input blobs itself, or takes them from the net (`for_net`).
    """

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples."""

    @abstractmethod
    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yields the samples in order; every batch but the last one is full.

        Args:
            batch_size: Samples in a batch.
            limit: Most samples; None for all.

        Raises:
            FormatError: Samples cannot be read; all of them are named.
        """

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of the samples and of their preparation: what tells these data from others."""

    @abstractmethod
    def describe(self) -> str:
        """Returns what the set is in a few words, as ``20 x 3x48x120 from photos/, BGR``."""

    @property
    def preparation(self) -> str | None:
        """The canonical text of what is done with the samples before the net sees them; None where they are taken as they are."""
        return None

    def shapes(self) -> dict[str, Sizes]:
        """Returns the sizes of one sample of each input, without the axis of the samples.

        Raises:
            FormatError: The first sample cannot be read.
        """
        first = next(iter(self.batches(1, 1)))
        return {name: tuple(array.shape[1:]) for name, array in first.inputs.items()}

    def has_labels(self) -> bool:
        """Says whether the samples have labels."""
        return next(iter(self.batches(1, 1))).labels is not None

    def for_net(self, inputs: Mapping[str, Sequence[int | None]]) -> DataSet:
        """Returns the set with the names that a net has for its inputs.

        Args:
            inputs: The net's input blobs and their shapes, the batch first; None for a size that is not known.

        Raises:
            ConfigError: The set does not fit; all faults are listed.
        """
        shapes = self.shapes()
        problems = [f"the net's input '{name}' is not among them" for name in inputs if name not in shapes]
        problems += [f"'{name}' is no input of the net" for name in shapes if name not in inputs]
        for name in (name for name in inputs if name in shapes):
            wanted = tuple(inputs[name][1:])
            if not fits(shapes[name], wanted):
                problems.append(
                    f"a sample of '{name}' is {shown(shapes[name])}, the net takes {shown(wanted)}"
                    f"{self._advice(shapes[name], wanted)}"
                )
        if problems:
            raise ConfigError(f"{self.describe()}: these data do not fit the net", problems)
        return self

    def _advice(self, found: Sequence[int], wanted: Sequence[int | None]) -> str:
        """Returns what may help where a sample has not the sizes that the net takes."""
        if len(found) == 3 and len(wanted) == 3 and fits((found[2], found[0], found[1]), wanted):
            return "; the samples have their channels last, the net takes them first: array.transpose(0, 3, 1, 2)"
        return ""


def fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Says whether a shape is another one in which None stands for any size."""
    return len(found) == len(wanted) and all(b is None or a == b for a, b in zip(found, wanted, strict=True))


def shown(shape: Sequence[int | None]) -> str:
    """Returns a shape as 3x224x224."""
    return "x".join("?" if size is None else str(size) for size in shape) or "one number"
