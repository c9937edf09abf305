"""Words of the toolkit's editions for other frameworks, which users bring along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["edition_hint", "edition_hint_in"]

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "ada_quantize": "weights here are arq_quantize or nuq_quantize",
        "dmq_balancer": "remove it",
        "tensor_quantize": "name the layers that read the tensor",
        "fakequant_precision_mode": "remove it",
        "version": "remove it",
        "enable_auto_nuq": "remove it; nuqconv auto searches",
    }
)
_QUOTED = re.compile(r'"(\w+)"')


def edition_hint(word: object) -> str:
    """Returns a sentence about a word of another edition, to be put behind a message; empty for others."""
    remedy = _REMEDIES.get(word) if isinstance(word, str) else None
    return (
        ""
        if remedy is None
        else f"; {word} is a word of the PyTorch and ONNX editions, which Caffe's has not: {remedy}"
    )


def edition_hint_in(message: str) -> str:
    """Returns the sentence about the first such word that a message quotes."""
    return next((hint for word in _QUOTED.findall(message) if (hint := edition_hint(word))), "")
