"""The operator set, one module for each family."""

from __future__ import annotations

from nuqconv.ir.ops.activation import Identity, Power, ReLU, Sigmoid, Softmax, TanH
from nuqconv.ir.ops.base import Op, OpError, Shape
from nuqconv.ir.ops.binary import Binary, Where
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
from nuqconv.ir.ops.functions import (
    Celu,
    CumSum,
    Hardmax,
    HardSigmoid,
    LogSoftmax,
    Selu,
    Shrink,
    ThresholdedReLU,
    Unary,
)
from nuqconv.ir.ops.images import DepthToSpace, Resize, SpaceToDepth
from nuqconv.ir.ops.matrix import Einsum, MatMul
from nuqconv.ir.ops.merge import Concat, Crop, Eltwise
from nuqconv.ir.ops.normalization import BatchNorm, Scale
from nuqconv.ir.ops.norms import GroupNorm, InstanceNorm, LayerNorm, LpNorm, MeanVarianceNorm
from nuqconv.ir.ops.opaque import Opaque
from nuqconv.ir.ops.padding import Pad
from nuqconv.ir.ops.parametric import BN, Bias, Normalize, Parameter, PReLU
from nuqconv.ir.ops.picking import (
    Expand,
    Gather,
    GatherElements,
    GatherND,
    ScatterElements,
    ScatterND,
    StridedSlice,
    Trilu,
)
from nuqconv.ir.ops.pooling import Pooling, PoolMethod
from nuqconv.ir.ops.quantization import Dequantize, Quantize
from nuqconv.ir.ops.rearrange import Reorg, Reverse, ShuffleChannel
from nuqconv.ir.ops.recurrent import LSTM, RNN
from nuqconv.ir.ops.recurrent_onnx import Recurrent
from nuqconv.ir.ops.reduce import ArgReduce, Reduce, TopK
from nuqconv.ir.ops.reduction import MVN, ArgMax, Reduction
from nuqconv.ir.ops.resize import Interp, Upsample
from nuqconv.ir.ops.roi import PSROIPooling, ROIPooling
from nuqconv.ir.ops.sampling import GridSample
from nuqconv.ir.ops.selection import BatchReindex, Embed, Filter, Slice, Tile
from nuqconv.ir.ops.shape import Flatten, Permute, Reshape
from nuqconv.ir.ops.spatial import LRN, SPP, Im2col
from nuqconv.ir.ops.statistics import BatchStatistics
from nuqconv.ir.ops.windows import WindowPool

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
    "ArgReduce",
    "Axpy",
    "BatchNorm",
    "BatchReindex",
    "BatchStatistics",
    "Bias",
    "Binary",
    "Celu",
    "Clip",
    "Concat",
    "Convolution",
    "Crop",
    "CumSum",
    "Custom",
    "CustomDefinition",
    "CustomLayer",
    "Deconvolution",
    "DepthToSpace",
    "Dequantize",
    "DetectionOutput",
    "Einsum",
    "Eltwise",
    "Embed",
    "Exp",
    "Expand",
    "Filter",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "GridSample",
    "GroupNorm",
    "HSigmoid",
    "HSwish",
    "HardSigmoid",
    "Hardmax",
    "Identity",
    "Im2col",
    "InnerProduct",
    "InstanceNorm",
    "Interp",
    "L2Norm",
    "LayerNorm",
    "Log",
    "LogSoftmax",
    "LpNorm",
    "MatMul",
    "MeanVarianceNorm",
    "Normalize",
    "Op",
    "OpError",
    "Opaque",
    "PReLU",
    "PSROIPooling",
    "Pad",
    "Parameter",
    "Permute",
    "PoolMethod",
    "Pooling",
    "Power",
    "PriorBox",
    "Quantize",
    "ROIPooling",
    "ReLU",
    "Recurrent",
    "Reduce",
    "Reduction",
    "Reorg",
    "Reshape",
    "Resize",
    "Reverse",
    "Scale",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Shrink",
    "ShuffleChannel",
    "Sigmoid",
    "Silence",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "StridedSlice",
    "Swish",
    "TanH",
    "Threshold",
    "ThresholdedReLU",
    "Tile",
    "TopK",
    "Trilu",
    "Unary",
    "Upsample",
    "Where",
    "WindowPool",
]
