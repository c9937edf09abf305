"""How this machine multiplies bytes."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from nuqconv.backends.onnx.builder import FastProducts
from nuqconv.backends.onnx.opset import quiet_options

__all__ = ["fast_products"]

_LENGTH = 256


@cache
def fast_products() -> FastProducts:
    """Returns the type that weights must have in a product with uint8 so that its sums are exact here.

    On x86 without VNNI onnxruntime adds pairs of uint8 x int8 in 16 bits and cuts the sums off there; uint8 x uint8 is exact everywhere, and slower
    (onnxruntime's documentation, "Quantize ONNX models", on U8U8).
    """
    weight = np.full((_LENGTH, 64), 127, np.int8)
    weight[:, ::2] = -128
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", _LENGTH])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["N", 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    imports = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), quiet_options(), providers=["CPUExecutionProvider"]
    )
    rows = np.full((16, _LENGTH), 255, np.uint8)
    (found,) = session.run(None, {"x": rows})
    return "signed" if np.array_equal(found, rows.astype(np.int32) @ weight.astype(np.int32)) else "unsigned"
