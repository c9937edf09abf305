"""The same inputs through two runtimes or models, every common blob compared."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from nuqconv.comparison.columns import Comparison
from nuqconv.comparison.inputs import given_inputs, inputs_in_words, random_inputs
from nuqconv.comparison.options import CompareOptions
from nuqconv.comparison.report import CompareReport
from nuqconv.comparison.sides import Model, Sides
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError
from nuqconv.ir import Array
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.table import AUTO

__all__ = ["CompareOptions", "CompareReport", "Model", "compare"]


def compare(
    a: Model,
    b: Model | None = None,
    *,
    inputs: Mapping[str, Array] | DataSet | None = None,
    runtimes: tuple[str, str] = (AUTO, AUTO),
    options: CompareOptions | None = None,
    process: CaffeProcess | None = None,
) -> CompareReport:
    """Runs two models, or one model in two runtimes, on the same inputs and compares every common blob.

    Runtimes of a Caffe model are ``"caffe"`` (real Caffe in a child process), ``"onnxruntime"`` (through this package's ONNX), ``"opencv"``,
    ``"caffe2onnx"`` (that converter's ONNX in onnxruntime) and what `nuqconv.runtimes.register` was given. ``"auto"`` takes real Caffe for the
    first side if it is there and has all layers, else onnxruntime, and for the second side the first side's if both are of one format. Everything
    else runs in onnxruntime.

    Args:
        a: The first model.
        b: The second; without it the first one in the other runtime (real Caffe against onnxruntime).
        inputs: An array for each input blob, or a `nuqconv.data.DataSet`, of which the first samples are taken; by default random numbers.
        runtimes: The runtime of each side.
        options: What else may be said; see `CompareOptions`.
        process: A living process of real Caffe to use; by default one is started where it is needed.

    Returns:
        The report; ``report.agrees`` says whether all is equal.

    Raises:
        ConfigError: Arguments do not go together.
        RuntimeMissingError: A runtime is not installed.
        FormatError, ModelError, UnsupportedError, CaffeProcessError: A model cannot be read or run, the inputs do not fit, or there is nothing
            to compare.
    """
    options = options or CompareOptions()
    if inputs is not None and options.input_shapes:
        raise ConfigError("input_shapes are for random inputs; given inputs have their own")
    given = given_inputs(inputs, a, options.read)
    shapes = options.shapes if given is None else {name: array.shape for name, array in given.items()}
    with ExitStack() as stack:
        one, two = Sides(stack, process, shapes, options.read).make(a, b, runtimes)
        source = inputs_in_words(inputs) if inputs is not None else f"random numbers of seed {options.seed}"
        feeds = random_inputs(one, shapes, options.seed) if given is None else given
        return Comparison(one, two, feeds, options.tolerance).report(source, options.blobs)
