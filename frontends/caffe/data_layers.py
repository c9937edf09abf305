"""What layers that read a data set say of the shapes of their blobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from nuqconv.errors import FormatError
from nuqconv.frontends.caffe.fields import Fields
from nuqconv.frontends.caffe.prototxt import LayerText

__all__ = ["DataShape", "data_shape", "is_data_layer"]

Sizes = tuple[int | None, ...]


@dataclass(frozen=True)
class DataShape:
    """What is known of a shape.

    Attributes:
        sizes: The sizes, None for one that the file does not tell; None where not even their number is known.
        reason: Why ``sizes`` is None.
    """

    sizes: Sizes | None
    reason: str = ""

    def __str__(self) -> str:
        return "x".join("?" if size is None else str(size) for size in self.sizes or ())

    @property
    def example(self) -> str:
        """A whole shape that keeps what is known."""
        sizes = self.sizes if self.sizes is not None else (None,) * 4
        if len(sizes) != 4:
            return "x".join(str(size or 1) for size in sizes)
        return "x".join(str(size or typical) for size, typical in zip(sizes, (1, 3, 224, 224), strict=True))

    def with_channels(self, channels: int) -> DataShape:
        """Returns the shape with the size of axis 1."""
        sizes = self.sizes or ()
        return replace(self, sizes=(*sizes[:1], channels, *sizes[2:]))


_Rule = Callable[[Fields, int], DataShape]


def is_data_layer(layer_type: str) -> bool:
    """Returns whether layers of this type read a data set."""
    return layer_type in _RULES


def data_shape(layer: LayerText, top: int) -> DataShape:
    """Returns what a data layer says of the shape of one top.

    Args:
        layer: The layer; of a type without a rule nothing is known.
        top: Number of the top.
    """
    rule = _RULES.get(layer.message.type)
    if rule is None:
        return DataShape(
            None, "it is made by code" if layer.message.type == "Python" else "the layer type is not known"
        )
    try:
        return rule(layer.fields, top)
    except FormatError as error:
        return DataShape(None, str(error))


def _batch(fields: Fields, param: str) -> int | None:
    return fields.message(param).integer("batch_size") or None


def _crop(fields: Fields, param: str) -> int | None:
    """The old form had crop_size beside batch_size; it goes first, as in Caffe's upgrade."""
    return fields.message(param).integer("crop_size") or fields.message("transform_param").integer("crop_size") or None


def _channels(fields: Fields) -> int | None:
    transform = fields.message("transform_param")
    if transform.flag("force_color"):
        return 3
    if transform.flag("force_gray"):
        return 1
    means = len(transform.scalars("mean_value"))
    return means if means > 1 else None


def _images(param: str, fields: Fields, top: int) -> DataShape:
    """Data and WindowData: images, cut to a size or of the size that the data have; then one label each."""
    batch, crop = _batch(fields, param), _crop(fields, param)
    return DataShape((batch,) if top else (batch, _channels(fields), crop, crop))


def _image_data(fields: Fields, top: int) -> DataShape:
    param = fields.message("image_data_param")
    batch, crop = _batch(fields, "image_data_param"), _crop(fields, "image_data_param")
    if top:
        return DataShape((batch,))
    height, width = (crop or param.integer(name) or None for name in ("new_height", "new_width"))
    return DataShape((batch, 3 if param.flag("is_color", default=True) else 1, height, width))


def _annotated_data(fields: Fields, top: int) -> DataShape:
    """SSD's: images resized to one size, then the boxes of all of them."""
    if top:
        return DataShape((1, 1, None, 8))
    resize = fields.message("transform_param").message("resize_param")
    crop = _crop(fields, "data_param")
    height, width = (crop or resize.integer(name) or None for name in ("height", "width"))
    return DataShape((_batch(fields, "data_param"), _channels(fields), height, width))


def _memory_data(fields: Fields, top: int) -> DataShape:
    param = fields.message("memory_data_param")
    names = ("batch_size", "channels", "height", "width")[: 1 if top else 4]
    return DataShape(tuple(param.integer(name) or None for name in names))


def _dummy_data(fields: Fields, top: int) -> DataShape:
    """A shape, or the four legacy sizes, for each top or for all of them."""
    param = fields.message("dummy_data_param")
    shapes = [tuple(shape.integers("dim")) for shape in param.messages("shape")]
    if not shapes:
        shapes = list(zip(*(param.integers(name) for name in ("num", "channels", "height", "width")), strict=False))
    if not shapes:
        return DataShape(None, "dummy_data_param has no shape")
    return DataShape(tuple(size or None for size in shapes[top if top < len(shapes) else -1]))


def _in_files(fields: Fields, top: int) -> DataShape:
    del fields, top
    return DataShape(None, "it is that of the data in its files")


_RULES: Mapping[str, _Rule] = {
    "AnnotatedData": _annotated_data,
    "Data": partial(_images, "data_param"),
    "DummyData": _dummy_data,
    "HDF5Data": _in_files,
    "ImageData": _image_data,
    "MemoryData": _memory_data,
    "VideoData": _in_files,
    "WindowData": partial(_images, "window_data_param"),
}
