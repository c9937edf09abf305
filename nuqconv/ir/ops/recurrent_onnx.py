"""Recurrent layers as ONNX has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["Recurrent", "RecurrentCell"]

RecurrentCell: TypeAlias = Literal["LSTM", "GRU", "RNN"]

_GATES: dict[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Recurrent(Op):
    """ONNX's LSTM, GRU or RNN over T steps of N streams.

    Inputs: x (T, N, I), then the initial states if ``states``: h (D, N, H) and, for LSTM, c (D, N, H); without they are 0. Outputs: h of all
    steps (T, D, N, H), the last h (D, N, H) and, for LSTM, the last c. With ``batch_first`` x is (N, T, I), the first output (N, T, D, H), and
    states are (N, D, H).

    Parameters, with the gates in ONNX's order: W (D, G H, I), R (D, G H, H), then B (D, 2 G H) if ``bias_term``.

    Attributes:
        cell: Which equations.
        hidden: Size H of the state.
        direction: Whether the steps are taken forward, in reverse, or both (D = 2).
        activations: Names of the functions, for each direction in turn; empty for the usual ones.
        batch_first: Whether the streams are axis 0.
        linear_before_reset: Which of the two GRUs.
        clip: Bound of what the functions see, or None.
        bias_term: Whether there are biases.
        states: Whether the initial states are inputs.
    """

    cell: RecurrentCell
    hidden: int
    direction: Literal["forward", "reverse", "bidirectional"] = "forward"
    activations: tuple[str, ...] = ()
    batch_first: bool = False
    linear_before_reset: bool = False
    clip: float | None = None
    bias_term: bool = True
    states: bool = False

    max_inputs: ClassVar[int | None] = 3
    num_outputs: ClassVar[int | None] = None

    @property
    def directions(self) -> int:
        """1, or 2 if steps are taken both ways."""
        return 2 if self.direction == "bidirectional" else 1

    @property
    def num_states(self) -> int:
        """How many states a step hands on."""
        return 2 if self.cell == "LSTM" else 1

    def output_count(self, inputs: int) -> int | None:
        """All steps, and the last of each state."""
        del inputs
        return 1 + self.num_states

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Checks the inputs against each other and the parameters."""
        wanted = 1 + (self.num_states if self.states else 0)
        if len(inputs) != wanted:
            raise OpError(f"has {len(inputs)} inputs, expected {wanted}")
        x = inputs[0]
        if len(x) != 3:
            raise OpError(f"input has {len(x)} dimensions, expected 3 (steps, streams, size)")
        steps, streams = (x[1], x[0]) if self.batch_first else x[:2]
        count, size = self.directions, self.hidden
        state = (streams, count, size) if self.batch_first else (count, streams, size)
        for shape in inputs[1:]:
            if shape != state:
                raise OpError(f"a state has shape {'x'.join(map(str, shape))}, expected {'x'.join(map(str, state))}")
        gates = _GATES[self.cell] * size
        weights = [(count, gates, x[2]), (count, gates, size)]
        expect_params(params, [*weights, (count, 2 * gates)] if self.bias_term else weights)
        every = (streams, steps, count, size) if self.batch_first else (steps, count, streams, size)
        return (every, *(state,) * self.num_states)
