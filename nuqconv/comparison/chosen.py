"""Which runtime a model runs in where nobody says it, and the model as runtimes take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from nuqconv.formats import ModelFiles
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

__all__ = ["best_runtime", "runnable"]


def runnable(model: ModelFiles, shapes: Mapping[str, Sequence[int]], stack: ExitStack) -> Runnable:
    """Returns a model as runtimes take it; a Caffe net for training is cut for inference.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        stack: Removes what is written for the run.
    """
    if model.format.runs_in_caffe and model.paths:
        return Runnable.cut_for_inference(model, shapes, stack)
    return Runnable.of(model)


def best_runtime(model: ModelFiles, shapes: Mapping[str, Sequence[int]], process: CaffeProcess | None = None) -> str:
    """Returns the name of the runtime that ``"auto"`` stands for: the format's own where that is there and has all layers, else onnxruntime.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        process: A living process of real Caffe to ask.
    """
    own = next((item for item in RUNTIMES.values() if model.format.name in item.own_of), None)
    if own is not None and own.name == Caffe.name and process is not None:
        own = own.with_options(process=process)
    if own is None or not own.is_there():
        return DEFAULT
    with ExitStack() as stack:
        return DEFAULT if own.shared(stack).lacks(runnable(model, shapes, stack)) else own.name
