"""Images in, and arrays to and from Caffe's messages, as ``caffe.io`` has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nuqconv.errors import RuntimeMissingError
from nuqconv.pycaffe.proto import caffe_pb2
from nuqconv.pycaffe.sampling import resize, zoom

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize",
    "resize_image",
]

Array = npt.NDArray[Any]

# What skimage weighs red, green and blue with (ITU-R BT.709).
_LUMINANCE = (0.2125, 0.7154, 0.0721)
_IMAGE_CHANNELS = (1, 3)


def blobproto_to_array(blob: Any, return_diff: bool = False) -> Array:
    """Returns the numbers of a BlobProto, or its gradients, in its shape."""
    numbers = np.array(blob.diff if return_diff else blob.data)
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        return numbers.reshape([getattr(blob, name) for name in legacy])
    return numbers.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Any:
    """Returns an array, and gradients of the same shape, as a BlobProto."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """Returns arrays as the bytes of a BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend([array_to_blobproto(arr) for arr in arraylist])
    found: bytes = vector.SerializeToString()
    return found


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:  # noqa: A002 - pycaffe's signature
    """Returns the arrays of a BlobProtoVector's bytes."""
    vector = caffe_pb2.BlobProtoVector()
    vector.ParseFromString(str)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Any:
    """Returns an image (C, H, W) as a Datum: bytes where it is uint8, else floats.

    Raises:
        ValueError: It has not three axes.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> Array:
    """Returns the image of a Datum (C, H, W), uint8 or float64."""
    numbers: Array = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float64)
    return np.array(numbers.reshape(datum.channels, datum.height, datum.width))


class Transformer:
    """Turns images (H, W, K) into what an input blob takes.

    `preprocess` does, as far as each is set: resize to the input, transpose, swap channels, raw scale, subtract the mean, input scale.

    Args:
        inputs: Shape of each input blob.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def _check(self, name: str) -> None:
        if name not in self.inputs:
            raise Exception(f"{name} is not one of the net inputs: {self.inputs}")  # noqa: TRY002 - pycaffe's own kind

    def preprocess(self, in_: str, data: Array) -> Array:
        """Returns an image as the input takes it.

        As in pycaffe, scale and mean are applied in place where nothing before them has made a copy: a float32 image of the input's own size
        whose channels are not swapped is changed.

        Args:
            in_: Name of the input.
            data: The image, (H, W, K).

        Returns:
            float32, (K, H, W) if a transpose is set.

        Raises:
            Exception: There is no such input.
        """
        self._check(in_)
        found = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if found.shape[:2] != size:
            found = resize_image(found, size)
        if self.transpose.get(in_) is not None:
            found = found.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            found = found[self.channel_swap[in_], :, :]
        if self.raw_scale.get(in_) is not None:
            found *= self.raw_scale[in_]
        if self.mean.get(in_) is not None:
            found -= self.mean[in_]
        if self.input_scale.get(in_) is not None:
            found *= self.input_scale[in_]
        return found

    def deprocess(self, in_: str, data: Array) -> Array:
        """Returns an input as an image again, without the batch axis; nothing is resized.

        Raises:
            Exception: There is no such input.
        """
        self._check(in_)
        found: Array = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            found /= self.input_scale[in_]
        if self.mean.get(in_) is not None:
            found += self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            found /= self.raw_scale[in_]
        if self.channel_swap.get(in_) is not None:
            found = found[np.argsort(self.channel_swap[in_]), :, :]
        if self.transpose.get(in_) is not None:
            found = found.transpose(np.argsort(self.transpose[in_]))
        return found

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Sets the order of axes: (2, 0, 1) makes (K, H, W) of (H, W, K).

        Raises:
            Exception: There is no such input, or the number of axes differs.
        """
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")  # noqa: TRY002
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Sets the order of channels: (2, 1, 0) makes BGR of RGB.

        Raises:
            Exception: There is no such input, or the number of channels differs.
        """
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")  # noqa: TRY002
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Sets what is multiplied before the mean is subtracted: 255 for images in [0, 1] and a model of [0, 255].

        Raises:
            Exception: There is no such input.
        """
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """Sets what is subtracted: one number a channel, or an image, which is resized to the input if need be.

        Raises:
            Exception: There is no such input.
            ValueError: The number of channels or of axes differs.
        """
        self._check(in_)
        shape = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if mean.shape[0] != shape[0]:
                raise ValueError("Mean channels incompatible with input.")
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            own = (1, *mean.shape) if mean.ndim == 2 else mean.shape
            if len(own) != 3:
                raise ValueError("Mean shape invalid")
            if own != shape:
                low, high = mean.min(), mean.max()
                scaled = ((mean - low) / (high - low)).transpose((1, 2, 0))
                mean = resize_image(scaled, shape[1:]).transpose((2, 0, 1)) * (high - low) + low
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Sets what is multiplied last, behind the mean.

        Raises:
            Exception: There is no such input.
        """
        self._check(in_)
        self.input_scale[in_] = scale


def load_image(filename: str | os.PathLike[str], color: bool = True) -> Array:
    """Reads an image file.

    Args:
        filename: The file; any format that Pillow reads.
        color: Whether to return RGB, else grey.

    Returns:
        float32 in [0, 1], (H, W, 3) or (H, W, 1).

    Raises:
        RuntimeMissingError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415 - optional
    except ImportError as error:
        raise RuntimeMissingError("caffe.io.load_image needs Pillow: pip install 'nuqconv[data]'") from error
    with Image.open(filename) as image:
        mode = _MODES.get(image.mode)
        pixels = np.asarray(image.convert(mode(image)) if mode else image)
    numbers = _as_floats(pixels)
    if not color and numbers.ndim == 3:
        if numbers.shape[2] == 4:
            # Transparent pixels are seen on white.
            numbers = np.clip(numbers[..., :3] * numbers[..., 3:] + (1 - numbers[..., 3:]), 0, 1)
        numbers = numbers @ np.array(_LUMINANCE)
    numbers = numbers.astype(np.float32)
    if numbers.ndim == 2:
        return np.tile(numbers[:, :, np.newaxis], (1, 1, 3 if color else 1))
    return numbers[:, :, :3]


# What a picture of some kinds becomes: palettes are looked up, and colours that are not RGB are turned into that.
_MODES: Mapping[str, Callable[[Any], str]] = {
    "P": lambda image: "RGBA" if "transparency" in image.info else "RGB",
    "LA": lambda _image: "RGBA",
    "PA": lambda _image: "RGBA",
    "CMYK": lambda _image: "RGB",
    "YCbCr": lambda _image: "RGB",
}


def _as_floats(pixels: Array) -> Array:
    """Integers from 0 to 1, as skimage's ``img_as_float``."""
    if pixels.dtype == np.bool_ or pixels.dtype.kind == "f":
        return pixels.astype(np.float64)
    # Pillow has 16 bits of grey in 32.
    largest = 255 if pixels.dtype == np.uint8 else 65535
    return pixels.astype(np.float64) / largest


def resize_image(im: Array, new_dims: Sequence[int], interp_order: int = 1) -> Array:
    """Resizes an image.

    Args:
        im: (H, W, K), any number of channels.
        new_dims: New height and width.
        interp_order: Order of the interpolation; above 1 it needs scipy.

    Returns:
        float32.
    """
    height, width = (int(size) for size in new_dims)
    if im.shape[-1] not in _IMAGE_CHANNELS:
        return zoom(im, (height, width), interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if not high > low:
        return np.full((height, width, im.shape[-1]), low, np.float32)
    scaled = resize((im - low) / (high - low), (height, width), interp_order)
    resized: Array = (scaled * (high - low) + low).astype(np.float32)
    return resized


class _Sized(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def oversample(images: _Sized, crop_dims: Sequence[int]) -> Array:
    """Cuts ten crops out of each image: the corners, the centre, and their mirror images.

    Args:
        images: Images (H, W, K) of one size.
        crop_dims: Height and width of a crop.

    Returns:
        float32, (10 N, height, width, K).
    """
    height, width = (int(size) for size in crop_dims)
    rows, columns, channels = images[0].shape
    corners = [(top, left) for top in (0, rows - height) for left in (0, columns - width)]
    corners.append((int(rows / 2 - height / 2), int(columns / 2 - width / 2)))
    found = np.empty((len(images), 10, height, width, channels), np.float32)
    for number in range(len(images)):
        for place, (top, left) in enumerate(corners):
            found[number, place] = images[number][top : top + height, left : left + width]
    found[:, 5:] = found[:, :5, :, ::-1]
    return found.reshape(-1, height, width, channels)
