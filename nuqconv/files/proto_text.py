r"""Protobuf text from strangers.

Python's protobuf reads an escape that does not exist (``"R\LU"``) as two characters and warns; Caffe's refuses it, and so does this.
"""

from __future__ import annotations

import warnings
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

__all__ = ["ParseError", "parse_text"]

ParseError = text_format.ParseError
_Message = TypeVar("_Message", bound=Message)


def parse_text(text: str, message: _Message) -> _Message:
    """Parses text into a message.

    Args:
        text: The text; its messages must not be nested deeper than Python may call.
        message: Takes what is read.

    Returns:
        The message itself.

    Raises:
        ParseError: The text is no text of such a message.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.filterwarnings("error", ".*escape", category)
        try:
            return text_format.Parse(text, message)
        except (DeprecationWarning, SyntaxWarning) as error:
            raise ParseError(f"Couldn't parse string: {error}") from error
