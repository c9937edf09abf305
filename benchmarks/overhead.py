"""What the search costs besides the user's evaluator: the ResNet evaluated in real Caffe.

Prints and returns the time of everything that is not the evaluator's, as a ratio to the evaluator's time in the same run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

import nuqconv
from nuqconv.evaluators import CaffeEvaluator
from photos import CALIBRATION, EVALUATION, photos
from real_models import model_files

IMAGES = 64


def measure(console: Console) -> dict[str, object]:
    """Runs one whole search and returns its times."""
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    images, calibration = (
        photos(names, 224, count)[:, ::-1] - mean for names, count in ((EVALUATION, IMAGES), (CALIBRATION, 16))
    )
    model, weights = model_files("nsfw")
    with (
        tempfile.TemporaryDirectory() as name,
        CaffeEvaluator(
            {"data": images}, metric="output_error", max_error=0.01, batch_size=8, calibration={"data": calibration}
        ) as evaluator,
    ):
        folder = Path(name)
        nuqconv.create_quant_config(folder / "config.json", model, weights, batch_num=2)
        result = nuqconv.auto_nuq.auto_nuq(
            model, weights, evaluator, folder / "config.json", folder / "record.txt", folder / "out", max_evaluations=12
        )
    total, inside = result.seconds
    console.print(
        f"search on nsfw with real Caffe, {IMAGES} images, {result.evaluations} evaluations and the original: {total:.1f} s, "
        f"{inside:.1f} s of them in the evaluator; the rest is [bold]{(total - inside) / inside:.1%}[/] of the evaluator's time",
        soft_wrap=True,
    )
    return {
        "images": IMAGES,
        "evaluations": result.evaluations,
        "total_seconds": total,
        "evaluator_seconds": inside,
        "rest_over_evaluator": (total - inside) / inside,
    }


if __name__ == "__main__":
    measure(Console())
