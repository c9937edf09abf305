"""What is true of Caffe's layer types: of those that are read, what their operators say; the others stand here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from nuqconv.frontends.caffe.data_layers import is_data_layer
from nuqconv.frontends.caffe.layers.custom import custom_reader
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES
from nuqconv.ir.traits import QuantizedForm, Stateful, Trait

__all__ = ["APART", "ApartType", "compared_by", "is_for_training", "makes_data", "trait_of", "traits_of"]

_TraitT = TypeVar("_TraitT", bound=Trait)


@dataclass(frozen=True)
class ApartType:
    """A layer type that the graph has no operator for.

    Attributes:
        traits: What is true of it all the same.
        training: Whether only training and testing need it.
        compared: How many of its bottoms come from the net, where it compares these with labels; 0 where it does not.
        result: The type of the layer that is left of a loss which computes the net's result on its way.
    """

    traits: tuple[Trait, ...] = ()
    training: bool = False
    compared: int = 0
    result: str = ""


def _compares(bottoms: int = 1, *traits: Trait, result: str = "") -> ApartType:
    return ApartType(traits, training=True, compared=bottoms, result=result)


# What forks call the layers that compare with labels.
_JUDGES = ("Accuracy", "Evaluate", "Evaluation", "Evaluator", "Loss")

_UNKNOWN = Stateful("what it does is not known")

APART: Mapping[str, ApartType] = MappingProxyType(
    {
        "Input": ApartType(),
        "Accuracy": _compares(),
        "ContrastiveLoss": _compares(2),
        "DetectionEvaluate": _compares(1, Stateful("it counts the images of all passes")),
        "EuclideanLoss": _compares(),
        "EvalDetection": _compares(1, Stateful("it counts the images of all passes")),
        "HingeLoss": _compares(),
        "InfogainLoss": _compares(),
        "MultiBoxLoss": _compares(3, _UNKNOWN),
        "MultinomialLogisticLoss": _compares(),
        "SigmoidCrossEntropyLoss": _compares(result="Sigmoid"),
        "SoftmaxWithLoss": _compares(result="Softmax"),
        "Yolov3": _compares(),
        "HDF5Output": ApartType((Stateful("it writes a file"),), training=True),
        "AntiQuant": ApartType((QuantizedForm(), _UNKNOWN)),
    }
)
"""Types that some part of this package knows although nothing reads them; data layers are in `data_layers`."""


def is_for_training(layer_type: str) -> bool:
    """Returns whether a layer of this type reads a data set, compares with labels or writes results to a file."""
    return is_data_layer(layer_type) or (layer_type in APART and APART[layer_type].training)


def makes_data(layer: Any) -> bool:
    """Returns whether a LayerParameter is a layer that reads a data set: by its type, or as unregistered Python code that takes nothing."""
    code = layer.type == "Python" and not len(layer.bottom) and custom_reader(layer) is None
    return code or is_data_layer(layer.type)


def compared_by(layer_type: str) -> int:
    """Returns how many bottoms of a layer come from the net where the type compares these with labels, going by its name if nobody knows it."""
    if layer_type in APART:
        return APART[layer_type].compared
    return int(layer_type.endswith(_JUDGES) and layer_type not in LAYER_TYPES)


def traits_of(layer_type: str) -> tuple[Trait, ...]:
    """Returns what is true of layers of a type, or of some of them; a type that nobody knows is Stateful."""
    if layer_type in LAYER_TYPES:
        read = (trait for op in LAYER_TYPES[layer_type].ops for trait in op.traits)
        return tuple(dict.fromkeys((*LAYER_TYPES[layer_type].traits, *read)))
    if is_data_layer(layer_type):
        return (Stateful("it reads a data set"),)
    return APART[layer_type].traits if layer_type in APART else (_UNKNOWN,)


def trait_of(layer_type: str, kind: type[_TraitT]) -> _TraitT | None:
    """Returns a layer type's trait of a kind, or None."""
    return next((item for item in traits_of(layer_type) if isinstance(item, kind)), None)
