"""Preparations as other tools write them: ncnn2table's words and MNN's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nuqconv.data.preparation.steps import Resize
from nuqconv.data.preparation.whole import Preparation
from nuqconv.errors import ConfigError, FormatError
from nuqconv.files.safe_json import parse

__all__ = ["is_mnn", "is_ncnn", "parse_mnn", "parse_ncnn"]

_NCNN = re.compile(r"(\w+)=(\[[^\]]*\]|\S+)")
_NCNN_ORDERS = {"RGB": "rgb", "BGR": "bgr", "GRAY": "gray"}
_MNN_ORDERS = {"RGB": "rgb", "BGR": "bgr", "GRAY": "gray"}
_MNN_OTHERS = frozenset(
    (
        "path", "used_image_num", "used_sample_num", "feature_quantize_method", "weight_quantize_method", "feature_clamp_value",
        "weight_clamp_value", "batch_size", "quant_bits", "skip_quant_op_names", "input_type", "debug", "winogradOpt",
    )
)  # fmt: skip
"""Keys of MNN's file that say how to quantize, and on how much."""
_LARGEST = float(np.finfo(np.float32).max)


def is_ncnn(text: str) -> bool:
    """Says whether a text is of the words of ncnn2table."""
    return bool(_NCNN.match(text.strip()))


def parse_ncnn(text: str) -> Preparation:
    """Reads ``mean=[104,117,123] norm=[1,1,1] shape=[224,224,3] pixel=BGR``; shape is width, height, channels.

    Raises:
        ConfigError: Words are not known or wrong; all of them are named.
    """
    words: dict[str, str] = {}
    problems = []
    for name, value in _NCNN.findall(text):
        if name in words:
            problems.append(f"'{name}' is said twice")
        words[name] = value
    left = _NCNN.sub("", text).strip()
    if left:
        problems.append(f"'{left}' is no word of the form name=value")
    problems += [
        f"'{name}' is not known; known are mean, norm, shape, pixel"
        for name in words
        if name not in ("mean", "norm", "shape", "pixel")
    ]
    lists = {name: _numbers(name, words.get(name), problems) for name in ("mean", "norm", "shape")}
    colour = _NCNN_ORDERS.get(words.get("pixel", "BGR"))
    if colour is None:
        problems.append(f"pixel={words['pixel']}: expected {', '.join(_NCNN_ORDERS)}")
    shape = lists["shape"]
    if shape and (len(shape) not in (2, 3) or any(not 1 <= size < 2**31 or size != int(size) for size in shape)):
        problems.append(f"shape={words['shape']}: expected [width,height,channels]")
    if problems:
        raise ConfigError(f"the preparation '{text}' cannot be read", problems)
    resize = Resize(int(shape[1]), int(shape[0])) if shape else None
    return Preparation(colour=colour, resize=resize, mean=lists["mean"], scale=lists["norm"])


def _numbers(name: str, text: str | None, problems: list[str]) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        return tuple(float(item) for item in text.strip("[]").split(","))
    except ValueError:
        problems.append(f"{name}={text}: expected numbers as [1,2,3], those of one input")
        return ()


def is_mnn(text: str) -> bool:
    """Says whether a text is a JSON object."""
    return text.lstrip().startswith("{")


def parse_mnn(text: str, path: str) -> Preparation:
    """Reads the JSON that MNN's quantization tool takes for pictures.

    Raises:
        ConfigError: Keys are not known or wrong; all of them are named.
        FormatError: It is no JSON.
    """
    try:
        content: Any = parse(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is no JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise FormatError(f"{path}: expected a JSON object with format, mean, normal, width and height")
    known = ("format", "mean", "normal", "width", "height", "center_crop_h", "center_crop_w")
    problems = [
        f"'{key}' is not known; known are {', '.join((*known, *sorted(_MNN_OTHERS)))}"
        for key in content
        if key not in known and key not in _MNN_OTHERS
    ]
    colour = _MNN_ORDERS.get(str(content.get("format", "RGB")))
    if colour is None:
        problems.append(f"format is {content['format']!r}, expected {', '.join(_MNN_ORDERS)}")
    lists = {name: _json_numbers(name, content.get(name, []), problems) for name in ("mean", "normal")}
    sizes = [content.get(name) for name in ("height", "width")]
    if any(size is not None for size in sizes) and not all(type(size) is int and size > 0 for size in sizes):
        problems.append(f"height and width are {sizes}, expected two positive whole numbers")
    problems += [
        f"'{name}' of {content[name]!r} is not read: give the part as 'crop HEIGHTxWIDTH' in a text"
        for name in ("center_crop_h", "center_crop_w")
        if name in content and content[name] != 1
    ]
    if content.get("input_type", "image") != "image":
        problems.append(f"input_type is {json.dumps(content['input_type'])}, and a preparation is for 'image'")
    if problems:
        raise ConfigError(f"{path}: the preparation cannot be read", problems)
    note = "MNN's own resizing lets the corners meet; here it is OpenCV's bilinear, as everywhere else"
    resize = None if sizes[0] is None else Resize(int(sizes[0]), int(sizes[1] or 0))
    return Preparation(
        colour=colour,
        resize=resize,
        mean=lists["mean"],
        scale=lists["normal"],
        notes=() if resize is None else (note,),
    )


def _json_numbers(name: str, value: Any, problems: list[str]) -> tuple[float, ...]:
    if isinstance(value, list) and all(type(item) in (int, float) and abs(item) < _LARGEST for item in value):
        return tuple(float(item) for item in value)
    problems.append(f"{name} is {json.dumps(value)[:60]}, expected a list of numbers")
    return ()
