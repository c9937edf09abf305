"""Every layer's output as a .npy file, named as Ascend's comparator (``msaccucmp``) reads them."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from nuqconv.comparison.inputs import inputs_in_words, random_inputs
from nuqconv.comparison.sides import best_runtime, runnable
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError, ModelError, UnsupportedError
from nuqconv.files.staging import check_targets, move_into_place, staging_folder
from nuqconv.formats import Model, ModelFiles, ReadOptions, in_files, open_model
from nuqconv.formats.source import StrPath
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Quantize
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.loaded import Side, check_inputs, layer_type
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.onnx_file import OnnxSide
from nuqconv.runtimes.table import AUTO, DEFAULT, runtime_named

__all__ = ["Dumped", "DumpedTop", "dump"]

_READ = re.compile(r"[A-Za-z0-9_-]+")
_MICROSECOND = 1e-6
_DIGITS = 16


@dataclass(frozen=True)
class DumpedTop:
    """One output of one layer.

    Attributes:
        layer: The layer.
        kind: Its type.
        index: The number of the output.
        blob: What the model calls it.
        file: The file.
        shape: Its shape.
        dtype: Its type of numbers.
    """

    layer: str
    kind: str
    index: int
    blob: str
    file: Path
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Dumped:
    """What was written.

    Attributes:
        tops: The outputs of all layers, in the order of execution, those of input layers first.
        runtime: The runtime and the model.
        source: Where the inputs came from.
        notes: What else should be known.
    """

    tops: tuple[DumpedTop, ...]
    runtime: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Top:
    layer: str
    kind: str
    index: int
    value: str


def dump(
    model: Model,
    folder: StrPath,
    *,
    data: Mapping[str, Array] | DataSet | None = None,
    samples: int | None = None,
    runtime: str = AUTO,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    timestamp: int | None = None,
    process: CaffeProcess | None = None,
    read_options: ReadOptions | None = None,
) -> Dumped:
    """Writes the output of every layer to ``<layer>.<index>.<timestamp>.npy``, with ``/`` and ``.`` of the layer's name as ``_``.

    A layer's file holds what that layer has made, also where a later layer changes the blob in place. The model's files stay as they are. Of a deploy
    model, what a Quant layer makes is int8, and what a layer on integers makes int32, as on the device.

    Args:
        model: The model.
        folder: Where the files go; all of them appear or none.
        data: An array for each input, or a data set, of which the first samples are taken; by default random numbers.
        samples: How many of a data set; by default as many as the model's batch has.
        runtime: Real Caffe or onnxruntime, ``"auto"`` for the first of them that has all layers.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        timestamp: The number of up to 16 digits in the names; by default the time in microseconds.
        process: A living process of real Caffe to use.
        read_options: How the model's files are read.

    Returns:
        What was written.

    Raises:
        ConfigError: Arguments do not go together.
        UnsupportedError: The comparator could not read the files of layers with such names, or the runtime does not keep what layers make.
        FormatError, ModelError, RuntimeMissingError, CaffeProcessError: The model cannot be read or run, or the inputs do not fit.
        OutputError: The files cannot be written.
    """
    if data is not None and input_shapes:
        raise ConfigError("input_shapes are for random inputs; data have their own")
    stamp = int(time.time() / _MICROSECOND) if timestamp is None else timestamp
    if not 0 <= stamp < 10**_DIGITS:
        raise ConfigError(f"timestamp {stamp} must be a number of at most {_DIGITS} digits")
    with ExitStack() as stack:
        source = stack.enter_context(in_files(open_model(model, None, read_options)))
        given = _arrays(data, samples, source)
        shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
        if given is not None:
            shapes = {name: tuple(array.shape) for name, array in given.items()}
        side, prepared = _side(source, runtime, shapes, process, stack)
        inputs = random_inputs(side, shapes, seed) if given is None else given
        check_inputs(side, inputs)
        tops = [*_input_tops(side, prepared), *_tops(side)]
        targets = _targets(Path(folder), tops, stamp)
        check_targets(targets.values(), inputs=source.paths)
        written = _write(side, inputs, targets)
        words = f"random numbers of seed {seed}" if data is None else inputs_in_words(data)
        return Dumped(written, side.label, words, tuple(dict.fromkeys((*prepared.notes, *side.notes))))


def _arrays(
    data: Mapping[str, Array] | DataSet | None, samples: int | None, model: ModelFiles
) -> dict[str, Array] | None:
    if samples is not None and (samples < 1 or not isinstance(data, DataSet)):
        raise ConfigError(f"samples {samples}: expected a number of at least 1, for a data set")
    if data is None:
        return None
    if not isinstance(data, DataSet):
        return {name: np.asarray(array) for name, array in data.items()}
    inputs = model.inputs()
    own = next((shape[0] for shape in inputs.values() if shape), None)
    count = samples or own or 1
    return dict(next(iter(data.for_net(inputs).batches(count, count))).inputs)


def _side(
    source: ModelFiles,
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    process: CaffeProcess | None,
    stack: ExitStack,
) -> tuple[Side, Runnable]:
    chosen = best_runtime(source, shapes, process) if name == AUTO else name
    prepared = runnable(source, shapes, stack)
    runtime = runtime_named(chosen)
    if chosen == Caffe.name and process is not None:
        runtime = runtime.with_options(process=process)
    runtime.check_takes(prepared)
    side = stack.enter_context(runtime.side(prepared if chosen == DEFAULT else prepared.with_shapes(shapes)))
    if not side.keeps_states:
        raise UnsupportedError(
            f"{runtime.title} does not promise that a blob is still what its layer has made when it is read; dump from "
            f"{Caffe.name} or {DEFAULT}"
        )
    return side, prepared


def _input_tops(side: Side, model: Runnable) -> Iterator[_Top]:
    """Yields the inputs with the layers that stand for them in the file; where there is none, the layer is called as the input."""
    layers = {}
    if model.format == "caffe":
        for layer in read_prototxt(model.files[0]).layers:
            if not layer.message.bottom:
                layers.update({top: (layer.message.name, index) for index, top in enumerate(layer.message.top)})
    for name in side.inputs:
        layer_name, index = layers.get(name, (name, 0))
        yield _Top(layer_name, "Input", index, name)


def _tops(side: Side) -> Iterator[_Top]:
    """Yields the outputs of all layers."""
    if isinstance(side, OnnxSide):
        yield from _tops_of_nodes(side.model)
        return
    if side.graph is None:
        raise UnsupportedError(f"{side.label}: does not say which layers it has")
    missing = []
    for node in side.graph.nodes:
        for index, name in enumerate(node.outputs):
            if not side.has(name):
                missing.append(f"{node.place}: '{name}'")
            yield _Top(node.name, layer_type(node), index, name)
    if missing:
        raise ModelError(
            f"{side.label}: does not give the outputs of all layers; another runtime may have them", missing
        )


def _tops_of_nodes(model: ModelProto) -> Iterator[_Top]:
    for node in model.graph.node:
        named = [(index, name) for index, name in enumerate(node.output) if name]
        for index, name in named:
            yield _Top(node.name or named[0][1], node.op_type, index, name)


def _targets(folder: Path, tops: Sequence[_Top], stamp: int) -> dict[_Top, Path]:
    """Returns the file of each output, after a check that its reader will know them apart."""
    files = {top: folder / f"{re.sub('[/.]', '_', top.layer)}.{top.index}.{stamp}.npy" for top in tops}
    owners: dict[Path, list[str]] = defaultdict(list)
    for top, path in files.items():
        owners[path].append(top.layer)
    problems = [
        f"layer '{top.layer}': its name may have letters, digits and _-/. only"
        for top in tops
        if not _READ.fullmatch(re.sub("[/.]", "_", top.layer))
    ]
    problems += [
        f"layers {' and '.join(map(repr, names))} would have one file, {path.name}"
        for path, names in owners.items()
        if len(names) > 1
    ]
    if problems:
        raise UnsupportedError("the comparator cannot tell the dumps of these layers; give them other names", problems)
    return files


def _write(side: Side, inputs: Mapping[str, Array], targets: Mapping[_Top, Path]) -> tuple[DumpedTop, ...]:
    """Writes each output as soon as it is there."""
    written = []
    fed = [top for top in targets if top.value in inputs and top.kind == "Input"]
    made = {top.value: top for top in targets if top not in fed}
    with staging_folder(*targets.values()) as work:

        def save(top: _Top, array: Array) -> None:
            path = targets[top]
            blob = top.value if side.graph is None else side.graph.storage_name(top.value)
            stored = _as_stored(side.graph, top.value, array)
            with (work / path.name).open("wb") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(stored), allow_pickle=False)
            written.append(DumpedTop(top.layer, top.kind, top.index, blob, path, stored.shape, stored.dtype.name))

        for top in fed:
            save(top, np.asarray(inputs[top.value]))
        for value, array in side.in_order(inputs, list(made)):
            save(made[value], array)
        move_into_place({targets[top]: work / targets[top].name for top in targets})
    return tuple(written)


def _as_stored(graph: Graph | None, value: str, array: Array) -> Array:
    """Returns a value in the numbers that a device has for it: a graph's layers compute on ``q - offset``, held in floats."""
    node = None if graph is None else graph.producer.get(value)
    if node is None or graph is None:
        return array
    if isinstance(node.op, Quantize):
        return (array.astype(np.float32) + node.op.offset).astype(np.int8)
    if node.params and graph.params[node.params[0]].dtype == np.int8:
        return array.astype(np.int32)
    return array
