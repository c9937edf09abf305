"""Recurrent layers over T steps of N streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params

__all__ = ["LSTM", "RNN", "Recurrent"]


@dataclass(frozen=True)
class Recurrent(Op):
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
class LSTM(Recurrent):
    """Long short-term memory; states h and c::

        i, f, o, g = W_xc x + b_c [+ W_xc_static s] + W_hc (cont h)
        c' = cont sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')

    Parameters: W_xc (4 D, X), b_c (4 D,), W_xc_static (4 D, S) if ``static_input``, W_hc (4 D, D). The output is h of every step.
    """  # noqa: D415

    num_states: ClassVar[int] = 2
    num_gates: ClassVar[int] = 4


@dataclass(frozen=True)
class RNN(Recurrent):
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
