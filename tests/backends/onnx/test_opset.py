"""The newest opset is one in which quantized layers can be run, too."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from nuqconv.backends.onnx.opset import MAX_OPSET, MIN_OPSET, _probe, newest_opset


def test_quantized_layers_run_in_it():
    opset = newest_opset()
    assert MIN_OPSET < opset <= MAX_OPSET
    session = onnxruntime.InferenceSession(_probe(opset).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    y, z = session.run(None, {"x": x})
    # Steps of 0.5 keep whole numbers.
    np.testing.assert_array_equal(z.ravel(), y.ravel())


def test_the_probe_asks_for_what_quantized_models_are_made_of():
    for opset in range(MIN_OPSET, min(MAX_OPSET, onnx.defs.onnx_opset_version()) + 1):
        model = _probe(opset)
        assert model.opset_import[0].version == opset
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}


def test_what_a_runtime_lacks_is_stepped_over(monkeypatch):
    """As onnxruntime 1.23 does, which has all of opset 23 but QuantizeLinear."""
    real = onnxruntime.InferenceSession
    newest_opset.cache_clear()
    wanted = newest_opset()

    def session(model, *arguments, **options):
        if _opset(model) == wanted:
            raise onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented("QuantizeLinear")
        return real(model, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    newest_opset.cache_clear()
    try:
        assert newest_opset() == wanted - 1
    finally:
        newest_opset.cache_clear()


def _opset(model):
    found = type(_probe(MIN_OPSET)).FromString(model)
    assert found.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    return found.opset_import[0].version
