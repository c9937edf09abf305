"""Recurrent layers: Caffe's over T steps of N streams, and ONNX's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, TypeAlias

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.traits import Jumps, Stateful

__all__ = [
    "LSTM",
    "RNN",
    "CTCGreedyDecoder",
    "ContinuationIndicator",
    "LSTMUnit",
    "Recurrent",
    "RecurrentCell",
    "SequenceLSTM",
    "StreamRecurrent",
]


@dataclass(frozen=True)
class StreamRecurrent(Op, abstract=True):
    """What the recurrent operators share.

    Inputs: ``x`` (T, N, ...), ``cont`` (T, N), which multiplies the state that a step takes over from the one before, then a static input
    (N, ...) if ``static_input``, then with ``expose_hidden`` the initial states, (1, N, num_output) each; without it they are 0.

    Outputs: one (T, N, num_output), then with ``expose_hidden`` the final states, shaped as the initial ones.

    Attributes:
        num_output: Size D of the state.
        static_input: Whether there is an input that is the same at all steps.
        expose_hidden: Whether the states are inputs and outputs.
    """

    num_output: int
    static_input: bool = False
    expose_hidden: bool = False

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None
    num_states: ClassVar[int]
    num_gates: ClassVar[int]

    def output_count(self, inputs: int) -> int | None:
        """Returns 1, and one more for each exposed state."""
        del inputs
        return 1 + self.exposed

    @property
    def exposed(self) -> int:
        """The number of states that are inputs and outputs."""
        return self.num_states * int(self.expose_hidden)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Checks the inputs against each other and the parameters."""
        wanted = 2 + int(self.static_input) + self.exposed
        if len(inputs) != wanted:
            raise OpError(f"has {len(inputs)} inputs, expected {wanted}")
        x, cont = inputs[:2]
        if len(x) < 3:
            raise OpError(f"input has {len(x)} dimensions, expected at least 3 (steps, streams, size)")
        if cont != x[:2]:
            raise OpError(
                f"cont has shape {'x'.join(map(str, cont))}, expected {'x'.join(map(str, x[:2]))} (steps x streams)"
            )
        static = inputs[2] if self.static_input else None
        if static is not None and (len(static) < 2 or static[0] != x[1]):
            raise OpError(f"the static input has shape {'x'.join(map(str, static))}, expected {x[1]} (streams) first")
        state = (1, x[1], self.num_output)
        for shape in inputs[wanted - self.exposed :]:
            if shape != state:
                raise OpError(f"a state has shape {'x'.join(map(str, shape))}, expected {'x'.join(map(str, state))}")
        expect_params(params, self.param_shapes(inputs))
        return ((*x[:2], self.num_output), *((state,) * self.exposed))

    def param_shapes(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Returns the shape of each parameter for inputs of these shapes."""
        return self._param_shapes(prod(inputs[0][2:]), prod(inputs[2][1:]) if self.static_input else None)

    def _param_shapes(self, size: int, static: int | None) -> list[Shape]:
        width = self.num_gates * self.num_output
        shapes: list[Shape] = [(width, size), (width,)]
        if static is not None:
            shapes.append((width, static))
        return [*shapes, (width, self.num_output)]


@dataclass(frozen=True)
class LSTM(StreamRecurrent, traits=(Stateful("it takes its state over from the pass before"),)):
    """Long short-term memory; states h and c::

        i, f, o, g = W_xc x + b_c [+ W_xc_static s] + W_hc (cont h)
        c' = cont sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')

    Parameters: W_xc (4 D, X), b_c (4 D,), W_xc_static (4 D, S) if ``static_input``, W_hc (4 D, D). The output is h of every step.
    """  # noqa: D415

    num_states: ClassVar[int] = 2
    num_gates: ClassVar[int] = 4


@dataclass(frozen=True)
class LSTMUnit(Op, traits=()):
    """One step of a long short-term memory, whose states are inputs and outputs::

        c' = cont sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')

    Inputs: c (1, N, D), the sums of the gates i, f, o and g behind each other (1, N, 4 D), cont (1, N). Outputs: c' and h', (1, N, D) each.
    """  # noqa: D415

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3
    num_outputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Both outputs have the shape of the state."""
        expect_params(params, [])
        state, gates, cont = inputs
        if len(state) != 3 or state[0] != 1:
            raise OpError(f"the state has shape {state}, expected (1, N, D)")
        expected = [(1, state[1], 4 * state[2]), (1, state[1])]
        if [gates, cont] != expected:
            raise OpError(f"the gates have shape {gates} and cont {cont}, expected {expected[0]} and {expected[1]}")
        return (state, state)


@dataclass(frozen=True)
class SequenceLSTM(Op, traits=(Stateful("it takes its state over from the pass before"),)):
    """The LSTM of J. Oh's Caffe and of its OCR forks, with the equations of `LSTM`.

    Inputs: ``x`` (T, N, ...), then ``cont`` (T, N) if there are two; with one every sequence begins with a state of 0 and goes on to its end.
    Parameters: W_x (4 D, X), W_h (4 D, D), b (4 D,). Output: (T, N, num_output).
    """

    num_output: int

    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Checks the inputs against each other and the parameters."""
        x, *cont = inputs
        if len(x) < 3:
            raise OpError(f"input has {len(x)} dimensions, expected at least 3 (steps, streams, size)")
        if cont and cont[0] != x[:2]:
            raise OpError(f"cont has shape {cont[0]}, expected {x[:2]} (steps x streams)")
        width = 4 * self.num_output
        expect_params(params, [(width, prod(x[2:])), (width, self.num_output), (width,)])
        return ((*x[:2], self.num_output),)


@dataclass(frozen=True)
class ContinuationIndicator(Op, traits=()):
    """What tells a `StreamRecurrent` where sequences begin: (``steps``, ``streams``), 0 at the first step and 1 at all others."""

    steps: int
    streams: int

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shape does not depend on anything."""
        del inputs
        expect_params(params, [])
        return ((self.steps, self.streams),)


@dataclass(frozen=True)
class CTCGreedyDecoder(Op, traits=(Jumps(),)):
    """The best label of each step without blanks, and without repetitions if ``merge`` (Intel's Caffe, OpenVINO).

    Inputs: probabilities (T, N, C) and indicators (T, N): a sequence ends in front of the first step but the first one that has a 0. Outputs:
    labels (N, T, 1, 1), filled up with -1, and with ``scores`` the sums of the best numbers of all steps with their sign turned, (N, 1, 1, 1).

    Attributes:
        blank: The label of the blank; -1 for the last one.
        merge: Whether equal labels of neighbouring steps are one.
        scores: Whether there is a second output.
    """

    blank: int = -1
    merge: bool = True
    scores: bool = False

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2
    num_outputs: ClassVar[int | None] = None

    def output_count(self, inputs: int) -> int | None:
        """Labels, and perhaps scores."""
        del inputs
        return 1 + int(self.scores)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Outputs (N, T, 1, 1) and (N, 1, 1, 1)."""
        expect_params(params, [])
        x, indicators = inputs
        if len(x) < 3 or prod(x[3:]) != 1:
            raise OpError(f"probabilities have shape {x}, expected (steps, streams, labels)")
        if indicators[:2] != x[:2] or prod(indicators[2:]) != 1:
            raise OpError(f"indicators have shape {indicators}, expected {x[:2]} (steps x streams)")
        if not -1 <= self.blank < x[2]:
            raise OpError(f"the blank is label {self.blank} of {x[2]}")
        return ((x[1], x[0], 1, 1), (x[1], 1, 1, 1))[: 1 + int(self.scores)]


@dataclass(frozen=True)
class RNN(StreamRecurrent, traits=(Stateful("it takes its state over from the pass before"),)):
    """Plain recurrence; state h::

        h' = tanh(W_xh x + b_h [+ W_xh_static s] + W_hh (cont h))
        o = tanh(W_ho h' + b_o)

    Parameters: W_xh (D, X), b_h (D,), W_xh_static (D, S) if ``static_input``, W_hh (D, D), W_ho (D, D), b_o (D,). The output is o of
    every step.
    """  # noqa: D415

    num_states: ClassVar[int] = 1
    num_gates: ClassVar[int] = 1

    def _param_shapes(self, size: int, static: int | None) -> list[Shape]:
        own: list[Shape] = [(self.num_output, self.num_output), (self.num_output,)]
        return [*super()._param_shapes(size, static), *own]


RecurrentCell: TypeAlias = Literal["LSTM", "GRU", "RNN"]

_GATES: dict[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Recurrent(Op, traits=()):
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
