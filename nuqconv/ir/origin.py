"""Where a node came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """The place and the source form of a node, for messages and for writing it back untouched.

    Attributes:
        file: Path of the file as the user gave it.
        line: Line of the layer in that file (first is 1), or None where the format has no lines.
        layer: Name of the layer there.
        layer_type: Type name of the layer there.
        framework: The source framework, for instance ``"caffe"``. Only a backend of the same framework may use what follows.
        source: The source message, never changed after reading.
        text: The layer as it stands in the file, to the letter.
        blobs: The message that carried the weights of a layer that is not understood, or None.
        unknown: Fields that the schema lacks, for writing back: the messages around each (``convolution_param[0]``) and its text.
    """

    file: str
    line: int | None
    layer: str
    layer_type: str
    framework: str
    source: Any = None
    text: str | None = None
    blobs: Any = None
    unknown: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: layer '{self.layer}' ({self.layer_type})"
