"""What can be true of an operator and matters to others than its own readers and writers.

They ask an operator for a trait (`Op.trait`), and nobody keeps a list of operators. Every operator states its traits where it is defined.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Cuts",
    "Decides",
    "Jumps",
    "KeepsChannels",
    "KeepsScale",
    "QuantizedForm",
    "Rearranges",
    "SharesMemory",
    "SizedByData",
    "Stateful",
    "Trait",
    "Windowed",
]


@dataclass(frozen=True)
class Trait:
    """One of the classes below."""


@dataclass(frozen=True)
class Stateful(Trait):
    """The result may depend on more than inputs and parameters: on earlier runs, on random numbers, on code of others.

    Attributes:
        why: On what, in words.
    """

    why: str


@dataclass(frozen=True)
class SizedByData(Trait):
    """How large the outputs are is known only when the network has run.

    Attributes:
        why: What decides it, in words.
    """

    why: str


@dataclass(frozen=True)
class Jumps(Trait):
    """The function has steps: near one, a small difference of the inputs becomes a large one."""


@dataclass(frozen=True)
class Decides(Trait):
    """What is left of a difference of the inputs depends on how sure the network was."""


@dataclass(frozen=True)
class Rearranges(Trait):
    """The outputs hold the elements of the inputs as they are, all of them, in this order or another."""


@dataclass(frozen=True)
class QuantizedForm(Trait):
    """It stands in quantized models only."""


@dataclass(frozen=True)
class Cuts(Trait):
    """It cuts at numbers among its attributes, for which an infinity means no cut."""


@dataclass(frozen=True)
class KeepsChannels(Trait):
    """Each channel of the first input becomes one channel of the output, in the same order."""


@dataclass(frozen=True)
class KeepsScale(Trait):
    """A channel of the one input times a power of two makes the same channel of the output times that power, and nothing else."""


@dataclass(frozen=True)
class Windowed(Trait):
    """Each position of the outputs comes from a window, which may reach beyond the input."""


@dataclass(frozen=True)
class SharesMemory(Trait):
    """In Caffe the tops are the memory of the first bottom, so that who writes into one changes the other.

    Attributes:
        most_inputs: How many inputs there may be for that; None for any number.
        most_outputs: How many outputs there may be.
    """

    most_inputs: int | None = None
    most_outputs: int | None = None

    def holds(self, inputs: int, outputs: int) -> bool:
        """Whether memory is shared where a layer has so many inputs and outputs."""
        return inputs <= (self.most_inputs or inputs) and outputs <= (self.most_outputs or outputs)
