"""What ``nuqconv inspect`` shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from google.protobuf.message import EncodeError
from onnx import ModelProto, TypeProto, shape_inference
from rich.console import Console
from rich.markup import escape

from nuqconv.backends.caffe.record import read_record
from nuqconv.cli.report import new_table, sizes_text
from nuqconv.cli.views.trials import print_journal
from nuqconv.config.simplified import read_definition
from nuqconv.data.datafile import read_arrays
from nuqconv.errors import ConfigError, FormatError, NuqconvError, printable
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.files.safe_json import parse
from nuqconv.formats.argument import group_files, open_model
from nuqconv.formats.base import FileKind
from nuqconv.formats.caffe import DEFINITION, WEIGHTS
from nuqconv.formats.onnx import MODEL
from nuqconv.formats.source import SourceModel
from nuqconv.formats.table import kind_of
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.frontends.onnx import fed_inputs, read_onnx
from nuqconv.frontends.options import AS_THEY_ARE, ReadOptions
from nuqconv.ir import Graph, dump
from nuqconv.ir.ops import Opaque
from nuqconv.job.codebooks import read_codebooks
from nuqconv.quantize.capability import capabilities, quantized_parts
from nuqconv.search.journal import Journal

__all__ = ["print_files"]

_CUT = ReadOptions(cut_for_inference=True)


class _View(Protocol):
    """Prints what is in a file; ``layers`` lists every layer too, where a file has some."""

    def __call__(self, path: Path, console: Console, *, layers: bool) -> None: ...


def print_files(
    files: Sequence[Path], console: Console, *, layers: bool = False, options: ReadOptions = AS_THEY_ARE
) -> None:
    """Prints what is in files, one after the other; ``layers`` lists every layer of a model too.

    Args:
        files: The files.
        console: Where to print.
        layers: Whether to list every layer.
        options: How models are read.

    Raises:
        FormatError: A file cannot be read, or is of no kind that is known.
    """
    for group in group_files(files):
        console.print(f"[bold]{_cell(str(group[0]))}", soft_wrap=True)
        if len(group) > 1:
            _model(open_model(group, options=options).read(_CUT), console, layers=layers)
        else:
            _view_of(group[0])(group[0], console, layers=layers)


def _view_of(path: Path) -> _View:
    found = kind_of(path)
    shown = _OTHERS.get(path.suffix.lower()) if found is None else _MODELS[found[1]]
    if shown is None:
        endings = [kind.suffixes[0] for kind in _MODELS]
        raise FormatError(
            f"{path}: the ending {path.suffix or '(none)'} is not known; known are {', '.join((*endings, *_OTHERS))}"
        )
    return shown


def _model(source: SourceModel, console: Console, *, layers: bool) -> None:
    graph = source.graph
    for note in source.notes:
        _say(console, f"  note   {note}")
    for item in graph.inputs:
        _say(console, f"  input  {item.name}  {sizes_text(item.shape)}")
    for name in graph.outputs:
        _say(console, f"  output {name}  {sizes_text(graph.shapes[name])}")
    total = sum(array.size for array in graph.params.values())
    size = sum(array.nbytes for array in graph.params.values())
    _say(console, f"  {_count(len(graph.nodes), 'layer')}, {total:,} parameters, {size:,} bytes")
    kinds = Counter(node.op.layer_type if isinstance(node.op, Opaque) else node.op.kind for node in graph.nodes)
    quantized = bool(quantized_parts(graph))
    can = () if quantized else capabilities(graph)
    _say(console, "  quantized already\n" if quantized else "")
    table = new_table("type", "layers", "int8", "NUQ", right=("layers", "int8", "NUQ"))
    for kind, count in kinds.most_common():
        rows = [item for item in can if item.kind == kind]
        table.add_row(
            _cell(kind),
            str(count),
            str(sum(item.int8 for item in rows) or ""),
            str(sum(item.nuq for item in rows) or ""),
        )
    console.print(table)
    reasons = Counter(f"{item.kind}: {item.reason}" for item in can if item.reason and (item.weighted or not item.int8))
    if reasons:
        console.print()
    for reason, count in reasons.items():
        _say(console, f"  {count} x {reason}")
    opaque = [node for node in graph.nodes if isinstance(node.op, Opaque)]
    if opaque:
        _say(console, f"\n  {_count(len(opaque), 'layer')} kept to the letter, without being understood:")
    for node in opaque:
        reason = node.op.reason if isinstance(node.op, Opaque) else ""
        _say(console, f"    {node.place}: {reason}")
    _integer_layers(graph, console)
    if layers:
        console.print()
        _say(console, dump(graph, places=True).rstrip())


def _integer_layers(graph: Graph, console: Console) -> None:
    rows = [
        (node, graph.params[name])
        for node in graph.nodes
        for name in node.params[:1]
        if graph.params[name].dtype == np.int8
    ]
    if not rows:
        return
    console.print()
    table = new_table("int8 layer", "weights", "levels", right=("weights", "levels"))
    for node, array in rows:
        table.add_row(_cell(node.name), f"{array.size:,}", str(np.unique(array).size))
    console.print(table)


def _prototxt(path: Path, console: Console, *, layers: bool) -> None:
    found = read_prototxt(path)
    kinds = Counter(layer.message.type for layer in found.layers)
    _say(console, f"  network '{found.header.name}', {_count(len(found.layers), 'layer')}: {_kinds(kinds)}")
    if layers:
        _net_layers(path, console)


def _net_layers(path: Path, console: Console) -> None:
    """Lists the layers that the TEST phase has, with the shapes that Caffe would give them."""
    from nuqconv.pycaffe import TEST, Net

    try:
        net = Net(str(path), TEST)
    except NuqconvError as error:
        _say(console, f"  shapes are not known: {error}")
        return
    table = new_table("layer", "type", "tops", "parameters")
    names = net._layer_names  # noqa: SLF001  (pycaffe's own name of it, the only list in which a name may stand twice)
    for name, layer in zip(names, net.layers, strict=True):
        tops = ", ".join(f"{top} {sizes_text(tuple(net.blobs[top].shape))}" for top in net.top_names[name])
        params = ", ".join(sizes_text(tuple(blob.shape)) for blob in net.params.get(name, ()))
        table.add_row(_cell(name), _cell(layer.type), _cell(tops), params)
    console.print()
    console.print(table)


def _caffemodel(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    table = new_table("layer", "type", "blobs", "numbers", right=("numbers",))
    for name, layer in read_weights(path).layers.items():
        arrays = [blob_array(blob) for blob in layer.blobs]
        if arrays:
            shapes = ", ".join(f"{'x'.join(map(str, array.shape))} {array.dtype}" for array in arrays)
            table.add_row(_cell(name), _cell(layer.type), shapes, f"{sum(array.size for array in arrays):,}")
    console.print(table)


def _onnx(path: Path, console: Console, *, layers: bool) -> None:
    model = read_onnx(path)
    opsets = ", ".join(f"{item.domain or 'opset'} {item.version}" for item in model.opset_import)
    maker = model.producer_name or "unknown"
    _say(console, f"  {opsets}, {_count(len(model.graph.node), 'node')}, made by {maker}")
    for label, values in (("input ", fed_inputs(model)), ("output", model.graph.output)):
        for value in values:
            _say(console, f"  {label} {value.name}  {_type_text(value.type)}")
    _say(console, f"  {_kinds(Counter(node.op_type for node in model.graph.node))}")
    if layers:
        _nodes(model, console)


def _nodes(model: ModelProto, console: Console) -> None:
    """Lists the nodes with the shapes that ONNX itself works out; where it cannot, a shape is not known."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except (shape_inference.InferenceError, ValueError, EncodeError) as error:
        _say(console, f"  shapes are not known: {error}")
        graph = model.graph
    shapes = {item.name: item.type for item in (*graph.input, *graph.value_info, *graph.output)}
    sizes = {item.name: sizes_text(tuple(item.dims)) for item in model.graph.initializer}
    table = new_table("node", "operator", "outputs", "parameters")
    for node in model.graph.node:
        made = ", ".join(f"{name} {_type_text(shapes.get(name))}".rstrip() for name in node.output if name)
        given = ", ".join(f"{name} {sizes[name]}" for name in node.input if name in sizes)
        table.add_row(_cell(node.name), _cell(node.op_type), _cell(made), _cell(given))
    console.print()
    console.print(table)


def _type_text(found: TypeProto | None) -> str:
    if found is None or not found.tensor_type.HasField("shape"):
        return ""
    dims = found.tensor_type.shape.dim
    return "x".join(str((dim.dim_value if dim.dim_value > 0 else dim.dim_param) or "?") for dim in dims) or "one number"


def _text(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    text = _read_text(path)
    if ":" not in text and "{" not in text:
        names = [name for name in text.strip().split(";") if name]
        _say(console, f"  {_count(len(names), 'NUQ layer')}: {', '.join(names) or 'none'}")
        return
    record = read_record(path).record
    # Codebooks are there in records that earlier versions have written.
    books = ["cluster"] if any(entry.value.cluster for entry in record) else []
    table = new_table("layer", "scale_d", "offset_d", "scale_w", "input", *books, right=("scale_d", "offset_d"))
    for entry in record:
        value = entry.value
        table.add_row(
            _cell(entry.key),
            f"{value.scale_d:.6g}",
            str(value.offset_d),
            _range(value.scale_w),
            f"{value.channels}x{value.height}x{value.width}",
            *(f"{len(value.cluster)} levels" if value.cluster else "" for _ in books),
        )
    console.print(table)


def _codebooks(path: Path, console: Console) -> None:
    table = new_table("layer", "levels", "codebook", right=("levels",))
    for name, book in read_codebooks(path).items():
        table.add_row(_cell(name), str(len(book.levels)), " ".join(map(str, book.levels)))
    console.print(table)


def _range(scales: Sequence[float]) -> str:
    if len(scales) < 2:
        return "".join(f"{scale:.4g}" for scale in scales)
    return f"{len(scales)}: {min(scales):.4g} .. {max(scales):.4g}"


def _json(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    try:
        content: Any = parse(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is no JSON file: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: holds {type(content).__name__}, expected an object")
    try:
        if "codebooks" in content:
            _codebooks(path, console)
        elif "graph" in content:
            _information(content["graph"], console)
        elif "trials" in content:
            _report(content, console)
        else:
            _configuration(content, console)
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise FormatError(
            f"{path}: is neither a configuration, nor a quantization information file, nor a report of auto: "
            f"{type(error).__name__} {error}"
        ) from error


def _information(graphs: Any, console: Console) -> None:
    operators = [op for graph in graphs for op in graph["op"]]
    kinds = Counter(op["type"] for op in operators)
    _say(console, f"  quantization information, {_count(len(operators), 'layer')}: {_kinds(kinds)}")
    for op in operators:
        attributes = {item["key"]: item["value"] for item in op.get("attr", [])}
        originals = attributes.get("_datadump_original_op_names", {}).get("list", {}).get("s", [])
        # The layers around a quantized one have the same originals.
        if len(originals) > 1 and op["type"] not in ("Quant", "DeQuant"):
            _say(console, f"  {op['name']} stands for {', '.join(originals)}")


def _report(content: dict[str, Any], console: Console) -> None:
    sizes = content["sizes"]
    _say(console, f"  report of auto: metric {content['original_metric']:.5g} -> {content['metric']:.5g}")
    _say(
        console,
        f"  {sizes['float_bytes']:,} -> {sizes['bytes']:,} bytes, {sizes['bits_per_weight']:.2f} bits per weight",
    )
    _say(console, f"  {_count(len(content['trials']), 'quantized model')} evaluated\n")
    table = new_table("layer", "type", "precision", "steps", "bits", "bytes", right=("steps", "bits", "bytes"))
    for layer in content["layers"]:
        steps = "" if layer["num_steps"] is None else str(layer["num_steps"])
        cells = (*(_cell(str(layer[key])) for key in ("name", "kind", "precision")), steps, str(layer["bits"]))
        table.add_row(*cells, f"{layer['bytes']:,}")
    console.print(table)


def _configuration(content: dict[str, Any], console: Console) -> None:
    layers = {name: value for name, value in content.items() if isinstance(value, dict)}
    general = (f"{name} {json.dumps(value)}" for name, value in content.items() if name not in layers)
    _say(console, f"  quantization configuration: {', '.join(general)}\n")
    table = new_table("layer", "enabled", "weights")
    for name, value in layers.items():
        weights = value.get("weight_quant_params") or {}
        told = ", ".join(f"{item}" if key == "wts_algo" else f"{key} {item}" for key, item in weights.items())
        table.add_row(_cell(name), "yes" if value.get("quant_enable") else "no", _cell(told))
    console.print(table)


def _definition(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    problems: list[str] = []
    try:
        found = read_definition(path, problems)
    except ConfigError as error:
        raise FormatError(str(error)) from error
    general = [f"{name} {json.dumps(value)}" for name, value in found.header.items()]
    _say(console, f"  simplified configuration{': ' if general else ''}{', '.join(general)}")
    for label, names in (("skipped layers", found.skip_layers), ("skipped types", found.skip_layer_types)):
        if names:
            _say(console, f"  {label}: {', '.join(names)}")
    if found.nuq is not None:
        chooser = found.nuq.mapping_file or ("the device's rule" if found.nuq.rule else "all that can be")
        _say(console, f"  NUQ: {found.nuq.params.num_steps} steps, candidates by {chooser}")
    table = new_table("of", "weights", "input")
    rows = [("all", found.common), *((f"type {name}", item) for name, item in found.types.items())]
    rows += [(f"type {name} (deprecated)", item) for name, item in found.old_types.items()]
    for name, item in (*rows, *((f"layer {name}", item) for name, item in found.layers.items())):
        weights = (
            "" if item.weights is None else " ".join(map(str, item.weights.model_dump(exclude_none=True).values()))
        )
        table.add_row(_cell(name), weights, "" if item.activation is None else item.activation.act_algo)
    console.print(table)
    for problem in problems:
        _say(console, f"  wrong: {problem}")


def _journal(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    with Journal.read(path) as journal:
        print_journal(journal, path, console, title=False)


def _npz(path: Path, console: Console, *, layers: bool) -> None:
    del layers
    for name, array in read_arrays(path).items():
        _say(console, f"  {name}  {sizes_text(array.shape)} {array.dtype}")


def _read_text(path: Path) -> str:
    try:
        return read_bounded(path, MOST_TEXT).decode("utf-8")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is no text: {error}") from error


def _cell(text: str) -> str:
    """Returns a text for a table as it is, whatever brackets and control characters are in it."""
    return escape(printable(text))


def _say(console: Console, text: str) -> None:
    """Prints a line as it is, whatever brackets are in its names."""
    console.print(printable(text), markup=False, soft_wrap=True)


def _kinds(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


_MODELS: Mapping[FileKind, _View] = {DEFINITION: _prototxt, WEIGHTS: _caffemodel, MODEL: _onnx}
_OTHERS: Mapping[str, _View] = {".txt": _text, ".cfg": _definition, ".json": _json, ".npz": _npz, ".sqlite": _journal}
