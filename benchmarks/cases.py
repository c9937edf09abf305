"""The real models, each with data and an accuracy demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuqconv.data.datafile import read_data
from nuqconv.evaluators import BatchEvaluator
from photos import CALIBRATION, EVALUATION, photos
from real_models import model_files

LENET = Path(__file__).resolve().parent.parent / "examples" / "lenet"

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A model to quantize.

    Attributes:
        name: Name in tables and file names.
        files: Returns its .prototxt and .caffemodel.
        data: Returns inputs and labels (or None) to evaluate on, and inputs to calibrate on.
        metric: Metric of the ready-made evaluators.
        demand: What is allowed: a drop for top-k, an error for output_error.
        outputs: Blobs to evaluate, or None for the net's own.
        batch_size: Samples in a batch.
        batch_num: Batches to calibrate on.
        stock: Whether the Caffe that the tests use has all its layers.
    """

    name: str
    files: Callable[[], tuple[Path, Path]]
    data: Callable[[], tuple[Images, NDArray[np.int64] | None, Images]]
    metric: str
    demand: float
    outputs: tuple[str, ...] | None = None
    batch_size: int = 8
    batch_num: int = 4
    stock: bool = True

    def evaluator(self, kind: type[BatchEvaluator], limit: int | None = None) -> BatchEvaluator:
        """Returns an evaluator on this case's data, on the first ``limit`` samples if given."""
        samples, labels, calibration = self.data()
        return kind(
            {"data": samples[:limit]},
            labels=None if labels is None else labels[:limit],
            metric=self.metric,
            max_drop=self.demand if self.metric.startswith("top") else None,
            max_error=None if self.metric.startswith("top") else self.demand,
            outputs=self.outputs,
            batch_size=self.batch_size,
            calibration={"data": calibration},
        )


def _lenet() -> tuple[Images, NDArray[np.int64] | None, Images]:
    test_set, calibration = (read_data(LENET / f"{name}.npz", ["data"]) for name in ("test_set", "calibration"))
    labels = None if test_set.labels is None else np.asarray(test_set.labels, np.int64)
    return test_set.inputs["data"], labels, calibration.inputs["data"]


def _nsfw() -> tuple[Images, None, Images]:
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    return photos(EVALUATION, 224, 32)[:, ::-1] - mean, None, photos(CALIBRATION, 224, 32)[:, ::-1] - mean


def _mobilenet_ssd() -> tuple[Images, None, Images]:
    found, calibration = (
        (photos(names, 300, 16)[:, ::-1] - np.float32(127.5)) * np.float32(0.007843)
        for names in (EVALUATION, CALIBRATION)
    )
    return found, None, calibration


def _super_resolution() -> tuple[Images, None, Images]:
    found, calibration = (
        photos(names, 224, 16).mean(axis=1, keepdims=True) / np.float32(255) for names in (EVALUATION, CALIBRATION)
    )
    return found, None, calibration


CASES = (
    Case(
        "lenet",
        lambda: (LENET / "deploy.prototxt", LENET / "lenet.caffemodel"),
        _lenet,
        "top1",
        0.002,
        batch_size=128,
        batch_num=2,
    ),
    Case("nsfw", lambda: model_files("nsfw"), _nsfw, "output_error", 0.01),
    Case("super_resolution", lambda: model_files("super_resolution"), _super_resolution, "output_error", 0.1),
    Case(
        "mobilenet_ssd",
        lambda: model_files("mobilenet_ssd"),
        _mobilenet_ssd,
        "output_error",
        0.3,
        outputs=("mbox_loc", "mbox_conf_flatten"),
        stock=False,
    ),
)
