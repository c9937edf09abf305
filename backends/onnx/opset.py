"""Which opsets can be written."""

from __future__ import annotations

from functools import cache

import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

__all__ = ["MAX_OPSET", "MIN_OPSET", "ORT_ERRORS", "QUIET", "newest_opset", "quiet_options"]

QUIET = 4
"""Level of onnxruntime's log at which only what is fatal is logged."""

MIN_OPSET = 13
MAX_OPSET = 24

# onnxruntime's exceptions have no common base below Exception.
ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
)


def quiet_options() -> onnxruntime.SessionOptions:
    """Returns session options under which only fatal messages are logged; errors come as exceptions anyway."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    return options


@cache
def newest_opset() -> int:
    """Returns the newest opset from 13 to 24 that the installed onnx knows and the installed onnxruntime runs."""
    for opset in range(min(MAX_OPSET, onnx.defs.onnx_opset_version()), MIN_OPSET, -1):
        try:
            onnxruntime.InferenceSession(
                _probe(opset).SerializeToString(), quiet_options(), providers=["CPUExecutionProvider"]
            )
        except ORT_ERRORS:
            continue
        return opset
    return MIN_OPSET


def _probe(opset: int) -> ModelProto:
    """A model of the operators whose definitions change most often from opset to opset."""
    nodes = [
        helper.make_node("Pad", ["x", "widths"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["conv"]),
        helper.make_node("MaxPool", ["conv"], ["max"], kernel_shape=[2, 2]),
        helper.make_node("AveragePool", ["max"], ["average"], kernel_shape=[2, 2]),
        helper.make_node("Round", ["average"], ["round"]),
        # A runtime may have all others of an opset, and these two not yet (onnxruntime 1.23, opset 23).
        helper.make_node("QuantizeLinear", ["round", "step", "zero"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "step", "zero"], ["z"]),
        helper.make_node("Reshape", ["round", "shape"], ["reshape"]),
        helper.make_node("Flatten", ["reshape"], ["flatten"]),
        helper.make_node("Cast", ["flatten"], ["cast"], to=int(TensorProto.UINT8)),
        helper.make_node("Transpose", ["cast"], ["y"], perm=[1, 0]),
    ]
    tensors = [
        helper.make_tensor("widths", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1]),
        helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]),
        helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 4, 4]),
        helper.make_tensor("step", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("zero", TensorProto.INT8, [], [0]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.UINT8, [16, 1]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 1, 4, 4]),
        ],
        tensors,
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
