"""A line in a .prototxt by which nuqconv knows the files that it wrote, as they were then."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nuqconv.files.digest import content_digest

__all__ = ["sign", "unsigned"]

_LINE = re.compile(
    rb"# Written by nuqconv\. sha256 of the lines below: ([0-9a-f]{64}), of the weights: ([0-9a-f]{64})\n"
)


def sign(model: Path, weights: Path) -> None:
    """Puts the line at the top of a .prototxt that is not finished yet."""
    text = model.read_bytes()
    line = f"# Written by nuqconv. sha256 of the lines below: {hashlib.sha256(text).hexdigest()}, of the weights: {content_digest(weights)}\n"
    model.write_bytes(line.encode("ascii") + text)


def unsigned(model: Path, weights: Path) -> tuple[Path, ...]:
    """Returns those of two files that are there and are not what a signature in the .prototxt says.

    A file that was edited since counts as not signed; so do weights whose .prototxt is gone.

    Raises:
        OSError: A file cannot be read.
    """
    text = model.read_bytes() if model.exists() else b""
    found = _LINE.match(text)
    signed_text, signed_weights = (found[1].decode(), found[2].decode()) if found else ("", "")
    rest = text[found.end() :] if found else text
    wrong = []
    if model.exists() and hashlib.sha256(rest).hexdigest() != signed_text:
        wrong.append(model)
    if weights.exists() and (not signed_weights or content_digest(weights) != signed_weights):
        wrong.append(weights)
    return tuple(wrong)
