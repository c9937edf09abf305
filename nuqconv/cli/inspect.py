"""``nuqconv inspect``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from nuqconv.backends.caffe.record import read_record
from nuqconv.backends.onnx.export import read_onnx
from nuqconv.cli.report import new_table
from nuqconv.errors import FormatError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.ir import Graph, dump
from nuqconv.ir.ops import Opaque
from nuqconv.quantize.capability import capabilities

__all__ = ["inspect"]


def inspect(
    files: Annotated[
        list[Path], typer.Argument(help="Files; a .prototxt followed by its .caffemodel is read as one model.")
    ],
    layers: Annotated[
        bool, typer.Option("--layers", "-l", help="Also list every layer with shapes, parameters and line.")
    ] = False,
) -> None:
    """Show what is in model, record, configuration and data files.

    Examples: nuqconv inspect deploy.prototxt weights.caffemodel --layers, nuqconv inspect out/model_scale_offset_record.txt
    """
    console = Console()
    waiting = list(files)
    while waiting:
        path = waiting.pop(0)
        console.print(f"[bold]{escape(str(path))}", soft_wrap=True)
        if path.suffix == ".prototxt" and waiting and waiting[0].suffix == ".caffemodel":
            _model(load_graph(path, waiting.pop(0)), console, layers=layers)
            continue
        shown = _VIEWS.get(path.suffix)
        if shown is None:
            raise FormatError(
                f"{path}: the ending {path.suffix or '(none)'} is not known; known are {', '.join(_VIEWS)}"
            )
        shown(path, console)


def _model(graph: Graph, console: Console, *, layers: bool) -> None:
    for item in graph.inputs:
        console.print(f"  input  {escape(item.name)}  {'x'.join(map(str, item.shape))}")
    for name in graph.outputs:
        shape = graph.shapes[name]
        console.print(f"  output {escape(name)}  {'x'.join(map(str, shape)) if shape else 'shape not known'}")
    total = sum(array.size for array in graph.params.values())
    console.print(
        f"  {len(graph.nodes)} layers, {total:,} parameters, {sum(a.nbytes for a in graph.params.values()):,} bytes\n"
    )
    kinds = Counter(node.op.layer_type if isinstance(node.op, Opaque) else node.op.kind for node in graph.nodes)
    can = capabilities(graph)
    table = new_table("type", "layers", "int8", "NUQ", right=("layers", "int8", "NUQ"))
    for kind, count in kinds.most_common():
        rows = [item for item in can if item.kind == kind]
        table.add_row(
            kind, str(count), str(sum(item.int8 for item in rows) or ""), str(sum(item.nuq for item in rows) or "")
        )
    console.print(table)
    reasons = Counter(f"{item.kind}: {item.reason}" for item in can if item.reason and (item.weighted or not item.int8))
    for reason, count in reasons.items():
        console.print(f"  {count} x {escape(reason)}")
    opaque = [node for node in graph.nodes if isinstance(node.op, Opaque)]
    if opaque:
        console.print(f"\n  {len(opaque)} layers are kept as they are, without being understood:")
    for node in opaque:
        console.print(f"    {escape(str(node.place))}: {escape(node.op.describe())}", soft_wrap=True)
    _integer_layers(graph, console)
    if layers:
        console.print()
        console.print(escape(dump(graph, places=True)), soft_wrap=True, highlight=False)


def _integer_layers(graph: Graph, console: Console) -> None:
    rows = [
        (node, graph.params[name])
        for node in graph.nodes
        for name in node.params[:1]
        if graph.params[name].dtype == np.int8
    ]
    if not rows:
        return
    table = new_table("int8 layer", "weights", "levels", right=("weights", "levels"))
    for node, array in rows:
        table.add_row(escape(node.name), f"{array.size:,}", str(np.unique(array).size))
    console.print(table)


def _prototxt(path: Path, console: Console) -> None:
    found = read_prototxt(path)
    kinds = Counter(layer.message.type for layer in found.layers)
    console.print(
        f"  network '{escape(found.header.name)}', {len(found.layers)} layers: "
        + ", ".join(f"{n} {k}" for k, n in kinds.most_common())
    )


def _caffemodel(path: Path, console: Console) -> None:
    table = new_table("layer", "type", "blobs", "numbers", right=("numbers",))
    for name, layer in read_weights(path).layers.items():
        arrays = [blob_array(blob) for blob in layer.blobs]
        if arrays:
            shapes = ", ".join(f"{'x'.join(map(str, array.shape))} {array.dtype}" for array in arrays)
            table.add_row(escape(name), layer.type, shapes, f"{sum(array.size for array in arrays):,}")
    console.print(table)


def _onnx(path: Path, console: Console) -> None:
    model = read_onnx(path)
    console.print(
        f"  opset {model.opset_import[0].version}, {len(model.graph.node)} nodes, made by {model.producer_name or 'unknown'}"
    )
    for label, values in (("input ", model.graph.input), ("output", model.graph.output)):
        for value in values:
            dims = "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in value.type.tensor_type.shape.dim)
            console.print(f"  {label} {escape(value.name)}  {dims}")
    kinds = Counter(node.op_type for node in model.graph.node)
    console.print("  " + ", ".join(f"{n} {k}" for k, n in kinds.most_common()))


def _text(path: Path, console: Console) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as text: {error}") from error
    if ":" not in text and "{" not in text:
        names = [name for name in text.strip().split(";") if name]
        console.print(f"  {len(names)} NUQ layers: {escape(', '.join(names)) or 'none'}")
        return
    table = new_table("layer", "scale_d", "offset_d", "scale_w", "input", "cluster", right=("scale_d", "offset_d"))
    for entry in read_record(path).record:
        value = entry.value
        scales = f"{len(value.scale_w)}: {min(value.scale_w):.4g} .. {max(value.scale_w):.4g}" if value.scale_w else ""
        table.add_row(
            escape(entry.key),
            f"{value.scale_d:.6g}",
            str(value.offset_d),
            scales,
            f"{value.channels}x{value.height}x{value.width}",
            f"{len(value.cluster)} levels" if value.cluster else "",
        )
    console.print(table)


def _json(path: Path, console: Console) -> None:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: is no JSON file: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: holds {type(content).__name__}, expected an object")
    if "graph" in content:
        operators = [op for graph in content["graph"] for op in graph.get("op", [])]
        kinds = Counter(op["type"] for op in operators)
        console.print(
            f"  quantization information, {len(operators)} layers: "
            + ", ".join(f"{n} {k}" for k, n in kinds.most_common())
        )
        return
    layers = {name: value for name, value in content.items() if isinstance(value, dict)}
    table = new_table("layer", "enabled", "weights")
    for name, value in layers.items():
        weights = value.get("weight_quant_params") or {}
        told = ", ".join(f"{key} {item}" for key, item in weights.items()) if isinstance(weights, dict) else ""
        table.add_row(escape(name), str(value.get("quant_enable", "")), escape(told))
    console.print("  " + escape(", ".join(f"{name} {value}" for name, value in content.items() if name not in layers)))
    console.print(table)


def _npz(path: Path, console: Console) -> None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                console.print(f"  {escape(name)}  {'x'.join(map(str, array.shape)) or 'one number'} {array.dtype}")
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: is no .npz file of plain arrays: {error}") from error


_VIEWS: Mapping[str, Callable[[Path, Console], None]] = {
    ".prototxt": _prototxt,
    ".caffemodel": _caffemodel,
    ".onnx": _onnx,
    ".txt": _text,
    ".json": _json,
    ".npz": _npz,
}
