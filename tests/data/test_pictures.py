"""Decoded pictures held against OpenCV's imread."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from nuqconv.data.pictures import Channels, decode, read_picture
from nuqconv.errors import FormatError
from tests.corpus.cases.data_sets import picture as stored_png
from tests.support.datasets import image, picture

FLAGS = {
    Channels.COLOUR: cv2.IMREAD_COLOR,
    Channels.GRAY: cv2.IMREAD_GRAYSCALE,
    Channels.NATIVE: cv2.IMREAD_UNCHANGED,
}


def forms() -> dict[str, Image.Image]:
    rng = np.random.default_rng(8)
    colour = image(picture(rng, 45, 61))
    gray = colour.convert("L")
    alpha = image(picture(rng, 45, 61, 1))
    with_alpha, gray_alpha = colour.copy(), gray.copy()
    with_alpha.putalpha(alpha)
    gray_alpha.putalpha(alpha)
    found = {f"colour.{suffix}": colour for suffix in ("png", "bmp", "ppm", "tif", "jpg", "webp")}
    found |= {f"gray.{suffix}": gray for suffix in ("png", "bmp", "pgm", "tif", "jpg")}
    found |= {f"bit.{suffix}": gray.convert("1") for suffix in ("png", "bmp")}
    found |= {f"palette.{suffix}": colour.quantize(64) for suffix in ("png", "bmp")}
    found |= {"alpha.png": with_alpha, "gray_alpha.png": gray_alpha, "ink.jpg": colour.convert("CMYK")}
    deep = Image.fromarray(rng.integers(0, 65536, (45, 61)).astype(np.uint16))
    return found | {"deep.png": deep}


@pytest.mark.parametrize("name", forms())
@pytest.mark.parametrize("channels", Channels)
def test_every_form_to_the_bit(tmp_path, name, channels):
    path = tmp_path / name
    options = {"lossless": True} if name.endswith("webp") else {}
    forms()[name].save(path, **options)
    wanted = cv2.imread(str(path), FLAGS[channels])
    if wanted.dtype != np.uint8:
        with pytest.raises(FormatError, match="16 bits a channel"):
            read_picture(path, channels)
        return
    np.testing.assert_array_equal(read_picture(path, channels), wanted.reshape(*wanted.shape[:2], -1), strict=True)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_every_kind(subsampling, quality, progressive):
    data = io.BytesIO()
    pixels = picture(np.random.default_rng(quality), 41, 67)
    image(pixels).save(data, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    for channels in (Channels.COLOUR, Channels.GRAY):
        wanted = cv2.imdecode(np.frombuffer(data.getvalue(), np.uint8), FLAGS[channels])
        found = decode(data.getvalue(), channels, "it")
        np.testing.assert_array_equal(found, wanted.reshape(*wanted.shape[:2], -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_that_are_to_be_turned(orientation, kind):
    data, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image(picture(np.random.default_rng(9), 20, 30)).save(data, kind, exif=exif)
    for channels, flag in FLAGS.items():
        wanted = cv2.imdecode(np.frombuffer(data.getvalue(), np.uint8), flag)
        np.testing.assert_array_equal(
            decode(data.getvalue(), channels, "it"), wanted.reshape(*wanted.shape[:2], -1), err_msg=str(channels)
        )


def test_what_is_no_whole_picture_is_refused(tmp_path):
    whole = io.BytesIO()
    image(picture(np.random.default_rng(10), 64, 64)).save(whole, "PNG")
    for data, message in (
        (b"", "it: is empty"),
        (b"no picture", "it: is no picture that can be read"),
        (whole.getvalue()[:600], "it: is no picture that can be read"),
    ):
        with pytest.raises(FormatError, match=message):
            decode(data, Channels.COLOUR, "it")
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        read_picture(tmp_path / "none.png", Channels.COLOUR)


def test_a_picture_that_would_fill_the_memory_is_refused():
    data = io.BytesIO()
    Image.new("1", (20000, 20000)).save(data, "PNG")
    with pytest.raises(FormatError, match="decompression bomb"):
        decode(data.getvalue(), Channels.COLOUR, "it")


@pytest.mark.parametrize("channels", Channels)
@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tiff", "webp"])
def test_what_opencv_refuses_of_a_damaged_picture_is_refused(kind, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    data = cv2.imencode(f".{kind}", pixels)[1].tobytes()
    taken = []
    for place in range(len(data) - 1, len(data) // 4, -7):
        damaged = data[:place]
        if cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR) is not None:
            continue
        try:
            decode(damaged, channels, "x")
        except FormatError:
            continue
        taken.append(place)
    # What is behind the last pixel is not looked at.
    assert [place for place in taken if place < len(data) - 20] == []


@pytest.mark.parametrize("channels", Channels)
def test_a_png_with_a_damaged_stream_is_refused(channels):
    data = stored_png()
    for place in range(43, 112):
        damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        assert cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR) is None
        with pytest.raises(FormatError, match="is no picture that can be read"):
            decode(damaged, channels, "x")
