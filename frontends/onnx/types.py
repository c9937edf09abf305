"""Which values hold whole numbers; all are float32 in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto, TensorProto, helper, shape_inference

__all__ = ["WHOLE", "element_types"]

_LARGE = 4096


def element_types(model: ModelProto) -> Mapping[str, int]:
    """Returns the element types of the values of a model as far as ONNX's own inference tells them.

    Large initializers are inputs of the model that it sees: their numbers do not matter, and would be copied.
    """
    copy = ModelProto()
    for name in ("ir_version", "opset_import", "functions"):
        value = getattr(model, name)
        if hasattr(value, "extend"):
            getattr(copy, name).extend(value)
        else:
            setattr(copy, name, value)
    copy.graph.name = model.graph.name or "graph"
    copy.graph.node.extend(model.graph.node)
    copy.graph.output.extend(model.graph.output)
    named = {item.name for item in model.graph.initializer}
    copy.graph.input.extend(item for item in model.graph.input if item.name not in named)
    for tensor in model.graph.initializer:
        if tensor.ByteSize() > _LARGE:
            copy.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            copy.graph.initializer.append(tensor)
    try:
        found = shape_inference.infer_shapes(copy)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        found = copy
    values = [*found.graph.input, *found.graph.value_info, *found.graph.output]
    types = {item.name: item.type.tensor_type.elem_type for item in values if item.type.HasField("tensor_type")}
    types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    return types


WHOLE = frozenset(
    getattr(TensorProto, name) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)
