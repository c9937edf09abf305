"""Graph -> .prototxt and .caffemodel."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from nuqconv.backends.caffe.emit import Style, emit_node, input_layers, refuse, surroundings
from nuqconv.backends.caffe.ends import net_problems, prepared
from nuqconv.backends.caffe.layer import OutputLayer
from nuqconv.backends.caffe.signature import sign
from nuqconv.errors import OutputError, UnsupportedError
from nuqconv.files.staging import move_into_place, staging_folder
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Array, Graph, Node

__all__ = ["CaffeWriter", "save_caffe", "write_caffe"]

_LIMIT = 2**31 - 1


def save_caffe(
    graph: Graph,
    model_file: str | Path,
    weights_file: str | Path,
    style: Style = Style.FAKE_QUANT,
    *,
    signed: bool = False,
) -> None:
    """Writes a graph as a Caffe model whose two files appear together or not at all, signed or not; see `write_caffe`."""
    model, weights = Path(model_file), Path(weights_file)
    with staging_folder(model) as folder:
        staged = (folder / "model.prototxt", folder / "model.caffemodel")
        write_caffe(graph, *staged, style)
        if signed:
            sign(*staged)
        move_into_place({model: staged[0], weights: staged[1]})


def write_caffe(
    graph: Graph, model_file: str | Path, weights_file: str | Path, style: Style = Style.FAKE_QUANT
) -> None:
    """Writes a graph as a Caffe model, file by file: into a folder that is not finished yet.

    Args:
        graph: A float or quantized graph.
        model_file: The .prototxt to write.
        weights_file: The .caffemodel to write.
        style: What quantized layers become.

    Raises:
        UnsupportedError: A node has no Caffe form.
        OutputError: A file cannot be written, or the weights exceed protobuf's 2 GiB.
    """
    CaffeWriter().write(graph, model_file, weights_file, style)


@dataclass(frozen=True)
class _Piece:
    """What a layer, or the layers of a node, are in the files.

    Attributes:
        text: Entries of the .prototxt.
        record: Fields of the .caffemodel's NetParameter.
    """

    text: str
    record: bytes


@dataclass(frozen=True)
class _Kept:
    """The piece of a node, with all that it was made of."""

    node: Node
    around: tuple[object, ...]
    arrays: tuple[Array, ...]
    piece: _Piece

    def fits(self, node: Node, around: tuple[object, ...], arrays: tuple[Array, ...]) -> bool:
        """Whether the piece is that of another node as well; parameters count as equal only if they are the same arrays."""
        mine = self.node
        return (
            node.origin is mine.origin
            and node == mine
            and around == self.around
            and len(arrays) == len(self.arrays)
            and all(one is other for one, other in zip(arrays, self.arrays, strict=True))
        )


class CaffeWriter:
    """Writes one graph after another, and makes again only those layers that differ from the last graph's.

    Meant for the trials of a search, whose graphs share most parameter arrays. What is written is the same, to the byte, as `write_caffe`
    writes. Parameters must not be changed in place. It keeps the serialized layers of the last graph, as much memory as the .caffemodel
    takes, and may be used from several threads.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Style, str], _Kept] = {}
        self._lock = threading.Lock()

    def write(
        self, graph: Graph, model_file: str | Path, weights_file: str | Path, style: Style = Style.FAKE_QUANT
    ) -> None:
        """Writes a graph; see `write_caffe`."""
        with self._lock:
            pieces = self._pieces(graph, style)
        if sum(len(piece.record) for piece in pieces) > _LIMIT:
            raise OutputError(f"network '{graph.name}': its weights exceed the 2 GiB that a .caffemodel can hold")
        text = "".join(piece.text for piece in pieces)
        try:
            Path(model_file).write_text(text, encoding="utf-8", newline="\n")
            with Path(weights_file).open("wb") as file:
                file.writelines(piece.record for piece in pieces)
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be written: {error.strerror}") from error

    def _pieces(self, graph: Graph, style: Style) -> list[_Piece]:
        problems = net_problems(graph)
        graph = style.layers.named(prepared(graph))
        header = NetParameter(name=graph.name)
        pieces = [_Piece(text_format.MessageToString(header), header.SerializeToString(deterministic=True))]
        pieces += [_piece([layer]) for layer in input_layers(graph, style)]
        kept: dict[tuple[Style, str], _Kept] = {}
        for node in graph.nodes:
            around, arrays = surroundings(graph, node), tuple(graph.params[name] for name in node.params)
            found = self._kept.get((style, node.name))
            if found is None or not found.fits(node, around, arrays):
                try:
                    found = _Kept(node, around, arrays, _piece(emit_node(graph, node, style)))
                except UnsupportedError as error:
                    problems.append(str(error))
                    continue
            kept[style, node.name] = found
            pieces.append(found.piece)
        refuse(graph, problems)
        self._kept = kept
        return pieces


def _piece(layers: list[OutputLayer]) -> _Piece:
    # The layers of a NetParameter are its last field, so the messages of one layer each, one after another, are the whole.
    records = [NetParameter(layer=[layer.record()]).SerializeToString(deterministic=True) for layer in layers]
    return _Piece("".join(layer.entry() for layer in layers), b"".join(records))
