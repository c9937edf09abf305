"""AIPP: the text file with which Ascend's converter puts the preparation into the model.

Source: the public description of the file (keys, defaults and the order channel swap, crop, colours, mean). ``net input = (pixel - mean_chn -
min_chn) * var_reci_chn``, with the numbers of the channels behind swap and colours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nuqconv.data.preparation.steps import ColourMatrix, Crop, Resize, number
from nuqconv.data.preparation.whole import Preparation
from nuqconv.errors import ConfigError, FormatError, UnsupportedError
from nuqconv.frontends.caffe.fields import Field, Fields, parse_fields

__all__ = ["is_aipp", "parse_aipp", "write_aipp"]

_FORMATS = ("RGB888_U8", "XRGB8888_U8", "YUV420SP_U8", "YUV400_U8")
_SWITCHES = ("crop", "csc_switch", "rbuv_swap_switch")
_SIZES = ("src_image_size_w", "src_image_size_h", "load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h")
_MATRIX = tuple(f"matrix_r{row}c{column}" for row in range(3) for column in range(3))
_BIASES = tuple(f"{kind}_bias_{channel}" for kind in ("input", "output") for channel in range(3))
_MEANS = tuple(f"{kind}_chn_{channel}" for kind in ("mean", "min", "var_reci") for channel in range(4))
_OFF = ("resize", "padding", "ax_swap_switch", "single_line_mode", "support_rotation")
"""Switches that are understood when they are off."""
_IGNORED = frozenset(
    (
        "aipp_mode", "input_format", "related_input_rank", "related_input_name", "input_edge_idx", "resize_output_w", "resize_output_h",
        "left_padding_size", "right_padding_size", "top_padding_size", "bottom_padding_size", "padding_value", "cpadding_value",
    )
)  # fmt: skip
_KNOWN = frozenset((*_SWITCHES, *_SIZES, *_MATRIX, *_BIASES, *_MEANS, *_OFF, *_IGNORED))


def is_aipp(text: str) -> bool:
    """Says whether a text is of that form."""
    return "aipp_op" in text


def parse_aipp(text: str, path: str) -> Preparation:
    """Reads a static AIPP configuration of one input.

    Raises:
        ConfigError: Keys are not known or wrong, or ask for what is not done here; all of them are named with their lines.
        FormatError: The text is not of that form.
    """
    try:
        fields = parse_fields(text)
    except FormatError as error:
        raise FormatError(f"{path}: is no AIPP configuration: {error}") from error
    problems = [
        f"line {item.line}: '{item.name}' is not known; expected aipp_op"
        for item in fields.items
        if item.name != "aipp_op"
    ]
    operations = fields.messages("aipp_op")
    if len(operations) != 1:
        raise ConfigError(f"{path}: has {len(operations)} aipp_op; one is read, that of the net's picture", problems)
    found = _Reader(operations[0], problems).read()
    if problems or found is None:
        raise ConfigError(f"{path}: the preparation cannot be read", problems)
    return found


class _Reader:
    def __init__(self, fields: Fields, problems: list[str]) -> None:
        self.problems = problems
        self.items: dict[str, Field] = {}
        for item in fields.items:
            if item.name not in _KNOWN:
                problems.append(f"line {item.line}: '{item.name}' is not known")
            elif item.name in self.items:
                problems.append(f"line {item.line}: '{item.name}' is said twice")
            elif not isinstance(item.value, str):
                problems.append(f"line {item.line}: '{item.name}' is a message, expected a value")
            else:
                self.items[item.name] = item

    def read(self) -> Preparation | None:
        mode, form = self.word("aipp_mode", "static"), self.word("input_format", "")
        if mode != "static":
            self.problems.append(
                f"aipp_mode is {mode}: the values of a dynamic one are in the program that runs the model"
            )
        if form not in _FORMATS:
            self.problems.append(f"input_format is {form or 'missing'}; read are {', '.join(_FORMATS)}")
        self.problems += [
            f"line {self.items[name].line}: '{name}: {self.items[name].value}' is not done here"
            for name in _OFF
            if self.flag(name)
        ]
        width, height, left, top, crop_width, crop_height = (self.integer(name) for name in _SIZES)
        if bool(width) != bool(height):
            self.problems.append(f"src_image_size_h is {height} and src_image_size_w {width}; give both or none")
        if self.flag("crop") and not (crop_width and crop_height):
            self.problems.append("crop is true, but crop_size_h and crop_size_w do not say the size")
        colour, matrix, notes = self.colours(form)
        numbers = {name: self.channels(name, 1 if colour == "gray" else 3) for name in ("mean", "min", "var_reci")}
        if self.problems:
            return None
        mean = _short([float(a) + float(b) for a, b in zip(numbers["mean"], numbers["min"], strict=True)], 0)
        return Preparation(
            colour=colour,
            resize=Resize(height, width) if height and width else None,
            crop=Crop(crop_height, crop_width, top, left) if self.flag("crop") else None,
            matrix=matrix,
            mean=mean,
            scale=_short(numbers["var_reci"], 1),
            notes=notes,
        )

    def colours(self, form: str) -> tuple[str, ColourMatrix | None, tuple[str, ...]]:
        """Returns the channels that the net sees of a picture, and how a device mixes them."""
        rows = [[self.integer(f"matrix_r{row}c{column}") for column in range(3)] for row in range(3)]
        swapped = self.flag("rbuv_swap_switch")
        if form == "YUV400_U8":
            return "gray", None, ()
        if not form.startswith("YUV"):
            colour = "bgr" if swapped else "rgb"
            if not self.flag("csc_switch"):
                return colour, None, ()
            before, after = (
                tuple(self.integer(f"{kind}_bias_{channel}") for channel in range(3)) for kind in ("input", "output")
            )
            note = "the net sees what csc_switch's matrix makes of the colours"
            return colour, ColourMatrix(tuple(map(tuple, rows)), before, after), (note,)  # type: ignore[arg-type]
        if not self.flag("csc_switch"):
            self.problems.append(
                "input_format is YUV420SP_U8 without csc_switch: the net sees YUV, which is not made here"
            )
            return "rgb", None, ()
        kind = _yuv_result(rows)
        if kind is None:
            self.problems.append(
                f"matrix_r*c* {rows} makes neither RGB nor BGR nor gray of YUV; the documented ones do"
            )
            return "rgb", None, ()
        note = (
            f"YUV420SP_U8 is taken as exact colours ({kind.upper()}): what JPEG and video lose in them is not simulated"
        )
        if swapped:
            note += "; rbuv_swap_switch is that of NV21"
        return kind, None, (note,)

    def word(self, name: str, default: str) -> str:
        found = self.items.get(name)
        return default if found is None else str(found.value).strip("\"'")

    def flag(self, name: str) -> bool:
        text = self.word(name, "false")
        if text not in ("true", "false", "1", "0"):
            self._wrong(name, "true or false")
        return text in ("true", "1")

    def integer(self, name: str) -> int:
        try:
            return int(self.word(name, "0"))
        except ValueError:
            self._wrong(name, "a whole number")
            return 0

    def channels(self, kind: str, count: int) -> list[float]:
        """Returns the numbers of the channels; those that are not there are the defaults."""
        values = []
        for channel in range(count):
            name = f"{kind}_chn_{channel}"
            try:
                values.append(float(self.word(name, "1" if kind == "var_reci" else "0")))
            except ValueError:
                self._wrong(name, "a number")
            else:
                if not math.isfinite(values[-1]):
                    self._wrong(name, "a finite number")
        return values

    def _wrong(self, name: str, expected: str) -> None:
        problem = f"line {self.items[name].line}: '{name}: {self.items[name].value}': expected {expected}"
        if problem not in self.problems:
            self.problems.append(problem)


def _short(values: Sequence[float], nothing: float) -> tuple[float, ...]:
    if all(value == nothing for value in values):
        return ()
    return tuple(values[:1]) if len(set(values)) == 1 else tuple(values)


def _yuv_result(rows: Sequence[Sequence[int]]) -> str | None:
    """Returns what a matrix makes of brightness and colour differences: red has no part of U, blue none of V, green less of both."""
    red, green, blue = (1, 0, 1), (1, -1, -1), (1, 1, 0)
    signs = tuple(tuple(int(np.sign(value)) for value in row) for row in rows)
    results: Mapping[Any, str] = {
        (red, green, blue): "rgb",
        (blue, green, red): "bgr",
        ((1, 0, 0), (0, 0, 0), (0, 0, 0)): "gray",
    }
    return results.get(signs)


def write_aipp(preparation: Preparation, *, rank: int = 0) -> str:
    """Returns an AIPP configuration that does the preparation on the device, behind the resizing, which the host does.

    Args:
        preparation: What is to be done.
        rank: Number of the net's input.

    Raises:
        UnsupportedError: The device cannot do it; all reasons are listed.
    """
    problems = _beyond(preparation)
    channels = 1 if preparation.colour == "gray" else 3
    unit = 255.0 if preparation.unit else 1.0
    means = [value * unit for value in _full(preparation.mean, channels, 0.0)]
    stds = _full(preparation.std, channels, 1.0)
    factors = [scale / std / unit for scale, std in zip(_full(preparation.scale, channels, 1.0), stds, strict=True)]
    problems += [f"a mean of {number(mean)} is outside of 0 .. 255" for mean in means if not 0 <= mean <= 255]
    if problems:
        raise UnsupportedError("AIPP cannot do this preparation", problems)
    lines = [
        "aipp_mode: static",
        f"related_input_rank: {rank}",
        f"input_format: {'YUV400_U8' if channels == 1 else 'RGB888_U8'}",
        *_geometry(preparation),
    ]
    if channels == 3:
        lines.append(f"rbuv_swap_switch: {'false' if preparation.colour == 'rgb' else 'true'}")
    lines.append(f"csc_switch: {'false' if preparation.matrix is None else 'true'}")
    if preparation.matrix is not None:
        lines += [f"{name}: {value}" for name, value in zip(_MATRIX, np.ravel(preparation.matrix.rows), strict=True)]
        biases = (*preparation.matrix.before, *preparation.matrix.after)
        lines += [f"{name}: {value}" for name, value in zip(_BIASES, biases, strict=True)]
    for channel, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        whole = float(mean).is_integer()
        lines += [
            f"mean_chn_{channel}: {int(mean) if whole else 0}",
            f"min_chn_{channel}: {'0' if whole else number(mean)}",
            f"var_reci_chn_{channel}: {number(factor)}",
        ]
    host = _by_the_host(preparation)
    said = [f"# Before: {', '.join(host)}"] if host else []
    return "\n".join((*said, "aipp_op {", *(f"  {line}" for line in lines), "}", ""))


def _by_the_host(preparation: Preparation) -> list[str]:
    """Returns the steps that are done before the device has the picture; it cuts only from pictures of one size."""
    resize, crop = preparation.resize, preparation.crop
    cut = crop is not None and (resize is None or resize.fit != "squash")
    return [str(step) for step in (resize, crop if cut else None) if step is not None]


def _beyond(preparation: Preparation) -> list[str]:
    problems = []
    if preparation.mean_image is not None:
        problems.append(
            "it knows a mean for each channel, none for each pixel; take the channels' means of the mean image"
        )
    if preparation.channels_last:
        problems.append("it feeds the channels first")
    if preparation.resize is not None and preparation.resize.fit != "squash" and preparation.crop is None:
        problems.append(f"'{preparation.resize}' gives pictures of different sizes")
    return problems


def _geometry(preparation: Preparation) -> list[str]:
    """Returns the lines of sizes; where every picture has its own size before the crop, the host cuts too."""
    resize, crop = preparation.resize, preparation.crop
    if resize is None or resize.fit != "squash":
        size = () if crop is None else (crop.width, crop.height)
        return [f"src_image_size_{side}: {value}" for side, value in zip("wh", size, strict=False)]
    lines = [f"src_image_size_w: {resize.width}", f"src_image_size_h: {resize.height}"]
    if crop is not None:
        window = crop.window(resize.height, resize.width)
        lines += ["crop: true", f"load_start_pos_w: {window.left}", f"load_start_pos_h: {window.top}"]
        lines += [f"crop_size_w: {crop.width}", f"crop_size_h: {crop.height}"]
    return lines


def _full(values: Sequence[float], channels: int, nothing: float) -> list[float]:
    found = list(values) or [nothing]
    return found * channels if len(found) == 1 else found
