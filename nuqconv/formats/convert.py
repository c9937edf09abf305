"""Conversion of whole models between Caffe and ONNX, and within each."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nuqconv.backends.caffe import Style, save_caffe
from nuqconv.backends.onnx import newest_opset, write_onnx
from nuqconv.backends.onnx.batch import batched_values
from nuqconv.errors import ConfigError, OutputError, UnsupportedError
from nuqconv.files.staging import check_targets
from nuqconv.formats.source import StrPath, is_onnx, model_files, read_any
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque, Quantize
from nuqconv.passes import fold_affine
from nuqconv.quantize.capability import quantized_parts

__all__ = ["Conversion", "convert"]


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

    def to_json(self) -> str:
        """Returns everything as JSON text."""
        return json.dumps({**asdict(self), "files": [str(path) for path in self.files]}, indent=2) + "\n"


def convert(
    model_file: StrPath,
    weights_file: StrPath,
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
) -> Conversion:
    """Converts a Caffe or an ONNX model; the ending of the target chooses its format.

    Values of an ONNX model have the blobs' names, and the other way round. Written as Caffe, old forms of layers and files become current ones, and a
    layer that is current already stays to the letter; operators of ONNX become stock layers (``docs/onnx-to-caffe.md``). A net for training is cut
    down to what a user runs. Files appear whole or not at all. ``convert("a.prototxt", "a.caffemodel", "a.onnx")``, ``convert("a.onnx",
    "b.prototxt")``, ``convert("a.onnx", "b.onnx")``.

    Args:
        model_file: The .prototxt; a deploy model that nuqconv wrote may be read too. Or an .onnx file.
        weights_file: The .caffemodel. Of an ONNX model it is left out: the target comes here.
        target: ``.onnx``, or ``.prototxt``.
        target_weights: The .caffemodel to write beside a .prototxt; by default of the same name.
        opset: ONNX opset from 13 on; by default the newest that the installed onnxruntime runs.
        input_shapes: Other shapes for inputs, by name.
        dynamic_batch: Whether axis 0 of an ONNX model's inputs stays open.
        fold: Whether BatchNorm and Scale are multiplied into the weights beside them; the blobs between are then gone.
        integer: Whether the quantized layers of a deploy model compute on integers in ONNX, not on integers held in floats.
        outputs: Blobs to have as outputs; layers that they do not need are left out.
        allow_unknown_fields: Whether fields that the schema lacks are only noted; they stay in the text of a layer that is written back.

    Returns:
        What was read and written.

    Raises:
        FormatError, ModelError: The model cannot be read or is wrong, or the shapes do not fit it; all faults are listed.
        UnsupportedError: Layers have no form in ONNX (all are listed), or an option does not go with the model.
        ConfigError: Options do not go together.
        OutputError: The files cannot be written, or are among those read.
    """
    begun = time.perf_counter()
    sources, targets = _sources_and_targets(model_file, weights_file, target, target_weights)
    to_onnx = len(targets) == 1
    if not to_onnx and (opset is not None or dynamic_batch or integer):
        raise ConfigError(f"{targets[0]}: opset, dynamic batch and integer arithmetic belong to .onnx")
    check_targets(targets, inputs=sources)
    read = read_any(
        *sources, input_shapes=input_shapes, allow_unknown_fields=allow_unknown_fields, cut_for_inference=True
    )
    graph = read.graph
    if outputs:
        graph = graph.up_to(outputs)
    folded: Mapping[str, tuple[str, ...]] = {}
    quantized = any(isinstance(node.op, Quantize) for node in graph.nodes)
    if integer and not quantized:
        raise UnsupportedError(f"{sources[0]}: has no quantized layers; integer arithmetic is for deploy models")
    if fold:
        parts = quantized_parts(graph)
        if parts:
            raise UnsupportedError(f"{sources[0]}: is quantized, so nothing can be folded into its weights", parts)
        result = fold_affine(graph)
        graph, folded = result.graph, result.folded
    if to_onnx:
        opset = newest_opset() if opset is None else opset
        metadata = {"source_format": "caffe" if len(sources) > 1 else "onnx", "source_model": sources[0].name}
        if len(sources) > 1:
            metadata["source_weights"] = sources[1].name
        write_onnx(graph, targets[0], opset=opset, integer=integer, dynamic_batch=dynamic_batch, metadata=metadata)
    else:
        save_caffe(graph, targets[0], targets[1], Style.DEPLOY if quantized else Style.FAKE_QUANT)
    return _summary(graph, sources, targets, opset, folded, read.notes, dynamic_batch=dynamic_batch, begun=begun)


def _sources_and_targets(
    model_file: StrPath, weights_file: StrPath, target: StrPath | None, target_weights: StrPath | None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    given = [Path(path) for path in (weights_file, target, target_weights) if path is not None]
    sources = model_files(model_file, None if is_onnx(model_file) else given.pop(0))
    if not given:
        raise ConfigError(f"{Path(model_file)}: what is to be written? Give an .onnx file or a .prototxt")
    if len(given) > 2:
        raise ConfigError(
            f"{Path(model_file)}: an ONNX model has no weights file; found {', '.join(map(str, given))} behind it"
        )
    return sources, _targets(given[0], given[1] if len(given) > 1 else None)


def _targets(target: Path, weights: Path | None) -> tuple[Path, ...]:
    if target.suffix == ".onnx" and weights is None:
        return (target,)
    if target.suffix == ".prototxt" and (weights is None or weights.suffix == ".caffemodel"):
        return (target, target.with_suffix(".caffemodel") if weights is None else weights)
    raise OutputError(
        f"{target}{f' with {weights}' if weights else ''}: expected one file that ends in .onnx, "
        "or a .prototxt, with a .caffemodel if that is to have another name"
    )


def _summary(
    graph: Graph,
    sources: Sequence[Path],
    targets: Sequence[Path],
    opset: int | None,
    folded: Mapping[str, tuple[str, ...]],
    notes: tuple[str, ...],
    *,
    dynamic_batch: bool,
    begun: float,
) -> Conversion:
    opaque = [node for node in graph.nodes if isinstance(node.op, Opaque)]
    kinds = Counter(node.op.layer_type if isinstance(node.op, Opaque) else node.op.kind for node in graph.nodes)
    batched = batched_values(graph) if dynamic_batch else frozenset()

    def shown(name: str) -> tuple[int | str, ...] | None:
        shape = graph.shapes[name]
        return ("N", *shape[1:]) if shape and name in batched else shape

    return Conversion(
        files=tuple(targets),
        layers=dict(kinds.most_common()),
        parameters=sum(int(np.prod(array.shape)) for array in graph.params.values()),
        source_bytes=sum(path.stat().st_size for path in sources),
        bytes=sum(path.stat().st_size for path in targets),
        opset=opset,
        inputs={graph.storage_name(item.name): shown(item.name) or item.shape for item in graph.inputs},
        outputs={graph.storage_name(name): shown(name) for name in graph.outputs},
        folded=folded,
        opaque=tuple(f"{node.place}: {node.op.reason}" for node in opaque if isinstance(node.op, Opaque)),
        notes=notes,
        seconds=time.perf_counter() - begun,
    )
