"""The nets, weights and images that the scripts of this folder use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nuqconv.backends.caffe.sinks import write_calibration_model
from nuqconv.backends.caffe.writer import write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.quantize.apply import Quantizer
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.nets import conv_net, write_net
from tests.support.plans import strongest_plan


def layer(name, kind, bottoms="", tops=None, more=""):
    """One layer; by default its top has its name."""
    ends = [f'bottom: "{blob}"' for blob in bottoms.split()] + [
        f'top: "{blob}"' for blob in (name if tops is None else tops).split()
    ]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {more} }}\n'


def given(name, *shape):
    """An Input layer."""
    dims = " ".join(f"dim: {size}" for size in shape)
    return layer(name, "Input", "", name, f"input_param {{ shape {{ {dims} }} }}")


def python(name, kind, bottoms="", tops=None, more=""):
    """A Python layer of the scripts' module."""
    param = f'python_param {{ module: "layers_of_mine" layer: "{kind}" {more} }}'
    return layer(name, "Python", bottoms, tops, param)


IMAGE = given("data", 2, 3, 4, 4)
CONSTANT = 'filler { type: "constant" value: 0.5 }'


def product(name, bottom, outputs, more=""):
    return layer(name, "InnerProduct", bottom, None, f"inner_product_param {{ num_output: {outputs} {more} }}")


def convolution(name, bottom, outputs, size, more=""):
    return layer(
        name, "Convolution", bottom, None, f"convolution_param {{ num_output: {outputs} kernel_size: {size} {more} }}"
    )


def filler(kind, more=""):
    return f'weight_filler {{ type: "{kind}" {more} }}'


NETS = {
    "shared": IMAGE
    + layer("flat", "Flatten", "data")
    + layer("again", "Reshape", "flat", None, "reshape_param { shape { dim: 0 dim: 4 dim: -1 } }")
    + layer("scaled", "Power", "again", None, "power_param { scale: 3 }"),
    "overwritten": IMAGE
    + layer("flat", "Flatten", "data")
    + layer("relu", "ReLU", "flat", "flat")
    + layer("power", "Power", "data", None, "power_param { scale: 2 shift: 1 }"),
    "dropout": IMAGE
    + layer("drop", "Dropout", "data", "data")
    + layer("drop2", "Dropout", "data", "other")
    + layer("relu", "ReLU", "other", "other"),
    "old": 'name: "old"\ninput: "a"\ninput_dim: 2\ninput_dim: 3\ninput_dim: 4\ninput_dim: 5\n'
    'input: "b"\ninput_dim: 2\ninput_dim: 3\ninput_dim: 4\ninput_dim: 5\n'
    + layer("sum", "Eltwise", "a b", None, "eltwise_param { operation: SUM coeff: 1 coeff: -2 }")
    + layer("relu", "ReLU", "sum", "sum"),
    "many": IMAGE
    + layer("parts", "Slice", "data", "z m A", "slice_param { slice_point: 1 slice_point: 2 }")
    + layer("Z", "ReLU", "z"),
    "staged": given("data", 1, 2, 3, 3)
    + layer("a", "Power", "data", "data", 'power_param { shift: 1 } include { stage: "deep" }')
    + layer("b", "Power", "data", "data", "power_param { scale: 2 } include { min_level: 1 }")
    + layer("c", "Power", "data", "data", "power_param { scale: 5 } include { phase: TRAIN }")
    + layer("d", "Power", "data", "data", 'power_param { shift: 7 } exclude { stage: "deep" }')
    + layer("out", "ReLU", "data"),
    "parameter": given("data", 2, 3)
    + layer("weight", "Parameter", "", "w", "parameter_param { shape { dim: 3 dim: 4 } }")
    + layer("out", "Power", "w", None, "power_param { scale: 2 }"),
    "part": given("data", 1, 1, 28, 28) + convolution("conv1", "data", 20, 5),
    "renamed": given("data", 1, 1, 28, 28)
    + convolution("conv1", "data", 20, 5)
    + product("fc", "conv1", 3, f"{filler('constant', 'value: 0.01')} bias_filler {{ value: 2 }}"),
    "full": given("data", 1, 50, 6, 6) + convolution("conv", "data", 500, 4),
    "fillers": given("data", 1, 2, 8, 8)
    + convolution("plain", "data", 3, 3)
    + convolution("constant", "data", 3, 3, f"{filler('constant', 'value: 0.5')} bias_filler {{ value: -1 }}")
    + layer(
        "up",
        "Deconvolution",
        "data",
        None,
        f"convolution_param {{ num_output: 2 group: 2 kernel_size: 4 stride: 2 bias_term: false {filler('bilinear')} }}",
    )
    + layer(
        "up_odd",
        "Deconvolution",
        "data",
        None,
        f"convolution_param {{ num_output: 2 group: 2 kernel_size: 5 stride: 2 bias_term: false {filler('bilinear')} }}",
    )
    + layer("prelu", "PReLU", "data")
    + layer("one_slope", "PReLU", "data", None, f"prelu_param {{ channel_shared: true {CONSTANT} }}")
    + layer("scale", "Scale", "data", None, "scale_param { bias_term: true }")
    + layer("bias", "Bias", "data", None, f"bias_param {{ axis: 2 num_axes: -1 {CONSTANT} }}")
    + layer("bn", "BatchNorm", "data"),
    "random": given("data", 1, 100, 8, 8)
    + "".join(
        convolution(f"c{number}", "data", 50, 3, text)
        for number, text in enumerate(
            (
                filler("gaussian", "std: 0.1"),
                filler("uniform", "min: -0.3 max: 0.3"),
                filler("xavier"),
                filler("msra"),
                filler("xavier", "variance_norm: FAN_OUT"),
                filler("msra", "variance_norm: AVERAGE"),
            )
        )
    ),
    "types": given("data", 2, 4, 8, 8)
    + given("words", 2, 3)
    + given("cont", 2, 4)
    + layer(
        "grouped", "Convolution", "data", None, "convolution_param { num_output: 6 group: 2 kernel_h: 3 kernel_w: 1 }"
    )
    + layer(
        "deconvolution", "Deconvolution", "data", None, "convolution_param { num_output: 6 group: 2 kernel_size: 3 }"
    )
    + layer("product", "InnerProduct", "data", None, "inner_product_param { num_output: 5 axis: 2 bias_term: false }")
    + layer("transposed", "InnerProduct", "data", None, "inner_product_param { num_output: 5 transpose: true }")
    + layer("embed", "Embed", "words", None, "embed_param { input_dim: 9 num_output: 5 }")
    + layer("scale", "Scale", "data", None, "scale_param { axis: 2 num_axes: 2 bias_term: true }")
    + layer("scale_of_two", "Scale", "data data", None, "scale_param { axis: 0 bias_term: true }")
    + layer("lstm", "LSTM", "data cont", None, f"recurrent_param {{ num_output: 3 {filler('constant')} }}")
    + layer("rnn", "RNN", "data cont", None, f"recurrent_param {{ num_output: 3 {filler('constant')} }}")
    + layer("bn", "BatchNorm", "data"),
    "python": IMAGE
    + layer("relu", "ReLU", "data", "data")
    + python("first", "Noting", "data", "a", 'param_str: "3"')
    + layer("power", "Power", "a", None, "power_param { shift: 1 }")
    + python("second", "Noting", "power", "b", 'param_str: "0.5"')
    + layer("sum", "Eltwise", "a b"),
    "python_weights": IMAGE + python("w", "WithWeights", "data", "w") + layer("out", "ReLU", "w"),
    "python_pair": IMAGE
    + layer("power", "Power", "data", None, "power_param { scale: -1 }")
    + python("pair", "Pair", "data power", "difference distance"),
    "python_one": IMAGE + python("pair", "Pair", "data", "difference distance"),
    "python_source": python("source", "Source", "", "made")
    + layer("out", "Power", "made", None, "power_param { scale: 2 }"),
    "python_sink": IMAGE
    + layer("relu", "ReLU", "data", "data")
    + python("sink", "Sink", "data", "")
    + layer("out", "Power", "data", None, "power_param { scale: 2 }"),
    "python_growing": IMAGE
    + python("growing", "Growing", "data", "grown")
    + layer("out", "Power", "grown", None, "power_param { scale: 2 }"),
    "python_in_place": IMAGE
    + python("placed", "InPlace", "data", "data")
    + layer("power", "Power", "data", None, "power_param { scale: 2 }"),
    "python_failing": IMAGE + python("failing", "Failing", "data", "out"),
    "python_writing": IMAGE
    + layer("power", "Power", "data", None, "power_param { scale: 2 }")
    + python("writing", "WritingItsBottom", "power", "written")
    + layer("out", "Power", "written", None, "power_param { scale: 2 }"),
    "segment": given("data", 2, 4, 3, 3)
    + given("label", 2, 1, 3, 3)
    + layer("loss", "SoftmaxWithLoss", "data label", "loss", "loss_param { ignore_label: 3 normalize: false }")
    + layer("accuracy", "Accuracy", "data label", "accuracy classes", "accuracy_param { ignore_label: 2 }"),
    "dummy": layer(
        "made",
        "DummyData",
        "",
        "a b",
        "dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 4 } data_filler { value: 0.5 } data_filler { value: -1 } }",
    )
    + layer("old", "DummyData", "", "c", "dummy_data_param { num: 2 channels: 3 height: 1 width: 2 }")
    + layer("out", "Power", "a", None, "power_param { scale: 2 }"),
    "random_data": layer(
        "out",
        "DummyData",
        "",
        "out",
        'dummy_data_param { shape { dim: 20 dim: 30 } data_filler { type: "uniform" min: 0 max: 2 } }',
    ),
    "memory_data": layer(
        "source",
        "MemoryData",
        "",
        "data label",
        "memory_data_param { batch_size: 2 channels: 2 height: 3 width: 3 }",
    )
    + layer("out", "Power", "data", None, "power_param { scale: 2 }"),
}


def write_nets(folder: Path) -> None:
    """Writes all nets with their weights and images."""
    for name, text in NETS.items():
        (folder / f"{name}.prototxt").write_text(text)
    shutil.copy(LENET_MODEL, folder / "lenet.prototxt")
    shutil.copy(LENET_WEIGHTS, folder / "lenet.caffemodel")
    conv_net(folder, stem="conv")
    rng = np.random.default_rng(3)
    shared = 'param { name: "w" } param { name: "b" }'
    tied = given("data", 2, 3) + "".join(
        layer(name, "InnerProduct", bottom, None, f"inner_product_param {{ num_output: 3 }} {shared}")
        for name, bottom in (("one", "data"), ("two", "one"))
    )
    weights = {name: [rng.normal(size=(3, 3)), rng.normal(size=3)] for name in ("one", "two")}
    write_net(folder, tied, weights, "tied")
    _write_recurrent(folder, rng)
    text = (
        given("data", 4, 3, 12, 10)
        + convolution("conv", "data", 4, 3)
        + product("fc", "conv", 5)
        + layer("prob", "Softmax", "fc")
    )
    weights = {
        "conv": [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)],
        "fc": [rng.normal(size=(5, 320)) / 20, rng.normal(size=5)],
    }
    write_net(folder, text, weights, "classify")
    text = (
        given("data", 6, 5)
        + given("label", 6)
        + given("target", 6, 4)
        + product("fc", "data", 4)
        + layer("prob", "Softmax", "fc")
        + layer("loss", "SoftmaxWithLoss", "fc label", "loss", "loss_param { ignore_label: 255 } loss_weight: 0.5")
        + layer("distance", "EuclideanLoss", "prob target")
        + layer("cross", "SigmoidCrossEntropyLoss", "fc target")
        + layer("accuracy", "Accuracy", "fc label", None, "accuracy_param { ignore_label: 255 }")
        + layer("top2", "Accuracy", "fc label", None, "accuracy_param { ignore_label: 255 top_k: 2 }")
    )
    write_net(folder, text, {"fc": [rng.normal(size=(4, 5)), rng.normal(size=4)]}, "test")
    (folder / "images").mkdir()
    write_images(folder / "images")


def _write_recurrent(folder: Path, rng: np.random.Generator) -> None:
    inputs = given("data", 4, 2, 5) + given("cont", 4, 2)
    for kind, gates in (("LSTM", 12), ("RNN", 3)):
        name = kind.lower()
        more = [rng.normal(size=(3, 3)), rng.normal(size=3)] if kind == "RNN" else []
        weights = {
            name: [rng.normal(size=(gates, 5)), rng.normal(size=gates), rng.normal(size=(gates, 3)), *more],
            "fc": [rng.normal(size=(2, 3)), rng.normal(size=2)],
        }
        text = inputs + layer(name, kind, "data cont", None, "recurrent_param { num_output: 3 }")
        text += product("fc", name, 2, "axis: 2")
        write_net(folder, text, weights, name)
        (folder / f"{name}_step.prototxt").write_text(text.replace("dim: 4", "dim: 1"))
    states = given("h0", 1, 2, 3) + given("c0", 1, 2, 3)
    exposed = layer(
        "lstm", "LSTM", "data cont h0 c0", "h hT cT", "recurrent_param { num_output: 3 expose_hidden: true }"
    )
    (folder / "exposed.prototxt").write_text(inputs + states + exposed)


def write_images(folder: Path) -> None:
    """Writes one image of each kind that Pillow tells apart."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (14, 12, 4), dtype=np.uint8)
    image.fromarray(pixels[..., :3]).save(folder / "rgb.png")
    image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    image.fromarray(pixels, "RGBA").save(folder / "rgba.png")
    image.fromarray(pixels[..., :3]).convert("P", palette=1, colors=16).save(folder / "palette.png")
    image.fromarray(rng.integers(0, 65536, (14, 12), dtype=np.uint16)).save(folder / "deep.png")


def write_quantized(folder: Path, work: Path) -> None:
    """Writes LeNet as the evaluators of nuqconv write it: with fake_quant layers, and with sinks."""
    graph = load_graph(LENET_MODEL, LENET_WEIGHTS)
    batch = {"data": lenet_data(50).inputs["data"]}
    quantizer = Quantizer(graph)
    quantized = quantizer.apply(strongest_plan(quantizer, batch))
    write_caffe(quantized, folder / "fake_quant.prototxt", folder / "fake_quant.caffemodel")
    (work / "calibration").mkdir()
    write_calibration_model(graph, ["data", "pool1", "pool2", "ip1"], work / "calibration")
