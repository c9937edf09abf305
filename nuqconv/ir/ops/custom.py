"""Layers that the user has registered, and layers that are kept, not understood."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape
from nuqconv.ir.traits import Stateful, Trait

__all__ = ["Custom", "CustomDefinition", "CustomLayer", "Opaque"]

# What code that only computes shapes or adds nodes raises when its input does not fit.
USER_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class CustomLayer:
    """One layer, as the user's functions see it.

    Attributes:
        type: The layer type.
        param: The fields of the layer's parameter block, defaults filled in; a plain dict of this call's own.
        inputs: Shape of each bottom.
        blobs: Shape of each weight.
        tops: Number of tops.
    """

    type: str
    param: dict[str, Any]
    inputs: tuple[Shape, ...]
    blobs: tuple[Shape, ...]
    tops: int


@dataclass(frozen=True, eq=False)
class CustomDefinition:
    """What the user has registered for a layer type.

    Attributes:
        layer_type: The type's name.
        shape: Takes a `CustomLayer` and returns the shape of each top, None where it is known at run time only.
        lower: Takes a `CustomLayer` and a backend's interface and adds what computes the layer there.
        any_batch: Whether the layer works for any batch size as axis 0.
    """

    layer_type: str
    shape: Callable[[CustomLayer], Sequence[Sequence[int] | None]]
    lower: Callable[[CustomLayer, Any], str | Sequence[str]]
    any_batch: bool = False


@dataclass(frozen=True)
class Custom(Op, traits=(Stateful("what a registered layer does is not known"),)):
    """A layer whose behaviour comes from the user's registration.

    Attributes:
        definition: What was registered.
        fields: The parameter block as JSON, so that the operator is a value.
        tops: Number of outputs.
    """

    definition: CustomDefinition
    fields: str = "{}"
    tops: int = 1

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    @property
    def kind(self) -> str:
        """The layer type."""
        return self.definition.layer_type

    @property
    def fixed_batch(self) -> str | None:
        """A registered layer keeps the graph's batch size unless it says otherwise."""
        return None if self.definition.any_batch else "the layer was registered without any_batch=True"

    def output_count(self, inputs: int) -> int:
        """As many outputs as the layer has tops."""
        del inputs
        return self.tops

    def layer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> CustomLayer:
        """Returns the layer as the user's functions see it."""
        return CustomLayer(self.kind, json.loads(self.fields), tuple(inputs), tuple(params), self.tops)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape | None, ...]:
        """Asks the user's shape rule."""
        try:
            found = list(self.definition.shape(self.layer(inputs, params)))
            shapes = tuple(None if shape is None else tuple(int(size) for size in shape) for shape in found)
        except USER_ERRORS as error:
            raise OpError(f"the registered shape rule raised {type(error).__name__}: {error}") from error
        if len(shapes) != self.tops or any(shape is not None and min(shape, default=1) < 1 for shape in shapes):
            raise OpError(f"the registered shape rule gave {found}, expected {self.tops} shapes of positive sizes")
        return shapes

    def describe(self) -> str:
        """Returns the parameter block."""
        return self.fields.strip("{}")


@dataclass(frozen=True)
class Opaque(Op, traits=(Stateful("what it does is not known"),)):
    """Any layer whose type or parameters nobody here knows; it is written back untouched and its output shapes are unknown.

    Attributes:
        layer_type: The type.
        reason: Why it was not understood.
        known: What is known of the type all the same.
    """

    layer_type: str
    reason: str
    known: tuple[Trait, ...] = field(default=(), repr=False)

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Returns nothing: the graph marks the outputs as unknown."""
        del inputs, params
        return ()

    def special_traits(self) -> tuple[Trait, ...]:
        """Returns what is known of the type."""
        return self.known
