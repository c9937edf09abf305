"""ONNX models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import TensorProto, helper

from tests.corpus.cases.case import Case

__all__ = ["CASES"]


def _model(change: Callable[[Any], object] = lambda model: None) -> bytes:
    """y = x + w, with a change."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], bytes(16), raw=True)
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", info[:1], info[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="corpus", ir_version=8)
    change(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _weight(**fields: Any) -> bytes:
    def change(model: Any) -> None:
        (weight,) = model.graph.initializer
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(weight, name)[:] = value
            elif value is None:
                weight.ClearField(name)
            else:
                setattr(weight, name, value)

    return _model(change)


def _external(
    *entries: tuple[str, str], dims: tuple[int, ...] = (2, 2), kind: int = TensorProto.FLOAT, times: int = 1
) -> bytes:
    def change(model: Any) -> None:
        (weight,) = model.graph.initializer
        weight.ClearField("raw_data")
        weight.dims[:] = dims
        weight.data_type = kind
        weight.data_location = TensorProto.EXTERNAL
        for key, value in entries:
            weight.external_data.add(key=key, value=value)
        for _ in range(times - 1):
            model.graph.initializer.add().CopyFrom(weight)

    return _model(change)


def _case(name: str, data: bytes | Callable[[], bytes], text: str, error: str = "FormatError") -> Case:
    return Case("onnx", name, data, error, text)


def _replaced(old: bytes, new: bytes) -> bytes:
    data = _model()
    if data.count(old) != 1 or len(old) != len(new):
        raise AssertionError(f"{old!r} is not once in the model")
    return data.replace(old, new)


def _in_a_branch(model: Any) -> None:
    """A wrong tensor in a graph that is an attribute."""
    inner = helper.make_graph(
        [], "inner", [], [], [helper.make_tensor("v", TensorProto.FLOAT, [2], bytes(8), raw=True)]
    )
    inner.initializer[0].dims[0] = 3
    node = model.graph.node.add(op_type="If", input=["x"], output=["z"])
    node.attribute.append(helper.make_attribute("then_branch", inner))


def _nested(depth: int) -> bytes:
    data = b"\x0a\x01g"
    for _ in range(depth):
        for number in (6, 5, 1, 7):
            data = bytes([number << 3 | 2]) + _varint(len(data)) + data
    return data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


_BESIDE = "external.data"

CASES = (
    _case("empty", b"", "has no outputs"),
    _case("text", b"ir_version: 8", "is no ONNX model"),
    _case("cut", _model()[:-3], "is no ONNX model"),
    _case("deep", _nested(200), "is no ONNX model"),
    _case("caffemodel", b"\xa2\x06\x05\x0a\x03abc", "has no outputs"),
    _case("name-not-utf8", _replaced(b"Add", b"\xff\xfe\xfd"), "is not UTF-8"),
    _case("shape-huge", _weight(dims=[2**31, 2**31]), "holds 16 bytes"),
    _case("shape-overflows-to-fit", _weight(dims=[2**62, 4]), "holds 16 bytes"),
    _case("shape-negative", _weight(dims=[-2, -2]), "no size may be negative"),
    _case("shape-100-axes", _weight(dims=[1] * 100), "100 axes"),
    _case("bytes-missing", _weight(raw_data=bytes(15)), "holds 15 bytes"),
    _case("numbers-missing", _weight(raw_data=None, float_data=[1.0]), "holds 1 numbers"),
    _case("numbers-none", _weight(raw_data=None), "holds 0 numbers"),
    _case("numbers-elsewhere", _weight(raw_data=None, int64_data=[1, 2, 3, 4]), "holds 0 numbers"),
    _case("type-unknown", _weight(data_type=999), "unknown data type 999"),
    _case("type-undefined", _weight(data_type=0), "unknown data type 0"),
    _case("texts-raw", _weight(data_type=TensorProto.STRING), "holds 16 bytes"),
    _case("tensor-in-a-branch", _model(_in_a_branch), "tensor 'v'"),
    _case(
        "input-no-tensor",
        _model(lambda model: model.graph.input[0].ClearField("type")),
        "is no tensor",
        "UnsupportedError",
    ),
    _case(
        "input-type",
        _model(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 99)),
        "is no tensor",
        "UnsupportedError",
    ),
    _case("outside", _external(("location", "../valid/model.caffemodel")), "is not below the model's folder"),
    _case("outside-in-the-middle", _external(("location", f"a/../../{_BESIDE}")), "is not below the model's folder"),
    _case("outside-absolute", _external(("location", "/etc/passwd")), "is not below the model's folder"),
    _case("outside-drive", _external(("location", "C:\\windows\\win.ini")), "is not below the model's folder"),
    _case("outside-backslash", _external(("location", "..\\external.data")), "is not below the model's folder"),
    _case("outside-url", _external(("location", "file:///etc/passwd")), "cannot be read"),
    _case("location-nul", _external(("location", "a\0b")), "is not below the model's folder"),
    _case("location-empty", _external(("location", "")), "is not below the model's folder"),
    _case("location-dot", _external(("location", ".")), "is not below the model's folder"),
    _case("location-missing", _external(("offset", "0")), "does not say in which"),
    _case("location-twice", _external(("location", _BESIDE), ("location", "other")), "twice"),
    _case("location-long", _external(("location", "a" * 10_000)), "cannot be read"),
    _case("key-unknown", _external(("location", _BESIDE), ("command", "true")), "unknown 'command'"),
    _case("offset-negative", _external(("location", _BESIDE), ("offset", "-4"), ("length", "16")), "not negative"),
    _case("offset-text", _external(("location", _BESIDE), ("offset", "0x10"), ("length", "16")), "not negative"),
    _case("offset-beyond", _external(("location", _BESIDE), ("offset", "4096"), ("length", "16")), "are needed"),
    _case("offset-huge", _external(("location", _BESIDE), ("offset", "9" * 18), ("length", "16")), "are needed"),
    _case("length-huge", _external(("location", _BESIDE), ("length", "9" * 30)), "not negative"),
    _case("length-short", _external(("location", _BESIDE), ("length", "8")), "has 8 bytes"),
    _case("length-beyond", _external(("location", _BESIDE), ("length", "4096"), dims=(1024,)), "are needed"),
    _case("external-texts", _external(("location", _BESIDE), kind=TensorProto.STRING), "holds texts"),
    _case("external-many", _external(("location", _BESIDE), ("length", "16"), times=50), "the file is damaged"),
    _case(
        "external-self",
        _external(("location", "external-self.onnx"), ("length", "16"), ("offset", "9999")),
        "are needed",
    ),
    _case(
        "large-nodes",
        lambda: _model(lambda model: [model.graph.node.add() for _ in range(400_000)]) + b"\xff",
        "is no ONNX model",
    ),
    _case(
        "large-initializers",
        lambda: _model(lambda model: [model.graph.initializer.add() for _ in range(300_000)]),
        "unknown data type 0",
    ),
)
