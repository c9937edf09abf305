"""The operator set, one module for each family."""

from __future__ import annotations

from nuqconv.ir.ops.activation import Identity, Power, ReLU, Sigmoid, Softmax, TanH
from nuqconv.ir.ops.base import Op, OpError, Shape
from nuqconv.ir.ops.convolution import Convolution, Deconvolution, InnerProduct
from nuqconv.ir.ops.custom import Custom, CustomDefinition, CustomLayer
from nuqconv.ir.ops.detection import DetectionOutput, PriorBox
from nuqconv.ir.ops.elementwise import (
    BNLL,
    ELU,
    AbsVal,
    Axpy,
    Clip,
    Exp,
    HSigmoid,
    HSwish,
    L2Norm,
    Log,
    Silence,
    Split,
    Swish,
    Threshold,
)
from nuqconv.ir.ops.merge import Concat, Crop, Eltwise
from nuqconv.ir.ops.normalization import BatchNorm, Scale
from nuqconv.ir.ops.opaque import Opaque
from nuqconv.ir.ops.parametric import BN, Bias, Normalize, Parameter, PReLU
from nuqconv.ir.ops.pooling import Pooling, PoolMethod
from nuqconv.ir.ops.quantization import Dequantize, Quantize
from nuqconv.ir.ops.rearrange import Reorg, Reverse, ShuffleChannel
from nuqconv.ir.ops.recurrent import LSTM, RNN
from nuqconv.ir.ops.reduction import MVN, ArgMax, Reduction
from nuqconv.ir.ops.resize import Interp, Upsample
from nuqconv.ir.ops.roi import PSROIPooling, ROIPooling
from nuqconv.ir.ops.selection import BatchReindex, Embed, Filter, Slice, Tile
from nuqconv.ir.ops.shape import Flatten, Permute, Reshape
from nuqconv.ir.ops.spatial import LRN, SPP, Im2col
from nuqconv.ir.ops.statistics import BatchStatistics

__all__ = [
    "BN",
    "BNLL",
    "ELU",
    "LRN",
    "LSTM",
    "MVN",
    "RNN",
    "SPP",
    "AbsVal",
    "ArgMax",
    "Axpy",
    "BatchNorm",
    "BatchReindex",
    "BatchStatistics",
    "Bias",
    "Clip",
    "Concat",
    "Convolution",
    "Crop",
    "Custom",
    "CustomDefinition",
    "CustomLayer",
    "Deconvolution",
    "Dequantize",
    "DetectionOutput",
    "Eltwise",
    "Embed",
    "Exp",
    "Filter",
    "Flatten",
    "HSigmoid",
    "HSwish",
    "Identity",
    "Im2col",
    "InnerProduct",
    "Interp",
    "L2Norm",
    "Log",
    "Normalize",
    "Op",
    "OpError",
    "Opaque",
    "PReLU",
    "PSROIPooling",
    "Parameter",
    "Permute",
    "PoolMethod",
    "Pooling",
    "Power",
    "PriorBox",
    "Quantize",
    "ROIPooling",
    "ReLU",
    "Reduction",
    "Reorg",
    "Reshape",
    "Reverse",
    "Scale",
    "Shape",
    "ShuffleChannel",
    "Sigmoid",
    "Silence",
    "Slice",
    "Softmax",
    "Split",
    "Swish",
    "TanH",
    "Threshold",
    "Tile",
    "Upsample",
]
