"""Valid files, made by the writers: what fuzzing starts from, and proof that the readers do not refuse everything."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
from google.protobuf import text_format
from onnx import TensorProto, helper

from nuqconv.config import LayerConfig, NuqParams, QuantConfig
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from tests.corpus.cases.binaries import results
from tests.corpus.cases.data_sets import BOX, annotated, datum, picture, voc

__all__ = ["FILES"]

_DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }\n'
_TYPES: Mapping[str, str] = {
    "Pooling": "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 } axis: 0 num_axes: -1 }",
    "Slice": "slice_param { axis: 1 }",
    "Softmax": "softmax_param { axis: 1 }",
    "LRN": "lrn_param { local_size: 3 alpha: 1 beta: 0.75 norm_region: WITHIN_CHANNEL }",
    "Permute": "permute_param { order: 0 order: 2 order: 3 order: 1 }",
    "Reduction": "reduction_param { operation: MEAN axis: 1 }",
    "ArgMax": "argmax_param { top_k: 2 axis: 1 }",
    "Power": "power_param { power: 2 scale: 0.5 shift: 1 }",
    "Flatten": "flatten_param { axis: 1 end_axis: -1 }",
    "MVN": "mvn_param { normalize_variance: true }",
    "SPP": "spp_param { pyramid_height: 2 pool: AVE }",
    "Im2col": "convolution_param { kernel_size: 3 pad: 1 stride: 2 }",
    "Tile": "tile_param { axis: 1 tiles: 2 }",
    "Interp": "interp_param { zoom_factor: 2 }",
    "Upsample": "upsample_param { scale: 2 }",
    "Reorg": "reorg_param { stride: 2 }",
    "ShuffleChannel": "shuffle_channel_param { group: 2 }",
    "Clip": "clip_param { min: 0 max: 6 }",
    "Threshold": "threshold_param { threshold: 0.1 }",
    "Split": "",
    "Odd": "odd_param { size: 3 name: 'x' more { list: [1, 2] } }",
}
_V1 = """name: "old"
input: "data"
input_dim: 2
input_dim: 3
input_dim: 8
input_dim: 8
layers { name: "pool" type: POOLING bottom: "data" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "relu" type: RELU bottom: "pool" top: "pool" }
"""
_V0 = """name: "oldest"
input: "data"
input_dim: 2
input_dim: 3
input_dim: 8
input_dim: 8
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "pool" type: "pool" pool: MAX kernelsize: 3 stride: 2 } bottom: "pad" top: "pool" }
"""
_TRAINING = """layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 2 } transform_param { crop_size: 8 mean_value: [1, 2, 3] }
  include { phase: TEST } }
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "r" bottom: "label" top: "l" }
layer { name: "a" type: "Accuracy" bottom: "r" bottom: "label" top: "a" include { phase: TEST } }
"""
_DETECTOR = (
    _DATA
    + """layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p"
  prior_box_param { min_size: 3 max_size: 6 aspect_ratio: 2 flip: true variance: [0.1, 0.1, 0.2, 0.2] step: 2 } }
layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }
layer { name: "r" type: "ROIPooling" bottom: "data" bottom: "rois" top: "r" roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 } }
"""
)
_DEFINITION = """batch_num: 2
activation_offset: true
skip_layers: "fc"
skip_layer_types: "Pooling"
nuq_config { nuq_quantize { num_steps: 16 num_of_iteration: 1 } device_rule { ddr_rate: 50 } }
common_config { arq_quantize { channel_wise: true } ifmr_quantize { search_range_start: 0.7 search_range_end: 1.3 search_step: 0.01 } }
override_layer_types { layer_type: "InnerProduct" calibration_config { arq_quantize { channel_wise: false } } }
override_layer_configs { layer_name: "conv2" calibration_config { ifmr_quantize { max_percentile: 0.99 } nuq_quantize { num_steps: 32 } } }
"""
_RECORD = """record { key: "conv1" value { scale_d: 0.5 offset_d: -3 scale_w: 0.1 scale_w: 0.2 offset_w: 0 offset_w: 0 shift_bit: 0 shift_bit: 0
  channels: 3 height: 8 width: 8 skip_fusion: false cluster: -5 cluster: 0 cluster: 7 } }
"""
_MAPPING = {
    "graph": [
        {
            "name": "g",
            "op": [
                {
                    "name": "conv2",
                    "attr": [
                        {"key": "_fe_weight_compress", "value": {"b": True}},
                        {"key": "_datadump_original_op_names", "value": {"list": {"s": ["conv2"]}}},
                    ],
                }
            ],
        }
    ]
}
_LIST = "one.txt 3\r\ntwo words.txt 1\n"
_AIPP = """aipp_op { aipp_mode: static input_format: RGB888_U8 rbuv_swap_switch: true
  src_image_size_w: 8 src_image_size_h: 8 crop: true crop_size_w: 4 crop_size_h: 4
  mean_chn_0: 104 mean_chn_1: 117 mean_chn_2: 123 var_reci_chn_0: 0.5 var_reci_chn_1: 0.5 var_reci_chn_2: 0.5 }
"""
_MNN = {"format": "BGR", "mean": [104, 117, 123], "normal": [1, 1, 1], "width": 4, "height": 4, "path": "photos"}
_DATA_LAYER = """layer { name: "d" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  image_data_param { source: "one.txt" root_folder: "photos/" new_height: 8 new_width: 8 batch_size: 2 }
  transform_param { crop_size: 4 mean_value: [104, 117, 123] scale: 0.017 } }
"""
_REPORT = {
    "trials": [],
    "sizes": {"float_bytes": 4, "bytes": 1, "bits_per_weight": 8.0},
    "original_metric": 0.5,
    "metric": 0.5,
    "layers": [{"name": "a", "kind": "Convolution", "precision": "nuq", "num_steps": 16, "bits": 4, "bytes": 1}],
}


def _nets() -> dict[str, str]:
    layers = {
        kind: f'{_DATA}layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" {param} }}\n'
        for kind, param in _TYPES.items()
    }
    return {**layers, "v1": _V1, "v0": _V0, "training": _TRAINING, "detector": _DETECTOR}


def _old_weights() -> bytes:
    net = NetParameter()
    text_format.Parse('layers { name: "pool" type: POOLING blobs { num: 1 channels: 1 height: 1 width: 2 } }', net)
    net.layers[0].blobs[0].data.append(bytes(8))
    data: bytes = net.SerializeToString(deterministic=True)
    return data


def _plan() -> str:
    quant = ActivationQuant(scale=0.25, offset=-3)
    return Plan(
        (
            ("conv1", LayerPlan(Precision.NUQ, (-5, 0, 7), 16, quant)),
            ("fc", LayerPlan(Precision.INT8, activation=quant, channel_wise=False)),
            ("é", LayerPlan(Precision.FLOAT)),
        )
    ).to_json()


def _integers() -> bytes:
    weights = np.arange(12, dtype=np.int8).reshape(3, 4)
    return QuantizedWeights(weights, np.ones(3, np.float32), np.zeros(3, np.int32)).to_bytes()


def _npz() -> bytes:
    arrays = {"data": np.zeros((2, 3, 4, 4), np.uint8), "label": np.array([1, 2]), "scale": np.float32(0.5)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (2020, 1, 1, 0, 0, 0)), member.getvalue())
    return file.getvalue()


def _onnx() -> bytes:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    raw = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], bytes(16), raw=True)
    typed = helper.make_tensor("b", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"]),
        helper.make_node("Constant", [], ["c"], value=typed),
        helper.make_node("Reshape", ["s", "c"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], [raw])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="corpus", ir_version=8)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _frames() -> bytes:
    def frame(header: object, data: bytes = b"") -> bytes:
        text = json.dumps(header).encode()
        return b"NQC1" + struct.pack("<I", len(text)) + text + data

    failure = {"ok": False, "error": "KeyError", "message": "x", "traceback": "...", "arrays": []}
    return frame({"ok": True, "net": 1, "arrays": [["a", [2, 2]], ["b", []]]}, bytes(20)) + frame(failure)


def _config() -> str:
    layers = {
        "conv2": LayerConfig(weight_quant_params=NuqParams(num_steps=16)),
        "pool": LayerConfig(quant_enable=False),
    }
    return QuantConfig(batch_num=2, skip_fusion_layers=("conv1",), layers=layers).to_json()


def _files() -> dict[str, bytes]:
    texts = {f"prototxt/{name}.prototxt": text for name, text in _nets().items()}
    texts |= {"config/valid.json": _config(), "definition/valid.cfg": _DEFINITION, "record/valid.txt": _RECORD}
    texts |= {"mapping/valid.json": json.dumps(_MAPPING), "plan/valid.json": _plan()}
    texts |= {"inspect/report.json": json.dumps(_REPORT), "inspect/config.json": _config()}
    binary = {"caffemodel/v1.caffemodel": _old_weights(), "integers/valid.bin": _integers(), "npz/valid.npz": _npz()}
    binary |= {"onnx/valid.onnx": _onnx(), "frames/valid.bin": _frames()}
    binary |= {"picture/valid.png": picture(), "datum/annotated.bin": annotated((0, 0, 0.5, 1))}
    binary |= {"datum/raw.bin": datum(channels=1, height=2, width=3, data=bytes(6), label=3)}
    binary |= {"datum/encoded.bin": datum(data=picture(), encoded=True, label=1)}
    binary |= {"datum/floats.bin": datum(channels=1, height=1, width=2, float_data=[0.5, -1])}
    texts |= {"list/one.txt": _LIST, "list/two words.txt": "one.txt\n", "labels/named.txt": "one.png 1\na/two.png 2\n"}
    texts |= {"annotation/valid.xml": voc("<name>dog</name>" + BOX.format(5)), "mnn/valid.json": json.dumps(_MNN)}
    texts |= {"words/valid.txt": "rgb, resize short 8, crop 4x6,  # a remark\n0..1, mean 0.5, std 0.25 0.5 1\n"}
    texts |= {"words/ncnn.txt": "mean=[104,117,123] norm=[1,1,1] shape=[4,4,3] pixel=BGR", "aipp/valid.cfg": _AIPP}
    texts |= {"data_layer/valid.prototxt": _DATA_LAYER}
    texts |= {"codebooks/valid.json": '{"version": 1, "codebooks": {"conv1": {"num_steps": 16, "levels": [-5, 0, 7]}}}'}
    binary |= {"results/valid.npz": results()}
    return {**{name: text.encode() for name, text in texts.items()}, **binary}


FILES: Mapping[str, bytes] = _files()
