"""Graph -> ONNX model."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from onnx import ModelProto, helper

from nuqconv.backends.onnx.batch import open_sizes
from nuqconv.backends.onnx.builder import Builder, FastProducts
from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.backends.onnx.lowering.parts import integer as integer_arithmetic
from nuqconv.backends.onnx.lowering.parts.products import product_layers
from nuqconv.backends.onnx.lowering.parts.qdq import qdq_layers
from nuqconv.backends.onnx.opset import MIN_OPSET, newest_opset
from nuqconv.backends.onnx.size import check_size
from nuqconv.backends.onnx.stream import LoweredModel
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque

__all__ = ["lower_graph", "to_onnx"]


def to_onnx(
    graph: Graph, *, opset: int | None = None, integer: bool = False, dynamic_batch: bool = False
) -> ModelProto:
    """Writes a graph as an ONNX model; the same graph gives the same bytes.

    Names of values, layers and parameters stay. A quantized graph computes on integers held in float32, as fake_quant models do:
    a Quantize's value is ``u = q - offset``. With ``integer`` it is uint8 ``q + 128`` instead, and the layers that read it are
    ConvInteger and MatMulInteger with int32 results.

    Args:
        graph: The graph, float or quantized.
        opset: ONNX opset, at least 13; by default the newest that the installed onnxruntime runs and that is tested.
        integer: Whether quantized layers compute on integers.
        dynamic_batch: Whether axis 0 of the inputs stays open (named ``N``).

    Returns:
        The model.

    Raises:
        UnsupportedError: The opset is not supported, layers have no form in ONNX (all of them are listed), or the model would exceed 2 GB.
        ModelError: The graph is wrong, or ``dynamic_batch`` is asked for and the batch size is fixed.
    """
    return lower_graph(graph, opset=opset, integer=integer, dynamic_batch=dynamic_batch).whole()


def lower_graph(
    graph: Graph,
    *,
    opset: int | None = None,
    integer: bool = False,
    dynamic_batch: bool = False,
    fast: FastProducts | None = None,
    compressed: bool = False,
    qdq: bool = False,
) -> LoweredModel:
    """Does what `to_onnx` does, without copying the weights; see there.

    With ``fast`` quantized layers are products of integers by onnxruntime's own operators, see `lowering.parts.products`; not with ``integer``. With
    ``compressed`` int8 weights of few levels are stored as packed indices and a codebook, see `packing`.
    With ``qdq`` quantized layers are float operators between QuantizeLinear and DequantizeLinear, see `lowering.parts.qdq`.
    """
    opset = _checked(opset)
    if integer and (compressed or qdq):
        raise UnsupportedError(
            "integer arithmetic has no form with packed weights or with QuantizeLinear; choose one of them"
        )
    _refuse(graph, integer=integer)
    check_size(graph)
    sizes = open_sizes(graph, dynamic_batch=dynamic_batch)
    products = product_layers(graph) if fast else frozenset[str]()
    build = Builder(
        graph,
        opset=opset,
        integer=integer,
        open_sizes=sizes,
        fast=fast,
        products=products,
        compressed=compressed,
        qdq=qdq_layers(graph) if qdq else None,
    )
    problems = []
    for node in graph.nodes:
        lower = lowering_for(node.op)
        try:
            if lower is not None:
                lower(build, node, node.op)
        except UnsupportedError as error:
            problems.append(str(error))
    if problems:
        raise UnsupportedError(f"network '{graph.name}' cannot be written as ONNX", problems)
    imports = [helper.make_opsetid("", opset)]
    domains = sorted({node.domain for node in build.nodes if node.domain})
    skeleton = helper.make_model(
        build.finish(),
        opset_imports=[*imports, *(helper.make_opsetid(domain, 1) for domain in domains)],
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="nuqconv",
        producer_version=_version(),
    )
    return LoweredModel(skeleton, build.tensors, build.sources)


def _checked(opset: int | None) -> int:
    newest = newest_opset()
    if opset is None:
        return newest
    if not MIN_OPSET <= opset <= newest:
        raise UnsupportedError(f"opset {opset} is not supported: choose one from {MIN_OPSET} to {newest}")
    return opset


def _refuse(graph: Graph, *, integer: bool) -> None:
    """Raises for everything that can be told before lowering, all at once."""
    problems = []
    for node in graph.nodes:
        if isinstance(node.op, Opaque):
            problems.append(f"{node.place}: type '{node.op.layer_type}' has no form in ONNX: {node.op.reason}")
        elif lowering_for(node.op) is None:
            problems.append(f"{node.place}: operator {node.op.kind} has no form in ONNX")
    if integer:
        problems += integer_arithmetic.problems(graph)
    if problems:
        raise UnsupportedError(
            f"network '{graph.name}' cannot be written as ONNX; register these layer types (nuqconv.register_layer, see docs/custom-layers.md) "
            "or cut it before them (Graph.up_to)",
            problems,
        )


def _version() -> str:
    try:
        return version("nuqconv")
    except PackageNotFoundError:
        return "unknown"
