"""Pictures in another size held against OpenCV 4.10."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from nuqconv.data.resize import METHODS, Window, resize
from nuqconv.errors import ConfigError

FLAGS = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA}


def size(rng) -> int:
    """Sizes of one pixel, of few and of many."""
    return int((1, rng.integers(1, 6), rng.integers(1, 40), rng.integers(1, 160))[rng.integers(4)])


def drawn(rng, method: str) -> tuple[np.ndarray, int, int]:
    """A picture and the size that it gets: smaller, larger, or a whole fraction or multiple of it."""
    height, width, tall, wide = (size(rng) for _ in range(4))
    kind = rng.random()
    if kind < 0.1:
        tall, wide = height * int(rng.integers(1, 4)), width * int(rng.integers(1, 4))
    elif kind < 0.25:
        height, width = (side * int(rng.integers(1, 6)) for side in (min(tall, 60), min(wide, 60)))
        tall, wide = min(tall, 60), min(wide, 60)
    shape = (height, width, int(rng.choice([1, 3, 4])))
    steep = rng.random() < 0.2
    return (rng.choice([0, 255], shape) if steep else rng.integers(0, 256, shape)).astype(np.uint8), tall, wide


@pytest.mark.parametrize(("method", "count"), [("linear", 10_000), ("nearest", 3_000), ("area", 3_000)])
def test_random_shapes_to_the_bit(method, count):
    rng = np.random.default_rng(5)
    for number in range(count):
        picture, height, width = drawn(rng, method)
        wanted = cv2.resize(picture, (width, height), interpolation=FLAGS[method]).reshape(height, width, -1)
        found = resize(picture, height, width, method)
        assert np.array_equal(found, wanted), (number, picture.shape, height, width)


@pytest.mark.parametrize("method", METHODS)
def test_a_window_is_a_part_of_the_whole(method):
    rng = np.random.default_rng(6)
    for _ in range(200):
        picture, height, width = drawn(rng, method)
        top, left = int(rng.integers(height)), int(rng.integers(width))
        window = Window(top, left, int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1)))
        whole = resize(picture, height, width, method)
        part = whole[top : top + window.height, left : left + window.width]
        np.testing.assert_array_equal(resize(picture, height, width, method, window), part)


def test_pillow_is_pillow():
    rng = np.random.default_rng(7)
    picture = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(picture).resize((31, 90), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(picture, 90, 31, "pillow"), wanted)


def test_pictures_without_an_axis_of_channels():
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(resize(picture, 7, 5), cv2.resize(picture, (5, 7)))


def test_what_is_no_size_or_method_is_refused():
    picture = np.zeros((3, 4, 3), np.uint8)
    with pytest.raises(ConfigError, match="'cubic' is not known; known are linear, nearest, area, pillow"):
        resize(picture, 2, 2, "cubic")
    with pytest.raises(ConfigError, match="all sizes must be at least 1"):
        resize(picture, 0, 2)
    with pytest.raises(ConfigError, match="is not within 2x2"):
        resize(picture, 2, 2, "linear", Window(1, 0, 2, 2))
