"""The options of commands that take data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DATA_HELP", "Labels", "Prep"]

DATA_HELP = "Samples: .npz, .npy, a folder of pictures (its subfolders are the classes), a list file, an LMDB, HDF5, or a train_val.prototxt."
Prep = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="What is done with a picture before the net sees it: 'bgr, resize 256x256, crop 224x224, mean 104 117 123, scale 0.017', "
        "a train_val.prototxt, an AIPP configuration, ncnn2table's words or MNN's JSON.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Labels that stand apart: one a line, 'name label' lines, a .npy, a folder of VOC's XML, or names of classes."
    ),
]
