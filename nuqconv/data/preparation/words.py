"""The text of a preparation: ``bgr, resize 256x256, crop 224x224, mean 104 117 123, scale 0.017``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.data.preparation.steps import FITS, ColourMatrix, Crop, MeanImage, Resize
from nuqconv.data.preparation.whole import COLOURS, Preparation
from nuqconv.data.resize import METHODS
from nuqconv.errors import ConfigError, NuqconvError

__all__ = ["parse_words"]

_TOKEN = re.compile(r'"([^"]*)"|([^\s,"]+)|(,)')
_SIZE = re.compile(r"(\d+)(?:[xX\u00d7](\d+))?")
_DIGITS = re.compile(r"[0-9]{1,9}")
_ALIASES = {"grey": "gray", "norm": "scale", "center": "crop", "centre": "crop", "unit": "0..1"}


class _WrongStepError(Exception):
    """What is wrong with one step."""


def parse_words(text: str) -> Preparation:
    """Reads the text of a preparation; the steps may come in any order, they are done in that of `Preparation`.

    Raises:
        ConfigError: Words are not known or do not fit; all of them are named.
    """
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for step in _steps(text):
        try:
            name, value = _read(step)
        except (_WrongStepError, NuqconvError) as error:
            problems.append(str(error))
            continue
        if name in fields:
            problems.append(f"'{' '.join(step)}': {name} is said twice")
        fields[name] = value
    if problems:
        raise ConfigError(f"the preparation '{text}' cannot be read", problems)
    return Preparation(**fields)


def _read(step: Sequence[str]) -> tuple[str, Any]:
    """Returns the field of `Preparation` that a step sets, and its value."""
    word = _ALIASES.get(step[0].lower(), step[0].lower())
    if word not in _WORDS:
        near = difflib.get_close_matches(word, [*_WORDS, *_ALIASES], 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise _WrongStepError(f"'{word}' is not known{hint} (known are {', '.join(_WORDS)})")
    return _WORDS[word](word, step[1:])


def _steps(text: str) -> list[list[str]]:
    steps: list[list[str]] = [[]]
    for quoted, word, comma in _TOKEN.findall(text):
        if comma:
            steps.append([])
        else:
            steps[-1].append(quoted or word)
    return [step for step in steps if step]


def _colour(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    _no_more(word, rest)
    return "colour", word


def _unit(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    _no_more(word, rest)
    return "unit", True


def _last(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    if list(rest) != ["last"]:
        raise _WrongStepError(f"'{' '.join((word, *rest))}': expected 'channels last'")
    return "channels_last", True


def _no_more(word: str, rest: Sequence[str]) -> None:
    if rest:
        raise _WrongStepError(
            f"'{' '.join((word, *rest))}': nothing is expected behind '{word}'; steps are parted by commas"
        )


def _size(step: str, text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text) if len(text) <= 20 else None
    if found is None or int(found[1]) < 1 or (found[2] is not None and int(found[2]) < 1):
        raise _WrongStepError(
            f"'{step}': '{text}' is no size; expected HEIGHTxWIDTH, as 256x256, or one number for both"
        )
    return int(found[1]), int(found[2] or found[1])


def _resize(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    step, left = " ".join((word, *rest)), list(rest)
    fit = left.pop(0) if left and left[0] in FITS else "squash"
    if not left:
        raise _WrongStepError(f"'{step}': a size is missing, as in 'resize 256x256'")
    height, width = _size(step, left.pop(0))
    method = left.pop(0) if left and left[0] in METHODS else "linear"
    fill = 0
    if len(left) >= 2 and left[0] == "fill" and fit == "pad" and _DIGITS.fullmatch(left[1]):
        fill = int(left[1])
        left = left[2:]
    if left:
        raise _WrongStepError(
            f"'{step}': '{' '.join(left)}' is not known there; expected resize [{'|'.join(FITS)}] HEIGHTxWIDTH [{'|'.join(METHODS)}] "
            "and with pad [fill 0..255]"
        )
    return "resize", Resize(height, width, method, fit, fill)


def _crop(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    step, left = " ".join((word, *rest)), list(rest)
    if not left:
        raise _WrongStepError(f"'{step}': a size is missing, as in 'crop 224x224'")
    height, width = _size(step, left.pop(0))
    if not left:
        return "crop", Crop(height, width)
    if len(left) != 3 or left[0] != "at" or not all(_DIGITS.fullmatch(item) for item in left[1:]):
        raise _WrongStepError(f"'{step}': expected crop HEIGHTxWIDTH [at TOP LEFT]")
    return "crop", Crop(height, width, int(left[1]), int(left[2]))


def _floats(word: str, rest: Sequence[str]) -> tuple[float, ...]:
    step = " ".join((word, *rest))
    try:
        with np.errstate(over="ignore"):
            values = tuple(float(np.float32(text)) for text in rest)
    except ValueError as error:
        raise _WrongStepError(f"'{step}': expected numbers") from error
    if not values or not np.isfinite(values).all():
        raise _WrongStepError(f"'{step}': expected finite numbers behind '{word}'")
    return values


def _mean(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    if len(rest) == 1 and Path(rest[0]).suffix.lower() in (".binaryproto", ".npy"):
        return "mean_image", MeanImage.read(rest[0])
    return "mean", _floats(word, rest)


def _factors(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    return word, _floats(word, rest)


def _matrix(word: str, rest: Sequence[str]) -> tuple[str, Any]:
    try:
        values = [int(text) for text in rest]
    except ValueError:
        values = []
    if not all(abs(value) < 2**31 for value in values) or len(values) != len(rest):
        raise _WrongStepError(f"'{' '.join((word, *rest))}': expected whole numbers, 256 for 1")
    if len(values) not in (9, 12, 15):
        raise _WrongStepError(
            f"'{word}' takes 9 numbers, or 12 with those to subtract before, or 15 with those to add after"
        )
    values += [0] * (15 - len(values))
    parts: list[Any] = [tuple(values[start : start + 3]) for start in range(0, 15, 3)]
    return "matrix", ColourMatrix(tuple(parts[:3]), parts[3], parts[4])


_WORDS: Mapping[str, Callable[[str, Sequence[str]], tuple[str, Any]]] = {
    **dict.fromkeys(COLOURS, _colour),
    "resize": _resize,
    "crop": _crop,
    "matrix": _matrix,
    "0..1": _unit,
    "mean": _mean,
    "scale": _factors,
    "std": _factors,
    "channels": _last,
}
