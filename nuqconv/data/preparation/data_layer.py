"""The data layer of a train_val.prototxt: where its data are, and what Caffe does with them in the TEST phase.

Source: the behaviour of Caffe's DataLayer, ImageDataLayer, HDF5DataLayer and DataTransformer, and of SSD's AnnotatedDataLayer; checked against
real Caffe in ``tests/data/test_against_caffe.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nuqconv.data.preparation.steps import Crop, MeanImage, Resize
from nuqconv.data.preparation.whole import Preparation
from nuqconv.errors import ConfigError, FormatError, ModelError
from nuqconv.frontends.caffe.data_layers import is_data_layer
from nuqconv.frontends.caffe.fields import Fields
from nuqconv.frontends.caffe.phase import NetState, is_included
from nuqconv.frontends.caffe.prototxt import LayerText, read_prototxt

__all__ = ["DataLayer", "read_data_layer"]

_PARAMS: Mapping[str, str] = {
    "Data": "data_param",
    "AnnotatedData": "data_param",
    "ImageData": "image_data_param",
    "HDF5Data": "hdf5_data_param",
}
_OWN = frozenset(("name", "type", "top", "include", "exclude", "phase", "transform_param", "annotated_data_param"))
_KNOWN: Mapping[str, frozenset[str]] = {
    "data_param": frozenset(("source", "batch_size", "backend", "rand_skip", "prefetch", "scale", "mean_file", "crop_size", "mirror")),
    "image_data_param": frozenset(
        (
            "source", "batch_size", "rand_skip", "shuffle", "new_height", "new_width", "is_color", "root_folder", "scale", "mean_file",
            "crop_size", "mirror",
        )
    ),
    "hdf5_data_param": frozenset(("source", "batch_size", "shuffle")),
    "transform_param": frozenset(("scale", "mirror", "crop_size", "mean_file", "mean_value", "force_color", "force_gray", "resize_param")),
    "resize_param": frozenset(("prob", "resize_mode", "height", "width", "interp_mode")),
    "annotated_data_param": frozenset(("batch_sampler", "label_map_file", "anno_type")),
}  # fmt: skip
_METHODS = {"LINEAR": "linear", "NEAREST": "nearest", "AREA": "area"}


@dataclass(frozen=True)
class DataLayer:
    """A data layer.

    Attributes:
        path: The file.
        name: The layer.
        kind: Its type.
        line: Line of the layer.
        tops: Its blobs, those of data first, then the label.
        source: The database, list or folder that it reads, as a path that exists, or as it is written where none was found.
        root: ImageData's root_folder, put before each path of the list.
        preparation: What Caffe does with a sample.
        label_map: SSD's label_map_file, where one is named.
    """

    path: str
    name: str
    kind: str
    line: int
    tops: tuple[str, ...]
    source: Path
    root: str
    preparation: Preparation
    label_map: Path | None = None


def read_data_layer(path: str | Path) -> DataLayer:
    """Reads the data layer that a net has in the TEST phase.

    Files that it names are looked for from the working directory, then from the folder of the .prototxt and the folders above it: Caffe is run
    from the folder that they are relative to.

    Raises:
        ConfigError: There is none, or more than one, or it says what is not known; all faults are named with their lines.
        FormatError: A file cannot be read.
    """
    definition = read_prototxt(path)
    layers = [item for item in definition.layers if _is_read(item, str(path))]
    if len(layers) != 1:
        found = ", ".join(f"'{item.message.name}' ({item.message.type}, line {item.line})" for item in layers) or "none"
        raise ConfigError(f"{path}: expected one data layer in the TEST phase (of {', '.join(_PARAMS)}), found {found}")
    return _Reader(str(path), layers[0]).read()


def _is_read(layer: LayerText, path: str) -> bool:
    try:
        return is_data_layer(layer.message.type) and is_included(layer.message, NetState())
    except ModelError as error:
        raise ConfigError(f"{path}:{layer.line}: {error}") from error


class _Reader:
    def __init__(self, path: str, layer: LayerText) -> None:
        self.path, self.layer = path, layer
        self.kind = str(layer.message.type)
        self.problems: list[str] = []
        self.notes: list[str] = []

    def read(self) -> DataLayer:
        where = f"{self.path}:{self.layer.line}: layer '{self.layer.message.name}'"
        param = _PARAMS.get(self.kind)
        if param is None:
            raise ConfigError(f"{where} is of type {self.kind}, which reads no file; read are {', '.join(_PARAMS)}")
        fields = self.layer.fields
        self._check("layer", fields, _OWN | {param})
        own, transform = fields.message(param), fields.message("transform_param")
        for name in (param, "transform_param", "annotated_data_param"):
            self._check(name, fields.message(name), _KNOWN[name])
        self._check("resize_param", transform.message("resize_param"), _KNOWN["resize_param"])
        if self.kind == "HDF5Data" and transform.items:
            self.problems.append("HDF5Data has no transform_param: Caffe stops there")
        source = own.scalars("source")
        if not source:
            self.problems.append(f"{param} names no source")
        if (own.scalars("backend") or ["LMDB"])[-1] not in ("LMDB", "1") and self.kind in ("Data", "AnnotatedData"):
            self.problems.append("backend is LEVELDB, which is not read; convert it to LMDB")
        elif self.kind in ("Data", "AnnotatedData") and not own.scalars("backend"):
            self.problems.append(
                "backend is LEVELDB (Caffe's default), which is not read; convert it to LMDB and say backend: LMDB"
            )
        for name in ("shuffle", "rand_skip"):
            if (own.scalars(name) or ["0"])[-1] not in ("0", "false", "False", "f"):
                self.notes.append(f"{name} is not done: the samples come in the order of the source")
        preparation = self._preparation(own, transform)
        if self.problems:
            raise ConfigError(f"{where} cannot be taken as the source and preparation of data", self.problems)
        labels = fields.message("annotated_data_param").scalars("label_map_file")
        return DataLayer(
            path=self.path,
            name=str(self.layer.message.name),
            kind=self.kind,
            line=self.layer.line,
            tops=tuple(self.layer.message.top),
            source=self._found(source[-1]),
            root=(own.scalars("root_folder") or [""])[-1],
            preparation=preparation,
            label_map=self._found(labels[-1]) if labels else None,
        )

    def _preparation(self, own: Fields, transform: Fields) -> Preparation:
        # The old form had them beside the source; they go first, as in Caffe's upgrade.
        both = Fields((*transform.items, *(item for item in own.items if item.name in _KNOWN["transform_param"])))
        if both.flag("mirror"):
            self.notes.append("mirror is not done: Caffe mirrors pictures at random, in the TEST phase too")
        crop = both.integer("crop_size")
        means = self._floats(both, "mean_value")
        files = both.scalars("mean_file")
        scale = self._floats(both, "scale")[-1:]
        colour, resize = self._colour(own, both), self._resize(own, both)
        if self.problems:
            return Preparation()
        return Preparation(
            colour=colour,
            resize=resize,
            crop=Crop(crop, crop) if crop else None,
            mean=tuple(means),
            mean_image=MeanImage.read(self._found(files[-1]), files[-1]) if files else None,
            scale=() if scale == [1.0] else tuple(scale),
            notes=tuple(self.notes),
        )

    def _colour(self, own: Fields, transform: Fields) -> str:
        if self.kind == "ImageData":
            return "bgr" if own.flag("is_color", default=True) else "gray"
        colour, gray = (transform.flag(name) for name in ("force_color", "force_gray"))
        if colour and gray:
            self.problems.append("force_color and force_gray exclude each other")
        return "bgr" if colour else "gray" if gray else "native"

    def _resize(self, own: Fields, transform: Fields) -> Resize | None:
        if self.kind == "ImageData":
            height, width = own.integer("new_height"), own.integer("new_width")
            if bool(height) != bool(width):
                self.problems.append(f"new_height is {height} and new_width {width}; Caffe wants both or none")
                return None
            return Resize(height, width) if height else None
        fields = transform.message("resize_param")
        if not fields.items:
            return None
        mode, methods = (fields.scalars("resize_mode") or ["WARP"])[-1], fields.scalars("interp_mode") or ["LINEAR"]
        height, width = fields.integer("height"), fields.integer("width")
        if mode not in ("WARP", "1"):
            self.problems.append(f"resize_mode is {mode}, only WARP is read")
        if len(methods) > 1 or methods[-1] not in _METHODS:
            self.problems.append(
                f"interp_mode is {', '.join(methods)}, expected one of {', '.join(_METHODS)}; of several Caffe draws one at random"
            )
        if not height or not width:
            self.problems.append("resize_param has no height and width")
        if (self._floats(fields, "prob") or [1.0])[-1] != 1:
            self.problems.append("prob of resize_param is not 1, so that Caffe resizes at random")
        return None if self.problems else Resize(height, width, _METHODS[methods[-1]])

    def _floats(self, fields: Fields, name: str) -> list[float]:
        try:
            return [float(text.rstrip("fF")) for text in fields.scalars(name)]
        except ValueError:
            self.problems.append(f"{name} is {', '.join(fields.scalars(name))}, expected numbers")
            return []

    def _check(self, name: str, fields: Fields, known: Iterable[str]) -> None:
        known = frozenset(known)
        self.problems += [
            f"{self.path}:{self.layer.line + item.line - 1}: '{item.name}' of {name} is not known here"
            for item in fields.items
            if item.name not in known
        ]

    def _found(self, written: str) -> Path:
        """Returns where a file is that the layer names."""
        if not written:
            raise FormatError(f"{self.path}:{self.layer.line}: a file is named by an empty text")
        parents = Path(self.path).absolute().parents
        return next(
            (place for place in (Path(written), *(parent / written for parent in parents)) if place.exists()),
            Path(written),
        )
