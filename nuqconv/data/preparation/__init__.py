"""What is done with a sample before the net sees it: declared once, read from texts and from other tools' files."""

from __future__ import annotations

from pathlib import Path

from nuqconv.data.preparation.aipp import is_aipp, parse_aipp, write_aipp
from nuqconv.data.preparation.data_layer import DataLayer, read_data_layer
from nuqconv.data.preparation.others import is_mnn, is_ncnn, parse_mnn, parse_ncnn
from nuqconv.data.preparation.steps import ColourMatrix, Crop, MeanImage, Resize
from nuqconv.data.preparation.whole import Preparation
from nuqconv.data.preparation.words import parse_words
from nuqconv.errors import ConfigError, FormatError
from nuqconv.files.bounded import MOST_TEXT, read_bounded

__all__ = [
    "ColourMatrix",
    "Crop",
    "DataLayer",
    "MeanImage",
    "Preparation",
    "Resize",
    "read_data_layer",
    "read_preparation",
    "write_aipp",
]

_FILES = (".prototxt", ".cfg", ".config", ".conf", ".json", ".txt")


def read_preparation(value: str | Path | Preparation | None) -> Preparation:
    """Returns a preparation, however it is given.

    Args:
        value: The object itself; a text (``bgr, resize 256x256, mean 104 117 123``, or ncnn2table's ``mean=[...] norm=[...]``); or a file: a
            train_val.prototxt, an AIPP configuration, MNN's JSON, or a .txt with such a text.

    Raises:
        ConfigError: It says what is not known or does not fit; all faults are named.
        FormatError: A file cannot be read.
    """
    if value is None:
        return Preparation()
    if isinstance(value, Preparation):
        return value
    path = Path(value)
    if isinstance(value, Path) or path.suffix.lower() in _FILES:
        return _from_file(path)
    text = str(value)
    return parse_ncnn(text) if is_ncnn(text) else parse_words(text)


def _from_file(path: Path) -> Preparation:
    try:
        text = read_bounded(path, MOST_TEXT).decode()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is no text file (byte {error.start} is not UTF-8)") from error
    if is_aipp(text):
        return parse_aipp(text, str(path))
    if is_mnn(text):
        return parse_mnn(text, str(path))
    if path.suffix.lower() == ".prototxt":
        return read_data_layer(path).preparation
    words = " ".join(line.split("#")[0].strip() for line in text.splitlines())
    try:
        return parse_ncnn(words) if is_ncnn(words) else parse_words(words)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
