"""Layers of the old generations as current ones, by the rules of Caffe's own upgrade.

V1 has ``layers`` with an enumeration for the type; V0 nests a ``layer`` with flat parameters in each of them and has layers of type ``padding``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.fields import Field, Fields
from nuqconv.frontends.caffe.schema import LayerParameter

__all__ = ["OldLayer", "fold_padding", "upgrade_v0", "upgrade_v1"]

_V1_TYPES: Mapping[str, str] = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "UNPOOLING": "Unpooling",
    "WINDOW_DATA": "WindowData",
}

_V0_TYPES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}

# For each flat parameter of V0: the layer types that have it, with the message that holds it now, and its name there.
_V0_FIELDS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "num_output": ({"conv": "convolution_param", "innerproduct": "inner_product_param"}, "num_output"),
    "biasterm": ({"conv": "convolution_param", "innerproduct": "inner_product_param"}, "bias_term"),
    "weight_filler": ({"conv": "convolution_param", "innerproduct": "inner_product_param"}, "weight_filler"),
    "bias_filler": ({"conv": "convolution_param", "innerproduct": "inner_product_param"}, "bias_filler"),
    "pad": ({"conv": "convolution_param", "pool": "pooling_param"}, "pad"),
    "kernelsize": ({"conv": "convolution_param", "pool": "pooling_param"}, "kernel_size"),
    "group": ({"conv": "convolution_param"}, "group"),
    "stride": ({"conv": "convolution_param", "pool": "pooling_param"}, "stride"),
    "pool": ({"pool": "pooling_param"}, "pool"),
    "dropout_ratio": ({"dropout": "dropout_param"}, "dropout_ratio"),
    "local_size": ({"lrn": "lrn_param"}, "local_size"),
    "alpha": ({"lrn": "lrn_param"}, "alpha"),
    "beta": ({"lrn": "lrn_param"}, "beta"),
    "k": ({"lrn": "lrn_param"}, "k"),
    "concat_dim": ({"concat": "concat_param"}, "concat_dim"),
}

# What of V0's data layers says how large their blobs are: the message that holds it now, for each type.
_V0_DATA = {
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
}
_V0_DATA_FIELDS: Mapping[str, str] = {"batchsize": "batch_size", "new_height": "new_height", "new_width": "new_width"}

# Fields of a V1 layer that are not copied as they are.
_V1_CHANGED = frozenset({"type", "layer", "param", "blob_share_mode", "blobs_lr", "weight_decay"})


@dataclass(frozen=True)
class OldLayer:
    """An upgraded layer.

    Attributes:
        message: The LayerParameter.
        ignored: Parameters that do not belong to the layer's type, which Caffe ignores in a V0 layer.
        fields: What a V0 data layer says of the size of its blobs, in the fields of a current one.
    """

    message: Any
    ignored: tuple[str, ...] = ()
    fields: Fields = field(default_factory=Fields)


def upgrade_v1(old: Any) -> OldLayer:
    """Returns a V1LayerParameter as a LayerParameter; blobs are copied.

    A V0 layer inside of it is left out, as in Caffe.
    """
    new = LayerParameter()
    for known, value in old.ListFields():
        if known.name in _V1_CHANGED:
            continue
        target = getattr(new, known.name)
        if hasattr(target, "extend"):
            target.extend(value)
        elif hasattr(target, "CopyFrom"):
            target.CopyFrom(value)
        else:
            setattr(new, known.name, value)
    if old.HasField("type"):
        new.type = _V1_TYPES[_enum_name(old, "type", old.type)]
    for number, name in enumerate(old.param):
        _spec(new, number).name = name
    for number, mode in enumerate(old.blob_share_mode):
        _spec(new, number).share_mode = mode
    _set_rates(new, old)
    return OldLayer(new)


def upgrade_v0(old: Any) -> OldLayer:
    """Returns a V1LayerParameter that holds a V0 layer as a LayerParameter; blobs are copied.

    Raises:
        ModelError: The type is none that V0 had.
    """
    flat = old.layer
    if flat.type not in _V0_TYPES:
        raise ModelError(f"V0 has no layer type '{flat.type}'")
    new = LayerParameter(type=_V0_TYPES[flat.type], bottom=old.bottom, top=old.top)
    if flat.HasField("name"):
        new.name = flat.name
    new.blobs.extend(flat.blobs)
    _set_rates(new, flat)
    ignored = []
    for known, value in flat.ListFields():
        if known.name not in _V0_FIELDS:
            continue
        holders, name = _V0_FIELDS[known.name]
        if flat.type not in holders:
            ignored.append(known.name)
            continue
        holder = getattr(new, holders[flat.type])
        target = getattr(holder, name)
        if hasattr(target, "append"):
            target.append(value)
        elif hasattr(target, "CopyFrom"):
            target.CopyFrom(value)
        else:
            setattr(holder, name, value)
    return OldLayer(new, tuple(ignored), _data_fields(flat))


def fold_padding(layers: Sequence[Any]) -> list[Any]:
    """Folds V0's padding layers into the convolutions and poolings that read them.

    Args:
        layers: V1LayerParameters that hold V0 layers; they are changed in place.

    Returns:
        For each layer itself, or None for a padding layer.

    Raises:
        ModelError: A padding layer is read by another type of layer, or one of both has several blobs; all are listed.
    """
    made_by: dict[str, Any] = {}
    problems: list[str] = []
    kept: list[Any] = []
    for layer in layers:
        kept.append(None if layer.layer.type == "padding" else layer)
        for number, blob in enumerate(layer.bottom):
            source = made_by.get(blob)
            if source is None or source.layer.type != "padding":
                continue
            name = f"layer '{layer.layer.name}' ({layer.layer.type})"
            if layer.layer.type not in ("conv", "pool"):
                problems.append(f"{name}: reads padding layer '{source.layer.name}'; only conv and pool may")
            elif (len(layer.bottom), len(source.bottom), len(source.top)) != (1, 1, 1):
                problems.append(f"{name}: it and padding layer '{source.layer.name}' must have one bottom and one top")
            else:
                layer.layer.pad = source.layer.pad
                layer.bottom[number] = source.bottom[0]
        made_by.update(dict.fromkeys(layer.top, layer))
    if problems:
        raise ModelError("padding layers cannot be folded", problems)
    return kept


def _data_fields(flat: Any) -> Fields:
    if flat.type not in _V0_DATA:
        return Fields()
    sizes = [
        Field(name, str(getattr(flat, old)), "", 1, 1) for old, name in _V0_DATA_FIELDS.items() if flat.HasField(old)
    ]
    crop = [Field("crop_size", str(flat.cropsize), "", 1, 1)] if flat.HasField("cropsize") else []
    return Fields(
        (
            Field(_V0_DATA[flat.type], Fields(tuple(sizes)), "", 1, 1),
            Field("transform_param", Fields(tuple(crop)), "", 1, 1),
        )
    )


def _spec(layer: Any, number: int) -> Any:
    while len(layer.param) <= number:
        layer.param.add()
    return layer.param[number]


def _set_rates(layer: Any, old: Any) -> None:
    for number, rate in enumerate(old.blobs_lr):
        _spec(layer, number).lr_mult = rate
    for number, decay in enumerate(old.weight_decay):
        _spec(layer, number).decay_mult = decay


def _enum_name(message: Any, field: str, number: int) -> str:
    values: Mapping[int, Any] = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[number].name)
