"""The library's functions besides `auto_nuq`; those that quantize are in `nuqconv.job.typed`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from nuqconv.config import DEFAULT_BATCH_NUM, make_config, write_config
from nuqconv.errors import OutputError, UnsupportedError
from nuqconv.files.staging import check_targets
from nuqconv.formats import Model, ReadOptions, open_model
from nuqconv.formats.source import StrPath
from nuqconv.formats.table import target_of
from nuqconv.ir import Graph
from nuqconv.job.layer_facts import layer_facts
from nuqconv.quantize.capability import quantized_parts

__all__ = ["create_quant_config", "load", "save"]

_LOG = logging.getLogger(__name__)


def load(
    model_file: Model,
    weights_file: StrPath | None = None,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    allow_unknown_fields: bool = False,
    cut_for_inference: bool = True,
    level: int = 0,
    stages: Sequence[str] = (),
    exact_sizes: bool = False,
    notes: list[str] | None = None,
) -> Graph:
    """Reads a Caffe model of any generation, or an ONNX model of opset 7 or later.

    Args:
        model_file: The .prototxt; a deploy model that nuqconv wrote may be read too. Of a net for training or testing, the TEST phase is read.
            Or an .onnx file, or the pair of .prototxt and .caffemodel. Its content tells which, whatever it is called.
        weights_file: The .caffemodel; nothing for an ONNX model.
        input_shapes: Shapes for inputs by name, instead of the file's; for data layers whose files hold the shape, and for ONNX inputs with open
            sizes other than the batch, they are needed.
        allow_unknown_fields: Whether a field that its message does not have (a misspelt parameter?) is only noted, and kept for writing back.
        cut_for_inference: Whether data layers become inputs and losses and measurements are cut off; else a net with such layers is refused.
        level: The level that selects a Caffe net's layers by their include and exclude rules.
        stages: The stages that select them, besides those that the file sets; what is written later holds the chosen layers only.
        exact_sizes: Whether sizes of PriorBox that are no whole numbers count as they stand, instead of being cut as in SSD Caffe.
        notes: What the reader chose or changed is appended here, one line each; it is logged too.

    Returns:
        The graph, verified. Layers that are not known are Opaque nodes in it.

    Raises:
        ConfigError: The files are not those of one model.
        FormatError, ModelError, UnsupportedError: The model cannot be read or is wrong; all faults are listed.
    """
    options = ReadOptions(
        input_shapes or {},
        allow_unknown_fields,
        cut_for_inference,
        level=level,
        stages=frozenset(stages),
        exact_sizes=exact_sizes,
    )
    model = open_model(model_file, weights_file).read(options)
    for note in model.notes:
        _LOG.info("%s", note)
    if notes is not None:
        notes += model.notes
    return model.graph


def save(graph: Graph, model_file: StrPath, weights_file: StrPath | None = None) -> None:
    """Writes a graph, whole or not at all; the ending of ``model_file`` chooses the format.

    Args:
        graph: The graph.
        model_file: ``.onnx``, or ``.prototxt`` together with ``weights_file``.
        weights_file: The .caffemodel of a Caffe model.

    Raises:
        UnsupportedError: The graph has layers that the format cannot express; all are named.
        OutputError: The ending is none of the two, or a file cannot be written.
    """
    given = [Path(path) for path in (model_file, weights_file) if path is not None]
    found = target_of(given)
    if found is None or len(found[1]) != len(given):
        raise OutputError(
            f"{given[0]}: expected one file that ends in .onnx, or a .prototxt together with a .caffemodel"
        )
    target, paths = found
    target.trial.save(graph, paths)


def create_quant_config(
    config_file: StrPath,
    model_file: Model,
    weights_file: StrPath | None = None,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = DEFAULT_BATCH_NUM,
    activation_offset: bool = True,
    config_defination: StrPath | None = None,
    *,
    device_rule: float | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    read_options: ReadOptions | None = None,
) -> None:
    """Writes a quantization configuration for a model.

    Without ``config_defination`` every layer that NUQ can compress is a candidate, and all else that can be int8 is.

    Args:
        config_file: The JSON file to write.
        model_file: The .prototxt, or an .onnx model; what `nuqconv.formats.open_model` returned is not read again.
        weights_file: The .caffemodel; None for an ONNX model.
        skip_layers: Layers to leave in float.
        batch_num: Batches to calibrate on.
        activation_offset: Whether activations may have an offset.
        config_defination: A simplified configuration (protobuf text); what it sets goes before the arguments.
        device_rule: Memory rate for the device's own rule of which layers are worth compressing; None applies no rule.
        input_shapes: Shapes for inputs by name, instead of the file's.
        read_options: How the model's files are read: unknown fields, level and stages.

    Raises:
        FormatError, ModelError, UnsupportedError: The model cannot be read, is wrong, or is quantized already.
        ConfigError: A name or value is wrong; all faults are listed.
        OutputError: The file cannot be written, or is one of the inputs.
    """
    model = open_model(model_file, weights_file, read_options)
    sources = [*model.paths, *([Path(config_defination)] if config_defination else [])]
    check_targets([Path(config_file)], inputs=sources)
    source = model.read(ReadOptions(input_shapes or {}))
    for note in source.notes:
        _LOG.info("%s", note)
    parts = quantized_parts(source.graph)
    if parts:
        raise UnsupportedError(f"{model.model} is quantized already; give the float model", parts)
    config = make_config(
        layer_facts(source.graph),
        skip_layers=skip_layers,
        batch_num=batch_num,
        activation_offset=activation_offset,
        definition=None if config_defination is None else Path(config_defination),
        device_rule=device_rule,
    )
    write_config(config, Path(config_file))
