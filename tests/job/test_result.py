"""The result of a search: layers, sizes, and its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nuqconv.comparison.layer_errors import LayerError, LayerErrors
from nuqconv.comparison.noise import Noise
from nuqconv.errors import FormatError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, InnerProduct, ReLU, Scale
from nuqconv.job.about import About, Budget
from nuqconv.job.calibration import Source
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.result import LayerResult, NuqResult, Sizes, layer_results, measure_sizes
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search.evaluator_facts import EvaluatorFacts
from nuqconv.search.metrics import Interval
from nuqconv.search.run import Trial

A = ActivationQuant(0.5, -3)
INT8 = LayerPlan(Precision.INT8, activation=A)
FLOAT = LayerPlan(Precision.FLOAT)


def nuq(levels, steps=16):
    return LayerPlan(Precision.NUQ, codebook=tuple(range(levels)), num_steps=steps, activation=A)


def network() -> Graph:
    """72 + 4 numbers in a convolution, 4 in a Scale, 320 + 0 in one inner product, 50 + 5 in another."""
    ones = (1, 1)
    nodes = (
        Node("conv", Convolution(4, (3, 3), ones, ones, ones), ("data",), ("conv",), ("conv/0", "conv/1")),
        Node("scale", Scale(), ("conv",), ("scaled",), ("scale/0",)),
        Node("relu", ReLU(), ("scaled",), ("relu",)),
        Node("fc1", InnerProduct(10, bias_term=False), ("relu",), ("fc1",), ("fc1/0",)),
        Node("fc2", InnerProduct(5), ("fc1",), ("fc2",), ("fc2/0", "fc2/1")),
    )
    shapes = {"conv/0": (4, 2, 3, 3), "conv/1": (4,), "scale/0": (4,), "fc1/0": (10, 64), "fc2/0": (5, 10)}
    rng = np.random.default_rng(4)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (shapes | {"fc2/1": (5,)}).items()}
    return Graph("net", (Input("data", (1, 2, 4, 4)),), nodes, params, ("fc2",)).verify()


def test_layers_of_every_kind():
    plan = Plan.of({"conv": INT8, "fc1": nuq(16), "fc2": FLOAT})
    assert layer_results(Quantizer(network()), plan, {"fc1": 14}) == (
        LayerResult(
            "conv", "Convolution", Precision.INT8, None, None, 72, 8, 72 + 4 * 4 + 4 * 4, 4 * 76, lossless=False
        ),
        LayerResult("fc1", "InnerProduct", Precision.NUQ, 16, 16, 640, 4, 320 + 16 + 4, 4 * 640, lossless=True),
        LayerResult("fc2", "InnerProduct", Precision.FLOAT, None, None, 50, 32, 220, 220, lossless=False),
    )


def test_layers_that_the_plan_leaves_out_are_float():
    conv, fc1, fc2 = layer_results(Quantizer(network()), Plan(), {})
    assert [layer.precision for layer in (conv, fc1, fc2)] == [Precision.FLOAT] * 3
    assert [layer.bytes for layer in (conv, fc1, fc2)] == [4 * 76, 4 * 640, 4 * 55]


def test_one_step_size_for_a_convolution():
    whole = LayerPlan(Precision.INT8, activation=A, channel_wise=False)
    assert layer_results(Quantizer(network()), Plan.of({"conv": whole}), {})[0].bytes == 72 + 4 + 16


@pytest.mark.parametrize(
    ("levels", "steps", "bits", "size"),
    [(1, 16, 0, 1 + 4), (2, 16, 1, 80 + 2 + 4), (5, 16, 3, 240 + 5 + 4), (17, 32, 5, 400 + 17 + 4)],
)
def test_bits_of_a_codebook(levels, steps, bits, size):
    found = layer_results(Quantizer(network()), Plan.of({"fc1": nuq(levels, steps)}), {})[1]
    assert (found.levels, found.num_steps, found.bits, found.bytes) == (levels, steps, bits, size)


@pytest.mark.parametrize(("needed", "lossless"), [(None, False), (6, False), (5, True), (3, True)])
def test_lossless_is_a_codebook_with_room_for_all_levels(needed, lossless):
    known = {} if needed is None else {"fc1": needed}
    assert layer_results(Quantizer(network()), Plan.of({"fc1": nuq(5)}), known)[1].lossless is lossless


def test_sizes():
    graph = network()
    quantizer = Quantizer(graph)
    int8 = layer_results(quantizer, Plan.of({"conv": INT8, "fc1": INT8}), {})
    layers = layer_results(quantizer, Plan.of({"conv": INT8, "fc1": nuq(16)}), {})
    assert measure_sizes(graph, layers, int8) == Sizes(
        float_bytes=4 * (76 + 4 + 640 + 55),
        int8_bytes=104 + 4 * 4 + 644 + 220,
        bytes=104 + 4 * 4 + 340 + 220,
        bits_per_weight=(72 * 8 + 640 * 4 + 50 * 32) / (72 + 640 + 50),
    )


def test_sizes_of_a_net_without_weights():
    graph = Graph("net", (Input("data", (1, 2)),), (Node("relu", ReLU(), ("data",), ("y",)),), {}, ("y",))
    assert measure_sizes(graph, (), ()) == Sizes(0, 0, 0, 0.0)


def test_names_of_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = OutputFiles.for_prefix("out/model_", "record.txt")
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in files.present().items()} == {
        "fake_quant_model": "out/model__fake_quant_model.prototxt",
        "fake_quant_weights": "out/model__fake_quant_weights.caffemodel",
        "deploy_model": "out/model__deploy_model.prototxt",
        "deploy_weights": "out/model__deploy_weights.caffemodel",
        "nuq_layer_record": "out/model__nuq_layer_record.txt",
        "quant_info": "out/model__quant.json",
        "scale_offset_record": "record.txt",
        "nuq_codebooks": "out/model__nuq_codebooks.json",
    }


def result() -> NuqResult:
    plan = Plan.of({"conv": INT8, "fc1": nuq(5)})
    first = Plan.of({"conv": INT8, "fc1": INT8})
    files = [Path(f"/out/{name}") for name in ("a", "b", "e", "f")]
    trials = (
        Trial(1, first, 0.9, True, 748, 0.5, "int8 for all layers"),
        Trial(2, plan, 0.89, True, 500.5, 0.25, "all moves"),
    )
    return NuqResult(
        plan=plan,
        original_metric=0.9,
        metric=0.89,
        trials=trials,
        best=trials[1],
        pareto=trials[1:],
        layers=layer_results(Quantizer(network()), plan, {"fc1": 5}),
        sizes=Sizes(3100, 984, 600, 7.5),
        files=OutputFiles(files[0], files[1], None, None, files[2], files[3], None),
        calibration=Source.NONE,
        reverted=("fc2",),
        folded={"conv": ("bn", "scale")},
        stopped_by="timeout",
        notes=("only weights",),
        seconds=(3.5, 2.25),
    )


ABOUT = About(
    network="net",
    evaluator=EvaluatorFacts(
        "top1", "at most 0.01 below the original", "higher", 0.89, "4 samples", "RGB", 4, "onnxruntime"
    ),
    aim="the smallest size",
    max_layers=None,
    max_bytes=None,
    strategy="path",
    budget=Budget(32, None, 5),
    files={"model": "/in/net.prototxt"},
    hashes={"model": "12ab"},
    versions={"nuqconv": "0.1.0"},
    date="2026-01-02T03:04:05Z",
    command="nuqconv auto net.prototxt",
)
ASKED = {
    "state": "finished",
    "network": "net",
    "metric_name": "top1",
    "demand": "at most 0.01 below the original",
    "better": "higher",
    "limit": 0.89,
    "aim": "the smallest size",
    "strategy": "path",
    "budget": {"max_evaluations": 32, "timeout": None, "patience": 5},
    "model": {"model": "/in/net.prototxt"},
    "hashes": {"model": "12ab"},
    "data": "4 samples",
    "preparation": "RGB",
    "samples": 4,
    "runtime": "onnxruntime",
    "versions": {"nuqconv": "0.1.0"},
    "date": "2026-01-02T03:04:05Z",
    "command": "nuqconv auto net.prototxt",
}
NOISE = Noise(0.01, 0.99995, 0.123456)


def test_what_was_asked_comes_back_out_of_its_json():
    assert About.from_json(ABOUT.to_json()) == ABOUT
    with pytest.raises(FormatError, match="the description of the run is damaged"):
        About.from_json(ABOUT.to_json().replace('"path"', "3"))


def test_json_is_complete(tmp_path):
    errors = LayerErrors(
        (LayerError("conv", "Convolution", 9, NOISE, Noise(0, 1, 0), NOISE, None, 1),), {"fc2": NOISE}, 7, {}
    )
    found = replace(result(), about=ABOUT, errors=errors, difference=Interval(-0.01, -0.02, 0.0, 0.95, 100))
    noise = {"snr_db": 40.0, "cosine": 0.99995, "largest": 0.1235}
    row = {"layer": "conv", "kind": "Convolution", "levels": 9, "rank": 1, "accumulated": noise, "weights_snr_db": 40.0}
    row |= {"single": {"snr_db": None, "cosine": 1.0, "largest": 0.0}, "activations_snr_db": None}
    assert json.loads(found.to_json()) == ASKED | {
        "errors": {"samples": 7, "layers": [row], "outputs": {"fc2": noise}, "unmeasured": {}},
        "file_bytes": {},
        "original_metric": 0.9,
        "metric": 0.89,
        "difference": {"estimate": -0.01, "low": -0.02, "high": 0.0, "confidence": 0.95, "units": 100},
        "accepted": True,
        "best_trial": 2,
        "sizes": {"float_bytes": 3100, "int8_bytes": 984, "bytes": 600, "bits_per_weight": 7.5},
        "layers": [
            {
                "name": "conv",
                "kind": "Convolution",
                "precision": "int8",
                "num_steps": None,
                "levels": None,
                "weights": 72,
                "bits": 8,
                "bytes": 104,
                "float_bytes": 304,
                "lossless": False,
            },
            {
                "name": "fc1",
                "kind": "InnerProduct",
                "precision": "nuq",
                "num_steps": 16,
                "levels": 5,
                "weights": 640,
                "bits": 3,
                "bytes": 249,
                "float_bytes": 2560,
                "lossless": True,
            },
            {
                "name": "fc2",
                "kind": "InnerProduct",
                "precision": "float",
                "num_steps": None,
                "levels": None,
                "weights": 50,
                "bits": 32,
                "bytes": 220,
                "float_bytes": 220,
                "lossless": False,
            },
        ],
        "trials": [
            {
                "number": 1,
                "step": "int8 for all layers",
                "metric": 0.9,
                "accepted": True,
                "bytes": 748,
                "seconds": 0.5,
                "pareto": False,
                "plan": found.trials[0].plan.digest(),
            },
            {
                "number": 2,
                "step": "all moves",
                "metric": 0.89,
                "accepted": True,
                "bytes": 500.5,
                "seconds": 0.25,
                "pareto": True,
                "plan": found.plan.digest(),
            },
        ],
        "calibration": "none",
        "reverted": ["fc2"],
        "folded": {"conv": ["bn", "scale"]},
        "stopped_by": "timeout",
        "notes": ["only weights"],
        "seconds": {"total": 3.5, "evaluator": 2.25},
        "journal": None,
        "files": {"fake_quant_model": "/out/a", "fake_quant_weights": "/out/b", "nuq_layer_record": "/out/e"}
        | {"quant_info": "/out/f"},
        "plan": json.loads(found.plan.to_json()),
    }


def test_the_plan_comes_back_out_of_the_json():
    content = json.loads(result().to_json())
    assert Plan.from_json(json.dumps(content["plan"])) == result().plan
    assert result().to_json().endswith("}\n")


def test_evaluations_do_not_count_the_original():
    assert result().evaluations == 2
