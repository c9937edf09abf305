"""Finds nets whose result depends on memory that Caffe shares between blobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from nuqconv.ir import Node
from nuqconv.ir.ops import Identity
from nuqconv.ir.traits import SharesMemory

__all__ = ["overwritten_reads", "shares_memory"]


def shares_memory(node: Node) -> bool:
    """Returns whether Caffe lets the tops of a layer be its first bottom's memory."""
    sharing = node.op.trait(SharesMemory)
    return sharing is not None and sharing.holds(len(node.inputs), len(node.outputs))


def overwritten_reads(nodes: Sequence[Node], outputs: Sequence[str], storage: Mapping[str, str]) -> list[str]:
    """Returns what reads a blob whose memory an in-place layer has overwritten under another name.

    Caffe computes with the overwritten numbers there, which nobody who reads the file would expect; a graph of values cannot express it.

    Args:
        nodes: The layers in the order in which they run.
        outputs: The net's outputs.
        storage: Blob of each value, where it differs from the value's name.

    Returns:
        One line for each such read; nothing for a net that means the same either way.
    """
    memory: dict[str, int] = {}
    held: dict[int, list[str]] = defaultdict(list)
    overwriter: dict[str, Node] = {}
    problems = []

    def hold(value: str, where: int) -> int:
        if value not in memory:
            memory[value] = where
            held[where].append(value)
        return memory[value]

    for node in nodes:
        problems += [_told(node, name, overwriter[name], storage) for name in node.inputs if name in overwriter]
        shares = shares_memory(node)
        for output in node.outputs:
            source = _in_place(node, output, storage)
            if source is not None:
                kept = hold(source, len(memory))
                # A Dropout writes back what it has read.
                if not isinstance(node.op, Identity):
                    overwriter.update(dict.fromkeys(held[kept], node))
                    # Nothing that is overwritten already needs to be told again.
                    held[kept].clear()
                hold(output, kept)
            elif shares and node.inputs:
                hold(output, hold(node.inputs[0], len(memory)))
    return problems + [_told(None, name, overwriter[name], storage) for name in outputs if name in overwriter]


def _in_place(node: Node, output: str, storage: Mapping[str, str]) -> str | None:
    """Returns the input whose blob an output takes over."""
    blob = storage.get(output, output)
    return next((name for name in node.inputs if storage.get(name, name) == blob), None)


def _told(reader: Node | None, value: str, writer: Node, storage: Mapping[str, str]) -> str:
    who = "the net's output is" if reader is None else f"{reader.place} reads"
    return (
        f"{who} blob '{storage.get(value, value)}', whose memory {writer.place} has overwritten in place through another blob: "
        "Caffe computes with the overwritten numbers there; give the in-place layer a top of its own, or read its top if that is what is meant"
    )
