"""Nets as pictures: the text of a dot file, which graphviz draws."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuqconv.errors import ConfigError, OutputError, RuntimeMissingError
from nuqconv.pycaffe.proto import caffe_pb2

__all__ = [
    "DotGraph",
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_layer_lr_mult",
    "get_pooling_types_dict",
    "get_pydot_graph",
]

_TEXT_FORMATS = ("dot", "gv", "raw")
_COLORS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}
_LAYER = {"shape": "record", "style": "filled"}
_IN_PLACE_COLOR = "#90EE90"
_BLOB = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct")


@dataclass
class DotGraph:
    """A graph with labels; what pycaffe makes with pydot.

    Attributes:
        name: Its name.
        rankdir: Its direction, ``LR``, ``TB`` or ``BT``.
        nodes: Label and attributes of each node by its key.
        edges: Source, target and label of each edge.
    """

    name: str
    rankdir: str
    nodes: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)

    def to_string(self) -> str:
        """Returns the dot text."""
        keys = {key: f"n{number}" for number, key in enumerate(self.nodes)}
        lines = [f"digraph {_quoted(self.name)} {{", f"rankdir={self.rankdir};"]
        for key, (label, attributes) in self.nodes.items():
            listed = ", ".join(f"{name}={_quoted(value)}" for name, value in {"label": label, **attributes}.items())
            lines.append(f"{keys[key]} [{listed}];")
        lines += [f"{keys[source]} -> {keys[target]} [label={_quoted(label)}];" for source, target, label in self.edges]
        return "\n".join((*lines, "}")) + "\n"

    def create(self, format: str = "png") -> bytes:  # noqa: A002 - pydot's name
        """Returns the picture; ``dot``, ``gv`` and ``raw`` are the text itself.

        Raises:
            RuntimeMissingError: graphviz is not installed.
            ConfigError: graphviz does not know the format.
        """
        text = self.to_string().encode()
        if format in _TEXT_FORMATS:
            return text
        tool = shutil.which("dot")
        if tool is None:
            raise RuntimeMissingError(
                f"a picture of format '{format}' needs graphviz (its program dot is not on PATH); a file named .dot needs nothing"
            )
        done = subprocess.run([tool, f"-T{format}"], input=text, capture_output=True, check=False)
        if done.returncode:
            raise ConfigError(f"graphviz refuses format '{format}': {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def _quoted(text: str) -> str:
    # A backslash keeps its meaning in labels: \n breaks the line.
    return '"' + text.replace('"', '\\"') + '"'


def get_pooling_types_dict() -> dict[int, str]:
    """Returns the names of the pooling methods by number."""
    return {value: name for name, value in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: Any) -> str:
    """Returns what stands at the edges to a layer's tops: its number of outputs, or a batch size."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def get_layer_lr_mult(layer: Any) -> tuple[float, float]:
    """Returns the learning rate multipliers of a layer's weights and bias.

    Raises:
        ValueError: The layer has none, or more than two.
    """
    if layer.type not in _WEIGHTED:
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    rates = [param.lr_mult for param in layer.param]
    if len(rates) > 2:
        raise ValueError("Could not parse the learning rate multiplier")
    first, second, *_ = [*rates, 1.0, 1.0]
    return first, second


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """Returns a layer's name, type and window, in lines or words as the direction has room for."""
    kind = (
        f"{layer.type} {get_pooling_types_dict()[layer.pooling_param.pool]}" if layer.type == "Pooling" else layer.type
    )
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    parts = [layer.name, f"({kind})"]
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        parts += [f"{name}: {value}" for name, value in _window(layer)]
    if display_lrm and layer.type in _WEIGHTED:
        rates = get_layer_lr_mult(layer)
        if any(rates):
            parts.append("lr mult: {:.1f}, {:.1f}".format(*rates))
    return separator.join(parts)


def _window(layer: Any) -> Iterator[tuple[str, int]]:
    pooling = layer.type == "Pooling"
    param = layer.pooling_param if pooling else layer.convolution_param
    for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0)):
        value = getattr(param, name)
        yield name.replace("_", " "), value if pooling else value[0] if len(value) else default


def choose_color_by_layertype(layertype: str) -> str:
    """Returns the colour of a layer type."""
    return _COLORS.get(layertype, "#6495ED")


def _included(layer: Any, phase: int | None) -> bool:
    if phase is None:
        return True
    if len(layer.include) and len(layer.exclude):
        raise ValueError(f"layer {layer.name} has both include and exclude specified.")
    included = not len(layer.include) or any(rule.phase == phase for rule in layer.include)
    return included and not any(rule.phase == phase for rule in layer.exclude)


def get_pydot_graph(
    caffe_net: Any,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> DotGraph:
    """Returns a net's graph of layers and blobs.

    Args:
        caffe_net: The NetParameter.
        rankdir: Its direction, ``LR``, ``TB`` or ``BT``.
        label_edges: Whether edges tell the number of outputs.
        phase: Draws the layers of this phase only; None draws all.
        display_lrm: Whether layers tell their learning rate multipliers.

    Raises:
        ValueError: A layer has include and exclude rules at once.
    """
    graph = DotGraph(caffe_net.name or "Net", rankdir)
    for layer in caffe_net.layer:
        if not _included(layer, phase):
            continue
        key = f"{layer.name}_{layer.type}"
        in_place = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        color = _IN_PLACE_COLOR if in_place else choose_color_by_layertype(layer.type)
        graph.nodes[key] = (get_layer_label(layer, rankdir, display_lrm), {**_LAYER, "fillcolor": color})
        for blob in (*layer.bottom, *layer.top):
            graph.nodes.setdefault(f"{blob}_blob", (blob, _BLOB))
        graph.edges += [(f"{blob}_blob", key, "") for blob in layer.bottom]
        label = get_edge_label(layer) if label_edges else ""
        graph.edges += [(key, f"{blob}_blob", label) for blob in layer.top]
    return graph


def draw_net(
    caffe_net: Any,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """Returns a net's picture; see `get_pydot_graph` and `DotGraph.create`."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(ext)


def draw_net_to_file(
    caffe_net: Any,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Writes a net's picture; the file's ending says the format, ``.dot`` needs no graphviz.

    Raises:
        OutputError: The file cannot be written.
    """
    target = Path(filename)
    picture = draw_net(caffe_net, rankdir, target.suffix.removeprefix(".") or "dot", phase, display_lrm)
    try:
        target.write_bytes(picture)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
