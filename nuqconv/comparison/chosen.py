"""Which runtime a model runs in where nobody says it, and the model as runtimes take it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from nuqconv.comparison.sides import Sides
from nuqconv.formats import ModelFiles
from nuqconv.ir.ops import Shape
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.model import Runnable

__all__ = ["best_runtime", "runnable"]


def runnable(model: ModelFiles, shapes: Mapping[str, Shape], stack: ExitStack) -> Runnable:
    """Returns a model as runtimes take it; a Caffe net for training is cut for inference.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        stack: Removes what is written for the run.
    """
    return Sides(stack, None, shapes, None).model(model)


def best_runtime(model: ModelFiles, shapes: Mapping[str, Shape], process: CaffeProcess | None = None) -> str:
    """Returns the name of the runtime that ``"auto"`` stands for: the format's own where that is there and has all layers, else onnxruntime.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        process: A living process of real Caffe to ask.
    """
    with ExitStack() as stack:
        sides = Sides(stack, process, shapes, None)
        return sides.best(sides.model(model))[0]
