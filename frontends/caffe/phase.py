"""Which layers belong to a net in a given state (Caffe's include and exclude rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nuqconv.errors import ModelError

__all__ = ["NetState", "is_included"]

_PHASES = {"TRAIN": 0, "TEST": 1}


@dataclass(frozen=True)
class NetState:
    """The state a net runs in.

    Attributes:
        phase: ``"TEST"`` or ``"TRAIN"``.
        level: Caffe's level.
        stages: Caffe's stages.
    """

    phase: str = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()

    def meets(self, rule: Any) -> bool:
        """Returns whether the state meets one NetStateRule."""
        if rule.HasField("phase") and rule.phase != _PHASES[self.phase]:
            return False
        if rule.HasField("min_level") and self.level < rule.min_level:
            return False
        if rule.HasField("max_level") and self.level > rule.max_level:
            return False
        return self.stages.issuperset(rule.stage) and self.stages.isdisjoint(rule.not_stage)


def is_included(layer: Any, state: NetState) -> bool:
    """Returns whether a LayerParameter is part of the net in ``state``.

    Raises:
        ModelError: The layer has include and exclude rules at once, which Caffe refuses.
    """
    if len(layer.include) and len(layer.exclude):
        raise ModelError(f"layer '{layer.name}' has include and exclude rules; Caffe allows one kind")
    if len(layer.include):
        return any(state.meets(rule) for rule in layer.include)
    return not any(state.meets(rule) for rule in layer.exclude)
