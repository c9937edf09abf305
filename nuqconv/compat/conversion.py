"""``convert_model``: both models from quantization factors that the user has worked out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.backends.caffe.record import read_record
from nuqconv.config import QuantConfig, suggestion
from nuqconv.errors import ConfigError, QuantizationError, UnsupportedError
from nuqconv.formats import CAFFE, open_model
from nuqconv.formats.source import StrPath
from nuqconv.ir import Graph, Node
from nuqconv.ir.ops import Weighted
from nuqconv.job.candidates import STEPS
from nuqconv.job.device_notes import device_notes
from nuqconv.job.interruption import script_log
from nuqconv.job.job import Job, float_graph, make_job
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.planned import PlannedModel
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.capability import Capability, capabilities
from nuqconv.quantize.codebook import assign
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN
from nuqconv.quantize.weights import quantize_bias, quantize_weights

__all__ = ["convert_model"]

_LOG = logging.getLogger(__name__)
_NOT_WRITTEN = ("scale_offset_record", "nuq_codebooks")


def convert_model(
    model_file: StrPath, weights_file: StrPath, scale_offset_record_file: StrPath, save_path: StrPath
) -> OutputFiles:
    """Writes the fake_quant and the deploy model of quantization factors that the user has worked out.

    Weights are ``clip(rint(w / scale_w), -128, 127)`` and biases ``rint(bias / (scale_w * scale_d))`` of the layers after folding; a layer with
    ``skip_fusion`` takes no part in that. A codebook in the record (``cluster``) moves weights to its nearest levels. Integers and biases that a
    fit has chosen are not in a record: that of such a result gives the nearest ones.

    Args:
        model_file: The .prototxt.
        weights_file: The .caffemodel.
        scale_offset_record_file: The quantization factor record. Layers that it leaves out stay float.
        save_path: DIR/PREFIX of the files.

    Returns:
        Their paths; the original returns nothing.

    Raises:
        FormatError, ModelError, UnsupportedError: A file cannot be read or is wrong, or the model is quantized already.
        ConfigError: The record does not fit the model; all faults are listed.
        QuantizationError: A bias or a layer's sums exceed int32.
        OutputError: The files cannot be written; the earlier ones are as they were.
    """
    source = open_model(model_file, weights_file).read()
    if source.format is not CAFFE:
        raise UnsupportedError(
            f"{model_file}: factors are converted into Caffe models; give a .prototxt and its .caffemodel"
        )
    graph = float_graph(source)
    factors = {entry.key: entry.value for entry in read_record(Path(scale_offset_record_file)).record}
    can = {item.name: item for item in capabilities(graph)}
    problems = [] if factors else ["it holds no layer"]
    for name, value in factors.items():
        found = _unfit(name, graph, can.get(name)) or _problems(graph.node[name], value, can[name])
        problems += [f"record of '{name}': {problem}" for problem in found]
    if problems:
        raise ConfigError(f"{scale_offset_record_file}: does not fit {model_file}", problems)
    apart = tuple(name for name, value in factors.items() if value.skip_fusion)
    job = make_job(source, QuantConfig(skip_fusion_layers=apart), (), str(scale_offset_record_file))
    layers = [node for node in job.graph.nodes if node.name in factors]
    plan = Plan.of((node.name, _layer_plan(job, node, factors[node.name])) for node in layers)
    model = PlannedModel(job, plan, (), (*source.files, Path(scale_offset_record_file)))
    with script_log():
        files = model.save(save_path, without=_NOT_WRITTEN)
        for note in device_notes(job, plan, files):
            _LOG.warning("%s", note)
    return files


def _unfit(name: str, graph: Graph, can: Capability | None) -> list[str]:
    """Returns why a layer cannot be quantized at all."""
    if name not in graph.node:
        return [f"the model has no layer of this name{suggestion(name, list(graph.node))}"]
    if can is None:
        return [f"{graph.node[name].op.kind} layers are not quantized"]
    return [] if can.int8 else [f"the layer cannot be quantized: {can.reason}"]


def _problems(node: Node, value: Any, can: Capability) -> list[str]:
    """Returns what is wrong with the factors of a layer that can be quantized."""
    found = []
    if not value.HasField("scale_d") or not value.HasField("offset_d"):
        found.append("scale_d and offset_d are needed")
    elif not INT8_MIN <= value.offset_d <= INT8_MAX:
        found.append(f"offset_d is {value.offset_d}, expected an integer in [{INT8_MIN}, {INT8_MAX}]")
    if isinstance(node.op, Weighted):
        counts = {1, node.op.num_output} if node.op.scales_by_channel else {1}
        if len(value.scale_w) not in counts:
            found.append(f"it has {len(value.scale_w)} scale_w, expected {' or '.join(map(str, sorted(counts)))}")
    elif list(value.scale_w) not in ([], [1.0]):
        found.append(f"scale_w of a layer without weights is {list(value.scale_w)[:4]}, expected 1.0 or none")
    if len(value.offset_w) not in (0, len(value.scale_w)) or any(value.offset_w):
        found.append("offset_w must be 0, once for each scale_w")
    if any(value.shift_bit):
        found.append("shift_bit must be 0: stock layers cannot shift, so there would be no fake_quant model")
    if value.cluster and (not can.nuq or len(value.cluster) > max(STEPS)):
        found.append(f"cluster has {len(value.cluster)} levels; {can.reason or f'at most {max(STEPS)} are allowed'}")
    return found


def _layer_plan(job: Job, node: Node, value: Any) -> LayerPlan:
    try:
        activation = ActivationQuant(value.scale_d, value.offset_d)
    except QuantizationError as error:
        raise ConfigError(f"record of '{node.name}': {error}") from error
    if not isinstance(node.op, Weighted):
        return LayerPlan(Precision.INT8, activation=activation)
    scales = np.array(value.scale_w, np.float32)
    # A layer with one channel has one step size either way.
    by_channel = node.op.scales_by_channel and scales.size == node.op.num_output
    weights, *biases = (job.graph.params[name] for name in node.params)
    axis = node.op.scale_axis(channel_wise=by_channel)
    integers = quantize_weights(weights, scales, axis, layer=node.name)
    whole = quantize_bias(biases[0], activation.scale, scales, node.name) if biases else None
    levels = tuple(sorted(set(value.cluster)))
    if not levels:
        digest = job.quantizer.store(QuantizedWeights(integers, scales, whole))
        return LayerPlan(Precision.INT8, None, None, activation, by_channel, digest)
    digest = job.quantizer.store(QuantizedWeights(assign(integers, levels), scales, whole))
    steps = min(count for count in STEPS if count >= len(levels))
    return LayerPlan(Precision.NUQ, levels, steps, activation, by_channel, digest)
