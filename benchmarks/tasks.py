"""Trained networks with a task: what they are asked to find, and pictures to ask it of.

Nothing that is evaluated is used to calibrate. Pictures are photographs of scikit-image and scikit-learn, or are drawn: faces of scikit-image's
subset of LFW and QR codes put on photographs, plates with letters. Truth is what the float network says, so no labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import io
from skimage.data import data_dir, lfw_subset
from sklearn.datasets import load_sample_image

from cases import LENET
from nuqconv.data.datafile import read_data
from real_models import model_files

__all__ = ["TASKS", "Task"]

Images = NDArray[np.float32]
_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Task:
    """A network and what is asked of it.

    Attributes:
        name: Its name in tables.
        files: Returns its .prototxt and .caffemodel.
        draw: Returns pictures as the network takes them: how many, whether they are to calibrate on, and a seed.
        metric: The metric of the task, by what the float network says.
        shown: What the metric counts, for people.
        errors: Blobs whose relative error is measured besides.
        sizes: Numbers of pictures to calibrate on and to evaluate.
        batch_size: Pictures in a batch.
        decode: Makes labels of the float network's outputs, where the metric needs them.
    """

    name: str
    files: Callable[[], tuple[Path, Path]]
    draw: Callable[[int, bool, int], Images]
    metric: str
    shown: str
    errors: tuple[str, ...]
    sizes: tuple[int, int]
    batch_size: int = 8
    decode: Callable[[dict[str, NDArray[np.float32]]], NDArray[np.int64]] | None = None


_CALIBRATION = (
    "coffee.png",
    "astronaut.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
    "coins.png",
    "brick.png",
    "page.png",
    "color.png",
)
_EVALUATION = ("chelsea.png", "rocket.jpg", "motorcycle_left.png", "camera.png", "ihc.png", "clock_motion.png")


@cache
def _photographs(calibrate: bool) -> list[NDArray[np.uint8]]:
    found = [io.imread(f"{data_dir}/{name}") for name in (_CALIBRATION if calibrate else _EVALUATION)]
    found = [np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3] for image in found]
    return found if calibrate else [*found, *(load_sample_image(f"{name}.jpg") for name in ("china", "flower"))]


def _cuts(size: int, count: int, calibrate: bool, seed: int) -> NDArray[np.uint8]:
    """Returns square cuts of photographs, some mirrored, RGB (count, size, size, 3)."""
    rng = np.random.default_rng((seed, calibrate))
    images = _photographs(calibrate)
    found = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        image = images[number % len(images)]
        side = int(rng.uniform(0.6, 1.0) * min(image.shape[:2]))
        top, left = (int(rng.integers(0, extent - side + 1)) for extent in image.shape[:2])
        cut = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        found[number] = np.clip(cut * rng.uniform(0.8, 1.2), 0, 255)
    return found


def _pasted(
    cuts: NDArray[np.uint8], things: list[NDArray[np.uint8]], rng: np.random.Generator, sides: tuple[int, int]
) -> None:
    """Puts one thing, resized and turned a little, on each picture."""
    size = cuts.shape[1]
    for cut in cuts:
        thing = things[int(rng.integers(len(things)))]
        side = int(rng.integers(*sides))
        thing = cv2.resize(thing, (side, side), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(-12, 12)), 1)
        turn[:, 2] += rng.integers(0, size - side, 2)
        mask = cv2.warpAffine(np.full((side, side), 255, np.uint8), turn, (size, size)) > 127
        cut[mask] = cv2.warpAffine(thing, turn, (size, size))[mask]
        cut[...] = np.clip(cut + rng.normal(0, 4, cut.shape), 0, 255)


def _objects(count: int, calibrate: bool, seed: int) -> Images:
    cuts = _cuts(300, count, calibrate, seed).transpose(0, 3, 1, 2)[:, ::-1]
    return (cuts - np.float32(127.5)) * np.float32(0.007843)


def _nsfw(count: int, calibrate: bool, seed: int) -> Images:
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    return _cuts(224, count, calibrate, seed).transpose(0, 3, 1, 2)[:, ::-1] - mean


def _faces(count: int, calibrate: bool, seed: int) -> Images:
    cuts = _cuts(300, count, calibrate, seed)
    faces = (lfw_subset()[:100] * 255).astype(np.uint8)
    own = [np.repeat(face[..., None], 3, 2) for face in (faces[::4] if calibrate else np.delete(faces, np.s_[::4], 0))]
    _pasted(cuts, own, np.random.default_rng((seed, calibrate, 1)), (50, 200))
    return cuts.transpose(0, 3, 1, 2)[:, ::-1] - np.array([104, 177, 123], np.float32).reshape(1, 3, 1, 1)


def _codes(count: int, calibrate: bool, seed: int) -> Images:
    rng = np.random.default_rng((seed, calibrate, 2))
    encoder = cv2.QRCodeEncoder.create()
    codes = []
    for _ in range(16):
        code = encoder.encode("".join(rng.choice(list(_LETTERS), int(rng.integers(8, 60)))))
        code = cv2.copyMakeBorder(code, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=255)
        codes.append(np.repeat(cv2.resize(code, (200, 200), interpolation=cv2.INTER_NEAREST)[..., None], 3, 2))
    cuts = _cuts(384, count, calibrate, seed)
    _pasted(cuts, codes, rng, (60, 260))
    return np.stack([cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY) for cut in cuts])[:, None] / np.float32(255)


def _plates(count: int, calibrate: bool, seed: int) -> Images:
    rng = np.random.default_rng((seed, calibrate, 3))
    found = np.empty((count, 3, 160, 40), np.float32)
    font = ImageFont.load_default(34)
    for plate in found:
        image = Image.new(
            "RGB", (180, 52), (int(rng.integers(0, 40)), int(rng.integers(30, 90)), int(rng.integers(120, 220)))
        )
        text = "".join(rng.choice(list(_LETTERS[10:]), 2)) + "".join(rng.choice(list(_LETTERS), 5))
        pen, place = ImageDraw.Draw(image), 8.0
        for letter in text:
            pen.text((place, 5), letter, (235, 235, 235), font=font)
            place += 23.5
        picture = np.asarray(image)[:, :, ::-1]
        corners = np.array([[0, 0], [180, 0], [180, 52], [0, 52]], np.float32)
        moved = (corners + rng.normal(0, 2.5, (4, 2))).astype(np.float32)
        picture = cv2.warpPerspective(
            picture, cv2.getPerspectiveTransform(corners, moved), (180, 52), borderMode=cv2.BORDER_REPLICATE
        )
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.6)))
        picture = np.clip(picture * rng.uniform(0.6, 1.15) + rng.normal(0, 8, picture.shape), 0, 255)
        # The network reads a plate that lies on its side: first the letters' axis.
        plate[...] = cv2.resize(picture, (160, 40)).transpose(2, 1, 0) / 255
    return found


def _plate_text(outputs: dict[str, NDArray[np.float32]]) -> NDArray[np.int64]:
    (scores,) = outputs.values()
    best = scores.reshape(*scores.shape[:2], -1).argmax(axis=1)
    found = np.full((len(best), best.shape[1]), -1, np.int64)
    blank = scores.shape[1] - 1
    for row, classes in zip(found, best, strict=True):
        kept = [now for now, before in zip(classes, (blank, *classes), strict=False) if now not in (before, blank)]
        row[: len(kept)] = kept
    return found


def _digits(count: int, calibrate: bool, seed: int) -> Images:
    data = read_data(LENET / ("calibration.npz" if calibrate else "test_set.npz"), ["data"]).inputs["data"]
    return np.asarray(data)[np.random.default_rng(seed).permutation(len(data))[:count]]


_BOXES = ("mbox_loc", "mbox_conf")
TASKS = (
    Task("MobileNetSSD", lambda: model_files("mobilenet_ssd"), _objects, "detections", "boxes", _BOXES, (64, 256)),
    Task("res10 face", lambda: model_files("face"), _faces, "detections:score=0.5", "faces", _BOXES, (64, 256)),
    Task("WeChat detect", lambda: model_files("wechat"), _codes, "detections", "QR codes", _BOXES, (64, 256)),
    Task(
        "plate",
        lambda: model_files("plate"),
        _plates,
        "ctc:layout=nct,blank=-1",
        "plates read",
        ("conv_class_11",),
        (64, 512),
        32,
        _plate_text,
    ),
    Task("nsfw", lambda: model_files("nsfw"), _nsfw, "agreement", "same answer", ("fc_nsfw",), (64, 256)),
    Task(
        "LeNet",
        lambda: (LENET / "deploy.prototxt", LENET / "lenet.caffemodel"),
        _digits,
        "agreement",
        "same digit",
        ("ip2",),
        (256, 5000),
        128,
    ),
)
