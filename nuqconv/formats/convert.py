"""Conversion of whole models between Caffe and ONNX, and within each."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nuqconv.backends.onnx.batch import batched_values
from nuqconv.errors import ConfigError, OutputError, UnsupportedError
from nuqconv.files.staging import check_targets
from nuqconv.formats.argument import Model, open_model
from nuqconv.formats.base import Format
from nuqconv.formats.form import WriteOptions, is_quantized
from nuqconv.formats.source import ModelFiles, StrPath
from nuqconv.formats.table import FORMATS, format_of, target_of
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque
from nuqconv.passes import fold_affine
from nuqconv.quantize.capability import quantized_parts

__all__ = ["Conversion", "convert", "source_and_rest"]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        files: The files written: one .onnx, or .prototxt and .caffemodel.
        layers: Number of layers of each type in what was written; inputs are not counted.
        parameters: Numbers in all weights, shared ones once.
        source_bytes: Size of the two files read.
        bytes: Size of the files written.
        opset: ONNX opset, or None for a Caffe model.
        inputs: Shape of each input; the batch is ``"N"`` where it is open.
        outputs: Shape of each output; None where layers that are not understood hide it.
        folded: For each layer that took others in, their names.
        opaque: Places of the layers that were written back without being understood.
        notes: What the reader chose or changed.
        seconds: Wall time.
    """

    files: tuple[Path, ...]
    layers: Mapping[str, int]
    parameters: int
    source_bytes: int
    bytes: int
    opset: int | None
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...] | None]
    folded: Mapping[str, tuple[str, ...]]
    opaque: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    def __repr__(self) -> str:
        form = f"ONNX, opset {self.opset}" if self.opset else "Caffe"
        names = ", ".join(path.name for path in self.files)
        return f"<Conversion to {names} ({form}): {sum(self.layers.values())} layers, {self.parameters:,} parameters, {self.bytes:,} bytes>"

    def to_json(self) -> str:
        """Returns everything as JSON text."""
        return json.dumps({**asdict(self), "files": [str(path) for path in self.files]}, indent=2) + "\n"


def convert(
    model_file: Model,
    weights_file: StrPath | None = None,
    target: StrPath | None = None,
    target_weights: StrPath | None = None,
    *,
    opset: int | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    dynamic_batch: bool = False,
    fold: bool = False,
    integer: bool = False,
    outputs: Sequence[str] | None = None,
    allow_unknown_fields: bool = False,
    level: int = 0,
    stages: Sequence[str] = (),
    exact_sizes: bool = False,
    force: bool = False,
) -> Conversion:
    """Converts a Caffe or an ONNX model, recognized by its content; the ending of the target chooses its format.

    Values of an ONNX model have the blobs' names, and the other way round. Written as Caffe, old forms of layers and files become current ones, and a
    layer that is current already stays to the letter; operators of ONNX become stock layers (``docs/onnx-to-caffe.md``). A net for training is cut
    down to what a user runs. Files appear whole or not at all. ``convert("a.prototxt", "a.caffemodel", "a.onnx")``, ``convert("a.onnx",
    "b.prototxt")``, ``convert("a.onnx", "b.onnx")``.

    Args:
        model_file: The .prototxt; a deploy model that nuqconv wrote may be read too. Or an .onnx file, a pair of both, or a graph.
        weights_file: The .caffemodel. Of an ONNX model, a pair or a graph it is left out: the target comes here.
        target: ``.onnx``, or ``.prototxt``.
        target_weights: The .caffemodel to write beside a .prototxt; by default of the same name.
        opset: ONNX opset from 13 on; by default the newest that the installed onnxruntime runs.
        input_shapes: Other shapes for inputs, by name.
        dynamic_batch: Whether axis 0 of an ONNX model's inputs stays open.
        fold: Whether BatchNorm and Scale are multiplied into the weights beside them; the blobs between are then gone.
        integer: Whether the quantized layers of a deploy model compute on integers in ONNX, not on integers held in floats.
        outputs: Blobs to have as outputs; layers that they do not need are left out.
        allow_unknown_fields: Whether fields that the schema lacks are only noted; they stay in the text of a layer that is written back.
        level: The level that selects a Caffe net's layers.
        stages: The stages that select them; the file that is written holds the chosen layers only.
        exact_sizes: Whether sizes of PriorBox that are no whole numbers are not cut to whole pixels; it is written into an ONNX model's metadata.
        force: Whether model files that nuqconv did not write, or that were edited since, may be replaced.

    Returns:
        What was read and written.

    Raises:
        FormatError, ModelError: The model cannot be read or is wrong, or the shapes do not fit it; all faults are listed.
        UnsupportedError: Layers have no form in ONNX (all are listed), or an option does not go with the model.
        ConfigError: Options do not go together.
        OutputError: The files cannot be written, are among those read, or would replace files that nuqconv did not write.
    """
    begun = time.perf_counter()
    source, given = source_and_rest(model_file, [weights_file, target, target_weights])
    entry, targets = _target(_subject(source), given)
    reading = ReadOptions(
        input_shapes or {},
        allow_unknown_fields,
        cut_for_inference=True,
        level=level,
        stages=frozenset(stages),
        exact_sizes=exact_sizes,
    )
    metadata = {**_metadata(source), **source.options.beside(reading).choices()}
    options = WriteOptions(opset, dynamic_batch, metadata, signed=True)
    options = entry.chosen(options, targets[0], integer=integer)
    check_targets(targets, inputs=source.paths)
    if not force:
        _keep_foreign(entry, targets)
    read = source.read(reading)
    graph = read.graph
    if outputs:
        graph = graph.up_to(outputs)
    folded: Mapping[str, tuple[str, ...]] = {}
    if integer and not is_quantized(graph):
        raise UnsupportedError(f"{_subject(source)}: has no quantized layers; integer arithmetic is for deploy models")
    if fold:
        parts = quantized_parts(graph)
        if parts:
            raise UnsupportedError(
                f"{_subject(source)}: is quantized, so nothing can be folded into its weights", parts
            )
        result = fold_affine(graph)
        graph, folded = result.graph, result.folded
    entry.form(graph, integer=integer).save(graph, targets, options)
    return _summary(graph, source.paths, targets, options, folded, read.notes, begun=begun)


def source_and_rest(
    model: Model, more: Sequence[StrPath | None], options: ReadOptions | None = None
) -> tuple[ModelFiles, list[Path]]:
    """Returns what is read, and the files behind it: those to write.

    Args:
        model: A model; a path is followed by the other files of it.
        more: What was given behind it.
        options: How its files are read; None for what it was opened with.

    Raises:
        ConfigError: Another model stands where the rest of the first one is expected.
    """
    given = [Path(path) for path in more if path is not None]
    if not isinstance(model, str | os.PathLike):
        return open_model(model, options=options), given
    kinds = format_of(Path(model)).kinds[1:]
    for kind, path in zip(kinds, given, strict=False):
        if not kind.recognizes(path) and any(entry.kinds[0].named(path) for entry in FORMATS):
            raise ConfigError(f"{model}: its {kind.name} are missing; give them before {path}")
    return open_model((model, *given[: len(kinds)]), options=options), given[len(kinds) :]


def _target(subject: str, given: Sequence[Path]) -> tuple[Format, tuple[Path, ...]]:
    if not given:
        raise ConfigError(f"{subject}: what is to be written? Give an .onnx file or a .prototxt")
    if len(given) > max(len(entry.kinds) for entry in FORMATS):
        raise ConfigError(f"{subject}: has no weights file; found {', '.join(map(str, given))} behind it")
    found = target_of(given)
    if found is None:
        raise OutputError(
            f"{' with '.join(map(str, given))}: expected one file that ends in .onnx, "
            "or a .prototxt, with a .caffemodel if that is to have another name"
        )
    return found


def _keep_foreign(entry: Format, targets: Sequence[Path]) -> None:
    """Refuses to replace what somebody else made."""
    try:
        foreign = entry.foreign(targets)
    except OSError as error:
        raise OutputError(f"{error.filename}: is there and cannot be read: {error.strerror}") from error
    if foreign:
        raise OutputError(
            "model files would be replaced that nuqconv did not write, or that were edited since; "
            "give another target, or --force (force=True) to replace them",
            [str(path) for path in foreign],
        )


def _metadata(source: ModelFiles) -> Mapping[str, str]:
    names = zip(("source_model", "source_weights"), source.paths, strict=False)
    return {"source_format": source.format.name, **{key: path.name for key, path in names}}


def _subject(source: ModelFiles) -> str:
    return str(source.model if source.paths else source)


def _summary(
    graph: Graph,
    sources: Sequence[Path],
    targets: Sequence[Path],
    options: WriteOptions,
    folded: Mapping[str, tuple[str, ...]],
    notes: tuple[str, ...],
    *,
    begun: float,
) -> Conversion:
    opaque = [node for node in graph.nodes if isinstance(node.op, Opaque)]
    kinds = Counter(node.op.layer_type if isinstance(node.op, Opaque) else node.op.kind for node in graph.nodes)
    batched = batched_values(graph) if options.dynamic_batch else frozenset()

    def shown(name: str) -> tuple[int | str, ...] | None:
        shape = graph.shapes[name]
        return ("N", *shape[1:]) if shape and name in batched else shape

    return Conversion(
        files=tuple(targets),
        layers=dict(kinds.most_common()),
        parameters=sum(int(np.prod(array.shape)) for array in graph.params.values()),
        source_bytes=sum(path.stat().st_size for path in sources),
        bytes=sum(path.stat().st_size for path in targets),
        opset=options.opset,
        inputs={graph.storage_name(item.name): shown(item.name) or item.shape for item in graph.inputs},
        outputs={graph.storage_name(name): shown(name) for name in graph.outputs},
        folded=folded,
        opaque=tuple(f"{node.place}: {node.op.reason}" for node in opaque if isinstance(node.op, Opaque)),
        notes=notes,
        seconds=time.perf_counter() - begun,
    )
