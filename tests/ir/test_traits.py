"""No operator can be forgotten: each states its traits where it is defined."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from nuqconv.ir.families import operators
from nuqconv.ir.ops import Binary, Concat, Op, Opaque, Permute, Slice, Unary, UnaryOp, Weighted
from nuqconv.ir.traits import (
    Cuts,
    Decides,
    Jumps,
    KeepsChannels,
    QuantizedForm,
    Rearranges,
    SharesMemory,
    SizedByData,
    Stateful,
    Trait,
)


def of(kind: type[Trait]) -> set[str]:
    return {name for name, op in operators().items() if any(isinstance(item, kind) for item in op.traits)}


def test_an_operator_without_traits_cannot_be_defined():
    with pytest.raises(TypeError, match="operator Forgotten states no traits"):

        @dataclass(frozen=True)
        class Forgotten(UnaryOp):
            pass


def test_traits_of_the_base_come_first():
    @dataclass(frozen=True)
    class Steps(UnaryOp, traits=(Jumps(),)):
        pass

    assert Steps().trait(KeepsChannels) == KeepsChannels()
    assert Steps().trait(Jumps) == Jumps()
    assert Steps().trait(Cuts) is None
    assert "Steps" not in operators()


def test_what_is_stated():
    assert of(Stateful) == {"LSTM", "RNN", "SequenceLSTM", "Custom", "Opaque"}
    assert of(SizedByData) == {"DetectionOutput", "Filter", "Proposal", "YoloOutput"}
    assert of(QuantizedForm) == {"Quantize", "Dequantize"}
    assert {"ArgMax", "DetectionOutput", "Filter", "Threshold", "Upsample"} < of(Jumps)


def test_traits_that_depend_on_attributes():
    assert Unary("floor").trait(Jumps)
    assert not Unary("exp").trait(Jumps)
    assert Binary("less").trait(Jumps)
    assert not Binary("add").trait(Jumps)
    assert Permute((0, 1, 2)).trait(SharesMemory)
    assert not Permute((0, 2, 1)).trait(SharesMemory)
    known = Opaque("Proposal", "", (Jumps(),))
    assert known.trait(Jumps)
    assert known.trait(Stateful)
    assert not Opaque("Other", "").trait(Jumps)
    assert known.describe() == "layer_type=Proposal reason="


def test_memory_is_shared_between_one_and_one():
    concat, cut = Concat(1).trait(SharesMemory), Slice(1, ()).trait(SharesMemory)
    assert concat is not None
    assert concat.holds(1, 1)
    assert not concat.holds(2, 1)
    assert cut is not None
    assert cut.holds(1, 1)
    assert not cut.holds(1, 2)


def test_what_rearranges():
    moving = {"DepthToSpace", "Flatten", "Permute", "Reorg", "Reshape", "Reverse", "ShuffleChannel", "SpaceToDepth"}
    assert of(Rearranges) == {"Concat", "Identity", "Split", *moving}


def test_what_decides():
    assert of(Decides) == {"ArgMax", "ArgReduce", "Hardmax", "Sigmoid", "Softmax"}


def test_what_can_be_quantized_says_how_far():
    able = {name for name, op in operators().items() if op.quantizable}
    assert able == {"Convolution", "Deconvolution", "InnerProduct", "Pooling"}
    weighted = {name for name, op in operators().items() if issubclass(op, Weighted)}
    assert weighted == able - {"Pooling"}
    for name in able:
        assert operators()[name].quantization_limits is not Op.quantization_limits
    for name in weighted:
        own = operators()[name]
        for method in ("weight_output_axis", "windows", "to_matrix", "from_matrix"):
            assert getattr(own, method) is not getattr(Weighted, method)
        assert isinstance(own.scales_by_channel, bool)
