"""Writes docs/layers.md: what can be done with each Caffe layer type, as the registries of the code say.

python tools/build_layer_table.py           # writes the file
python tools/build_layer_table.py --check   # exit code 1 if it is not current
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tables import main, section

from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.frontends.caffe.layer_types import is_for_training
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES, CannotReadError, reader_for
from nuqconv.frontends.caffe.schema import LayerParameter
from nuqconv.ir.ops import Op
from nuqconv.quantize.capability import limits

TARGET = Path(__file__).resolve().parent.parent / "docs" / "layers.md"

# BVLC Caffe's own layer types, so that one that nobody reads is seen, too.
_STOCK = (
    "AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data Deconvolution Dropout DummyData "
    "ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM "
    "LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid "
    "SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData"
)
STOCK = _STOCK.split()

_KERNEL = "convolution_param { num_output: 4 kernel_size: 3 %s }"
# Parameters of layer types that have none by default; the first sample is the plain case, the others show what it depends on.
SAMPLES: dict[str, tuple[str, ...]] = {
    "Clip": ("clip_param { min: 0 max: 6 }",),
    "Convolution": (_KERNEL % "", _KERNEL % "dilation: 2", _KERNEL % "group: 2"),
    "ConvolutionDepthwise": (_KERNEL % "",),
    "Deconvolution": (_KERNEL % "", _KERNEL % "dilation: 2"),
    "DepthwiseConvolution": (_KERNEL % "",),
    "DetectionOutput": ("detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.5 } keep_top_k: 1 }",),
    "Embed": ("embed_param { num_output: 2 input_dim: 2 }",),
    "Im2col": ("convolution_param { kernel_size: 3 }",),
    "InnerProduct": ("inner_product_param { num_output: 2 }", "inner_product_param { num_output: 2 axis: 2 }"),
    "Interp": ("interp_param { height: 4 width: 4 }",),
    "LSTM": ("recurrent_param { num_output: 2 }",),
    "PSROIPooling": ("psroi_pooling_param { spatial_scale: 1 output_dim: 1 group_size: 2 }",),
    "Pooling": ("pooling_param { pool: AVE kernel_size: 2 }", "pooling_param { kernel_size: 2 }"),
    "PriorBox": ("prior_box_param { min_size: 4 }",),
    "Quant": ('quant_param { scale: 1 offset: "\\000" }',),
    "RNN": ("recurrent_param { num_output: 2 }",),
    "Proposal": ("proposal_param { ratio: 1 scale: 8 }",),
    "Python": (
        "top: 'scores' python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }",
    ),
    "Yolov3DetectionOutput": (
        "yolov3_detection_output_param { biases: [10, 13, 16, 30, 33, 23] mask: [0, 1, 2] anchors_scale: 32 mask_group_num: 1 }",
    ),
    "YoloDetectionOutput": ("yolo_detection_output_param { num_box: 1 biases: [1, 2] }",),
    "Transpose": ("transpose_param { dim: [1, 0, 2, 3] }",),
    "ROIAlign": ("roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 2 }",),
    "Unpooling": ('bottom: "mask" unpooling_param { unpool: MAX unpool_size: 16 }',),
    "ResizeNearestNeighbor": ("resize_nearest_neighbor_param { scale_height: 2 scale_width: 2 }",),
    "PriorBoxClustered": ("prior_box_param { width: 4 height: 6 }",),
    "Lstm": ("lstm_param { num_output: 3 }",),
    "ContinuationIndicator": ("continuation_indicator_param { time_step: 2 batch_size: 3 }",),
    "ROIPooling": ("roi_pooling_param { pooled_h: 2 pooled_w: 2 }",),
    "SPP": ("spp_param { pyramid_height: 2 }",),
    "Tile": ("tile_param { tiles: 2 }",),
}

HEAD = """# Layer types

Made by `python tools/build_layer_table.py` from the registries of the code; do not edit.

- **read as** is the operator in the graph. Where parameters or blobs of a layer ask for something that its reader does not know, the layer becomes
  Opaque with the reason: it is kept, and ONNX refuses it by name.
- **ONNX**: has a form in ONNX, tested against real Caffe (or OpenCV where Caffe lacks the layer).
- **Caffe**: can be written as a Caffe model. A layer that has not changed is written to the letter.
- **int8**, **NUQ**: its input and weights can be int8; its weights can be non-uniformly quantized. Layers without an entry compute on floats.

Any type that is not in the table is kept to the letter: the model loads, is quantized around it and is written back. `docs/custom-layers.md`
tells how to teach nuqconv such a type.

"""


def bottoms(layer_type: str) -> int:
    """Returns how many bottoms layers of a type have at least."""
    return LAYER_TYPES[layer_type].ops[0].min_inputs


def samples(layer_type: str) -> Iterator[Any]:
    """Yields LayerParameter messages of a type."""
    for text in SAMPLES.get(layer_type, ("",)):
        layer = LayerParameter(name="x", type=layer_type, top=["y"])
        layer.bottom.extend(f"x{number}" for number in range(bottoms(layer_type)))
        text_format.Parse(text, layer)
        yield layer


def operators(layer_type: str) -> list[Op]:
    """Returns what the reader of a type makes of its samples.

    Raises:
        SystemExit: The reader wants parameters that `SAMPLES` lacks.
    """
    reader = reader_for(layer_type)
    if reader is None:
        return []
    try:
        shapes = [(1, 4, 8, 8)] * bottoms(layer_type)
        return [reader(layer, shapes).op for layer in samples(layer_type)]
    except CannotReadError as error:
        sys.exit(f"{layer_type}: {error}; give it a sample in {Path(__file__).name}")


def row(layer_type: str) -> tuple[str, ...]:
    """Returns the cells of one type."""
    found = operators(layer_type)
    if not found:
        if layer_type == "Input":
            return (layer_type, "an input", "yes", "yes", "", "", "")
        if is_for_training(layer_type):
            return (layer_type, "cut off, see formats.md", "", "", "", "", "")
        return (layer_type, "kept", "", "yes", "", "", "")
    known = [(op, limits(op)) for op in found]
    plain = known[0][1]
    int8, nuq = ("", "") if plain is None else ("" if plain[0] else "yes", "" if plain[1] else "yes")
    reasons = dict.fromkeys(reason for _, item in known if item is not None for reason in item if reason)
    lowered = all(lowering_for(op) is not None for op in found)
    conditions = "; ".join(reasons)
    return (layer_type, found[0].kind, "yes" if lowered else "", "yes", int8, nuq, conditions)


def table() -> str:
    """Returns the text of the file."""
    columns = ("layer type", "read as", "ONNX", "Caffe", "int8", "NUQ", "conditions of int8 and NUQ")
    stock = [row(layer_type) for layer_type in sorted(STOCK, key=str.lower)]
    others = [row(name) for name in sorted(set(LAYER_TYPES) - set(STOCK), key=lambda text: (text.lower(), text))]
    tables = (("BVLC Caffe", stock), ("Forks, and this package's own", others))
    return (HEAD + "".join(section(title, columns, rows) for title, rows in tables)).rstrip() + "\n"


if __name__ == "__main__":
    main(TARGET, table)
