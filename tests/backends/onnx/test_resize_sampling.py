"""GridSample in every opset that has it, against ONNX's reference implementation of nodes made by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from nuqconv.backends.onnx import newest_opset, to_onnx
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import GridSample, OpError

RNG = np.random.default_rng(8)
IMAGE = RNG.standard_normal((2, 3, 5, 6)).astype(np.float32)
GRID = RNG.uniform(-1.2, 1.2, (2, 4, 7, 2)).astype(np.float32)


def graph_of(op, arrays):
    inputs = tuple(Input(f"x{number}", array.shape) for number, array in enumerate(arrays))
    return Graph("one", inputs, (Node("node", op, tuple(item.name for item in inputs), ("y",)),), {}, ("y",)).verify()


def reference(op_type, arrays, **attributes):
    names = [f"x{number}" for number in range(len(arrays))]
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([helper.make_node(op_type, names, ["y"], **attributes)], "one", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))[0]


def cubic_with_border(*, align_corners):
    found = np.zeros((*IMAGE.shape[:2], *GRID.shape[1:3]))
    ends = IMAGE.shape[3] - 1, IMAGE.shape[2] - 1
    for n, i, j in np.ndindex(GRID.shape[:3]):
        taps = []
        for at, end in zip(GRID[n, i, j].astype(np.float64), ends, strict=True):
            position = (at + 1) / 2 * end if align_corners else ((at + 1) * (end + 1) - 1) / 2
            first = math.floor(position) - 1
            taps.append([(min(max(first + k, 0), end), cubic(abs(position - first - k))) for k in range(4)])
        for (x, right), (y, down) in itertools.product(*taps):
            found[n, :, i, j] += right * down * IMAGE[n, :, y, x]
    return found


def cubic(distance, a=-0.75):
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    return (((distance - 5) * distance + 8) * distance - 4) * a


def check(op, arrays, wanted, first):
    graph = graph_of(op, arrays)
    assert graph.shapes["y"] == wanted.shape
    with pytest.raises(UnsupportedError, match=f"needs opset {first}"):
        to_onnx(graph, opset=first - 1)
    for opset in range(first, newest_opset() + 1):
        session = onnxruntime.InferenceSession(to_onnx(graph, opset=opset).SerializeToString())
        (found,) = session.run(["y"], {f"x{number}": array for number, array in enumerate(arrays)})
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=f"opset {opset}")


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(mode, padding, align_corners):
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": int(align_corners)}
    if (mode, padding) == ("cubic", "border"):
        # The reference implementation moves the position to the border, not the elements beyond it.
        wanted = cubic_with_border(align_corners=align_corners)
    else:
        wanted = reference("GridSample", [IMAGE, GRID], **attributes)
    check(GridSample(mode, padding, align_corners), [IMAGE, GRID], wanted, 16)


def test_grid_sample_of_three_spatial_axes():
    data = RNG.standard_normal((1, 2, 3, 4, 5)).astype(np.float32)
    grid = RNG.uniform(-1, 1, (1, 2, 3, 2, 3)).astype(np.float32)
    wanted = reference("GridSample", [data, grid], mode="linear")
    check(GridSample(), [data, grid], wanted, 20)


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (GridSample(), [(2, 3, 5, 6), (2, 4, 7, 3)], "positions of shape"),
        (GridSample("cubic"), [(1, 2, 3, 4, 5), (1, 2, 3, 2, 3)], "mode cubic"),
    ],
)
def test_what_does_not_fit(op, shapes, message):
    with pytest.raises(OpError, match=message):
        op.infer(shapes, [])
