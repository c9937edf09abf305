"""Labels that stand apart from the samples, and truths in files: boxes of VOC's XML, maps of classes, names of classes."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.data.pictures import opened_picture, read_picture_file
from nuqconv.errors import EvaluatorError, FormatError
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.frontends.caffe.fields import parse_fields
from nuqconv.search.metrics.truth import Boxes

__all__ = [
    "as_labels",
    "label_bytes",
    "label_files",
    "read_class_map",
    "read_classes",
    "read_labels",
    "read_lines",
    "read_voc",
]

_MAPS = (".png", ".bmp")


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Returns the lines of a text file that are not empty, with their numbers; Windows line ends are as good.

    Raises:
        FormatError: It cannot be read, or is no text.
    """
    try:
        text = read_bounded(path, MOST_TEXT).decode("utf-8-sig")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is no text file (byte {error.start} is not UTF-8)") from error
    return [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def as_labels(texts: Sequence[str]) -> list[int] | list[str]:
    """Returns classes where all texts are whole numbers, else the texts."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in texts):
        return [int(text) for text in texts]
    return list(texts)


def read_labels(path: str | Path, names: Sequence[str]) -> list[Any]:
    """Reads the labels of samples from a file of their own.

    Args:
        path: A text with one label a line in the order of the samples, or ``name label`` on each line in any order; or a .npy of whole numbers.
        names: The samples; a line names one by its path, the end of it, or its name without folder and suffix.

    Returns:
        A label for each sample: all whole numbers, or all texts.

    Raises:
        FormatError: It cannot be read, or labels are missing or too many; all of them are named.
    """
    if Path(path).suffix.lower() == ".npy":
        return _from_npy(path, len(names))
    lines = read_lines(path)
    named = _named(lines, names)
    if named is not None:
        return list(named(path))
    if len(lines) != len(names):
        raise FormatError(f"{path}: has {len(lines)} labels for {len(names)} samples")
    return list(as_labels([line.strip() for _, line in lines]))


def _from_npy(path: str | Path, count: int) -> list[Any]:
    from nuqconv.data.arrays import read_npy  # noqa: PLC0415  (it builds on the labels)

    found = read_npy(path)
    if found.dtype.kind not in "fiub" or found.size != count or not np.array_equal(found, np.trunc(found)):
        raise FormatError(f"{path}: holds {found.shape} of {found.dtype}, expected {count} whole numbers")
    labels: list[Any] = found.reshape(-1).astype(np.int64).tolist()
    return labels


def _named(lines: Sequence[tuple[int, str]], names: Sequence[str]) -> Any:
    """Returns what gives the labels where lines name samples; None where they do not."""
    places = _places(names)
    pairs = [(number, *_split(line, places)) for number, line in lines]
    if not any(len(places.get(name, ())) == 1 for _, name, _ in pairs):
        return None

    def labels(path: str | Path) -> list[Any]:
        found: dict[int, str] = {}
        problems = []
        for number, name, label in pairs:
            spots = places.get(name, ())
            if len(spots) != 1:
                problems.append(f"line {number}: '{name}' names {len(spots) or 'none'} of the samples")
            elif spots[0] in found:
                problems.append(f"line {number}: '{name}' has a label already")
            else:
                found[spots[0]] = label
        problems += [f"{name} has no label" for place, name in enumerate(names) if place not in found]
        if problems:
            raise FormatError(f"{path}: the labels do not fit the {len(names)} samples", problems)
        return list(as_labels([found[place] for place in range(len(names))]))

    return labels


def _split(line: str, places: Mapping[str, list[int]]) -> tuple[str, str]:
    """Returns name and label: the longest beginning up to a blank that names a sample, else all up to the last blank."""
    line = line.strip()
    if "\t" in line:
        name, _, label = line.partition("\t")
        return name.strip(), label.strip()
    end = line.rfind(" ")
    while end > 0:
        if line[:end].rstrip() in places:
            return line[:end].rstrip(), line[end:].strip()
        end = line.rfind(" ", 0, end)
    name, _, label = line.rpartition(" ")
    return name.strip(), label.strip()


def _places(names: Sequence[str]) -> Mapping[str, list[int]]:
    """Returns for each way to name a sample the samples that it names."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        path = PurePosixPath(name.replace("\\", "/"))
        parts = path.parts
        ways = {"/".join(parts[start:]) for start in range(len(parts))} | {name, path.stem}
        for way in ways:
            places.setdefault(way, []).append(place)
    return places


def label_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Returns the file of each sample's truth: the one with the sample's name, an .xml or a map of classes.

    Raises:
        FormatError: Some have none; all of them are named.
    """
    found, problems = [], []
    for name in names:
        stem = Path(name).stem
        path = next(
            (folder / f"{stem}{suffix}" for suffix in (".xml", *_MAPS) if (folder / f"{stem}{suffix}").is_file()), None
        )
        if path is None:
            problems.append(f"{name} has no {stem}.xml or {stem}.png there")
        else:
            found.append(path)
    if problems:
        raise FormatError(f"{folder}: labels are missing", problems)
    return found


def label_bytes(label: Any) -> bytes:
    """Returns labels, or anything that is made of plain values and arrays, as bytes that tell them from others."""
    if isinstance(label, np.ndarray) and label.dtype.kind != "O":
        return f"array {label.dtype.str} {label.shape};".encode() + np.ascontiguousarray(label).tobytes()
    if label is None or isinstance(label, bool | int | float | str | bytes | np.generic):
        return f"{type(label).__name__} {label!r};".encode("utf-8", "surrogatepass")
    if isinstance(label, tuple | list | np.ndarray):
        return f"sequence {len(label)};".encode() + b"".join(map(label_bytes, label))
    return f"{type(label).__name__};".encode() + b"".join(map(label_bytes, vars(label).values()))


def read_classes(path: str | Path) -> dict[str, int]:
    """Reads names of classes: SSD's labelmap.prototxt, or a text with a name on each line, the first of which is class 0.

    Raises:
        FormatError: It cannot be read, or says a name twice.
    """
    if Path(path).suffix.lower() == ".prototxt":
        text = "\n".join(line for _, line in read_lines(path))
        items = parse_fields(text).messages("item")
        pairs = [(name, item.integer("label", -1)) for item in items for name in item.scalars("name")]
    else:
        pairs = [(line.strip(), place) for place, (_, line) in enumerate(read_lines(path))]
    problems = [f"'{name}' is said twice" for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    problems += [f"'{name}' has no label" for name, label in pairs if label < 0]
    if problems or not pairs:
        raise FormatError(f"{path}: is no list of classes", problems or ["it names none"])
    return dict(pairs)


def read_voc(path: str | Path, classes: Mapping[str, int]) -> Boxes:
    """Reads the objects of a picture from an XML as PASCAL VOC has them.

    Args:
        path: The file.
        classes: The number of each class.

    Raises:
        FormatError: It cannot be read, has no size, or objects are wrong; all of them are named.
    """
    try:
        data = read_bounded(path, MOST_TEXT)
        root = ET.fromstring(data, ET.XMLParser(target=_PlainTree()))  # noqa: S314  (without entities)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ET.ParseError, ValueError) as error:
        raise FormatError(f"{path}: is no XML: {error}") from error
    problems: list[str] = []
    height, width = (_number(root, f"size/{name}", problems) for name in ("height", "width"))
    if not problems and (height < 1 or width < 1):
        problems.append(f"the picture's size is {height:g}x{width:g}")
    rows, labels, difficult = [], [], []
    for place, item in enumerate(root.iter("object")):
        name = (item.findtext("name") or "").strip()
        if name not in classes:
            problems.append(f"object {place}: '{name}' is none of the classes {', '.join(list(classes)[:30])}")
        labels.append(classes.get(name, 0))
        rows.append([_number(item, f"bndbox/{side}", problems) for side in ("xmin", "ymin", "xmax", "ymax")])
        difficult.append((item.findtext("difficult") or "0").strip() == "1")
    if not problems:
        try:
            boxes = np.array(rows, np.float64).reshape(-1, 4) / np.array([width, height, width, height], np.float64)
            return Boxes(np.array(labels, np.int64), boxes, np.array(difficult, bool), size=(int(height), int(width)))
        except EvaluatorError as error:
            problems += error.problems
    raise FormatError(f"{path}: the annotation cannot be used", problems)


class _PlainTree(ET.TreeBuilder):
    """Refuses a document type, with which a file may declare entities that grow without bound."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        del public, system
        raise ValueError(f"it declares a document type ('{name}'), which an annotation does not need")


def _number(item: ET.Element, place: str, problems: list[str]) -> float:
    text = (item.findtext(place) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problems.append(f"{place} is '{text}', expected a number")
        return 0.0
    return value


def read_class_map(path: str | Path) -> NDArray[np.uint8]:
    """Reads the class of each pixel from a picture with a palette or in grey.

    Returns:
        (H, W), uint8: the numbers as they are stored, not the palette's colours.

    Raises:
        FormatError: It cannot be read, or has colours.
    """
    with opened_picture(read_picture_file(path), str(path)) as opened:
        if opened.mode not in ("P", "L", "1"):
            raise FormatError(
                f"{path}: has colours ({opened.mode}); the class of a pixel is its number in a palette, or its grey"
            )
        return np.asarray(opened.convert("L") if opened.mode == "1" else opened).astype(np.uint8)
