"""Graph -> ONNX model."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from onnx import ModelProto, helper

from nuqconv.backends.onnx.batch import open_sizes
from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.backends.onnx.opset import MIN_OPSET, newest_opset
from nuqconv.backends.onnx.size import check_size
from nuqconv.backends.onnx.stream import LoweredModel
from nuqconv.backends.onnx.style import Layers, Style
from nuqconv.backends.onnx.styles import FAKE_QUANT
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph
from nuqconv.ir.ops import Opaque

__all__ = ["PRODUCER", "lower_graph", "to_onnx"]

PRODUCER = "nuqconv"
"""What a model names as the program that wrote it."""


def to_onnx(
    graph: Graph, *, opset: int | None = None, style: Style = FAKE_QUANT, dynamic_batch: bool = False
) -> ModelProto:
    """Writes a graph as an ONNX model; the same graph gives the same bytes.

    Names of values, layers and parameters stay.

    Args:
        graph: The graph, float or quantized.
        opset: ONNX opset, at least 13; by default the newest that the installed onnxruntime runs and that is tested.
        style: What quantized layers become, see `styles`.
        dynamic_batch: Whether axis 0 of the inputs stays open (named ``N``).

    Returns:
        The model.

    Raises:
        UnsupportedError: The opset is not supported, layers have no form in ONNX (all of them are listed), or the model would exceed 2 GB.
        ModelError: The graph is wrong, or ``dynamic_batch`` is asked for and the batch size is fixed.
    """
    return lower_graph(graph, opset=opset, style=style, dynamic_batch=dynamic_batch).whole()


def lower_graph(
    graph: Graph, *, opset: int | None = None, style: Style = FAKE_QUANT, dynamic_batch: bool = False
) -> LoweredModel:
    """Does what `to_onnx` does, without copying the weights; see there."""
    opset = _checked(opset)
    layers = style.layers(graph)
    _refuse(graph, layers)
    check_size(graph)
    sizes = open_sizes(graph, dynamic_batch=dynamic_batch)
    build = Builder(graph, opset=opset, open_sizes=sizes, packed=style.packed, stepped=style.stepped)
    problems = []
    for node in graph.nodes:
        lower = lowering_for(node.op)
        try:
            if lower is not None and not layers.write(build, node):
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
        producer_name=PRODUCER,
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


def _refuse(graph: Graph, layers: Layers) -> None:
    """Raises for everything that can be seen before lowering, all at once."""
    problems = []
    for node in graph.nodes:
        if isinstance(node.op, Opaque):
            problems.append(f"{node.place}: type '{node.op.layer_type}' has no form in ONNX: {node.op.reason}")
        elif lowering_for(node.op) is None:
            problems.append(f"{node.place}: operator {node.op.kind} has no form in ONNX")
    problems += layers.problems()
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
