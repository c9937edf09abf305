"""The quantization factor record, the list of NUQ layers and the quantization information file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from nuqconv.backends.caffe.emit import Style, deploy_names, emit
from nuqconv.errors import FormatError
from nuqconv.files.bounded import MOST_TEXT, read_bounded
from nuqconv.files.proto_text import ParseError, parse_text
from nuqconv.frontends.caffe.schema import message_class
from nuqconv.ir import Graph
from nuqconv.ir.ops import Weighted
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN

__all__ = ["information_text", "nuq_layers_text", "read_record", "record_text"]

_Record: Any = message_class("ScaleOffsetRecord")


def record_text(quantizer: Quantizer, plan: Plan, skip_fusion: frozenset[str] = frozenset()) -> str:
    """Returns the quantization factor record of a plan as protobuf text.

    Args:
        quantizer: Holds the float graph and its integers.
        plan: The plan; layers without an activation step size are left out.
        skip_fusion: Layers that took no part in folding.
    """
    record = _Record()
    graph = quantizer.graph
    for name, layer in plan.items():
        if layer.precision is Precision.FLOAT or layer.activation is None:
            continue
        node = graph.node[name]
        entry = record.record.add()
        entry.key = name
        value = entry.value
        value.scale_d, value.offset_d = layer.activation.scale, layer.activation.offset
        # Readers want a step size of weights for Pooling, too.
        scales = quantizer.layer_integers(name, layer).scales.tolist() if node.params else [1.0]
        value.scale_w.extend(scales)
        value.offset_w.extend([0] * len(scales))
        if node.params:
            value.shift_bit.extend([0] * len(scales))
        shape = graph.shapes[node.inputs[0]]
        first = node.op.axis if isinstance(node.op, Weighted) else 1
        # Behind a layer that nobody here understands the shape is not known, and the record does without it.
        if shape is not None:
            value.channels, value.height, value.width = (*shape[first : first + 3], 1, 1)[:3]
        value.skip_fusion = name in skip_fusion
    return str(text_format.MessageToString(record))


def read_record(path: str | Path) -> Any:
    """Reads a quantization factor record.

    Returns:
        A ScaleOffsetRecord message.

    Raises:
        FormatError: The file cannot be read, is no such record, or names a layer twice or gives it numbers that cannot be; all are listed.
    """
    try:
        record: Any = parse_text(read_bounded(path, MOST_TEXT).decode("utf-8"), _Record())
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ParseError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: is no quantization factor record: {error}") from error
    counts = Counter(entry.key for entry in record.record)
    problems = [f"record of '{key}' stands here {count} times" for key, count in counts.items() if count > 1]
    for entry in record.record:
        problems += [f"record of '{entry.key}': {problem}" for problem in _wrong_factors(entry.value)]
    if problems:
        raise FormatError(f"{path}: is a damaged quantization factor record", problems)
    return record


def _wrong_factors(value: Any) -> Iterator[str]:
    scales = [("scale_d", scale) for scale in ([value.scale_d] if value.HasField("scale_d") else [])]
    scales += [("scale_w", scale) for scale in value.scale_w]
    for name, scale in scales:
        if not (math.isfinite(scale) and scale > 0):
            yield f"{name} is {scale}, expected a finite number above 0"
            return
    outside = next((level for level in value.cluster if not INT8_MIN <= level <= INT8_MAX), None)
    if outside is not None:
        yield f"cluster has the level {outside}, expected integers in [{INT8_MIN}, {INT8_MAX}]"


def nuq_layers_text(plan: Plan, names: Mapping[str, str]) -> str:
    """Returns the names of the NUQ layers joined by ``;`` on one line.

    Args:
        plan: The plan.
        names: What layers are called in the deploy model, where that is not their own name (`deploy_names`).
    """
    return ";".join(names.get(name, name) for name, layer in plan.items() if layer.precision is Precision.NUQ) + "\n"


def information_text(quantized: Graph, folded: Mapping[str, tuple[str, ...]]) -> str:
    """Returns the quantization information file: the deploy model's layers and the original layers that each stands for.

    Its reader compares the outputs of original layers with those of the layers here that name them as their origin: of a quantized layer that is
    the DeQuant, since the layer itself holds integer sums. See ``docs/formats.md``.

    Args:
        quantized: The quantized graph.
        folded: For each layer, the layers that were folded into it.
    """
    made_by: dict[str, str] = {}
    operators = []
    own = {new: name for name, new in deploy_names(quantized).items()}
    messages = [layer.message for layer in emit(quantized, Style.DEPLOY)]
    roles = _roles(messages)
    for number, message in enumerate(messages):
        role = roles.get(message.name, _PLAIN)
        owner = message.name if role.owner is None else role.owner
        owner = own.get(owner, owner)
        originals = () if role.shared else (owner, *folded.get(owner, ()))
        names = {"list": {"val_type": 1, **({"s": list(originals)} if originals else {})}}
        operators.append(
            {
                "id": number,
                "name": message.name,
                "type": message.type,
                "input": [made_by[bottom] for bottom in message.bottom],
                "attr": [
                    {"key": "_datadump_original_op_names", "value": names},
                    {"key": "_datadump_is_multiop", "value": {"b": len(originals) > 1}},
                ],
                "output_desc": [_output(role, originals, index) for index in range(len(message.top))],
            }
        )
        made_by.update({top: f"{message.name}:{index}" for index, top in enumerate(message.top)})
    return json.dumps({"graph": [{"name": quantized.name, "op": operators}]}, indent=2) + "\n"


@dataclass(frozen=True)
class _Role:
    """What a layer of the deploy model is to a quantized layer.

    Attributes:
        owner: The quantized layer; None for a layer that is not part of one.
        dtype: Type of its output, where its reader wants it.
        origin: Whether its output equals that of the last original.
        shared: Whether it is part of several quantized layers, and so stands for none.
    """

    owner: str | None = None
    dtype: str | None = None
    origin: bool = True
    shared: bool = False


_PLAIN = _Role()


def _roles(messages: Sequence[Any]) -> dict[str, _Role]:
    roles: dict[str, _Role] = {}
    maker: dict[str, Any] = {}
    quants: dict[str, list[str]] = {}
    for message in messages:
        for bottom in message.bottom:
            if bottom in maker and maker[bottom].type == "Quant":
                quants.setdefault(maker[bottom].name, []).append(message.name)
        if message.type == "DeQuant":
            owner = maker[message.bottom[0]].name
            roles[owner] = _Role(owner, "DT_INT32", origin=False)
            roles[message.name] = _Role(owner, "DT_FLOAT16")
        maker.update(dict.fromkeys(message.top, message))
    for name, readers in quants.items():
        roles[name] = _Role(readers[0], "DT_INT8", origin=False, shared=len(readers) > 1)
    return roles


def _output(role: _Role, originals: tuple[str, ...], index: int) -> dict[str, Any]:
    found: dict[str, Any] = {} if role.dtype is None else {"dtype": role.dtype}
    if not role.origin:
        return {**found, "attr": []}
    origin = [
        {"key": "_datadump_origin_name", "value": {"s": originals[-1]}},
        {"key": "_datadump_origin_output_index", "value": {"i": index}},
        {"key": "_datadump_origin_format", "value": {"s": "NCHW"}},
    ]
    return {**found, "attr": origin}
