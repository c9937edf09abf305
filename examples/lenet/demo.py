"""Searches the strongest quantization of the LeNet beside this file that loses at most 0.2 percentage points of accuracy.

Everything runs in onnxruntime; no Caffe is needed. The files appear in results of the folder from which it is started.
"""

from __future__ import annotations

import logging
from pathlib import Path

from picture import picture
from rich.console import Console
from rich.logging import RichHandler

import nuqconv
from nuqconv.cli.report import new_console, print_result
from nuqconv.data.datafile import read_data
from nuqconv.job.result import NuqResult

HERE = Path(__file__).parent
MODEL, WEIGHTS = HERE / "deploy.prototxt", HERE / "lenet.caffemodel"


def main() -> None:
    """Runs the search and prints what it found."""
    console = new_console()
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_level=False)],
    )
    target = Path("results/lenet")
    test_set, calibration = read_data(HERE / "test_set.npz", ["data"]), read_data(HERE / "calibration.npz", ["data"])
    evaluator = nuqconv.OnnxRuntimeEvaluator(
        test_set.inputs,
        labels=test_set.labels,
        metric="top1",
        max_drop=0.002,
        calibration=calibration.inputs,
        batch_size=128,
    )
    console.print(
        "LeNet on Fashion-MNIST: the smallest model that loses at most 0.002 of its top-1 accuracy on 2,500 test images\n"
    )
    target.parent.mkdir(exist_ok=True)
    config = target.with_name("lenet_config.json")
    nuqconv.create_quant_config(config, MODEL, WEIGHTS, batch_num=2)
    result = nuqconv.auto_nuq.auto_nuq(MODEL, WEIGHTS, evaluator, config, target.with_name("lenet_record.txt"), target)
    console.print()
    print_result(result, console, "top-1 accuracy")
    again = evaluator.eval_model(
        str(result.files.fake_quant_model), str(result.files.fake_quant_weights), evaluator.evaluate_batch_num
    )
    console.print(f"\nThe fake_quant model, loaded from disk again: top-1 accuracy {again:.5g}")
    show_codebook(result, console)
    report = target.with_name("lenet.html").resolve()
    report.write_text(result.to_html(), encoding="utf-8")
    console.print(f"\nThe report, to be opened in a browser: {report.as_uri()}", soft_wrap=True)


def show_codebook(result: NuqResult, console: Console) -> None:
    """Shows the codebook of the largest layer that has one."""
    layer = max((layer for layer in result.layers if layer.levels), key=lambda layer: layer.weights)
    codebook = result.plan[layer.name].codebook
    facts = next(facts for facts in result.network.layers if facts.name == layer.name)
    console.print(
        f"\nA codebook: of the 256 integers that int8 has, layer {layer.name} keeps the {layer.levels} that disturb its output least, so that "
        f"each of its {layer.weights:,} weights is a number of {layer.bits} bits."
    )
    console.print("Below, how many weights have each integer (the root of it), and the integers that are kept:\n")
    for line in picture(facts.histogram, codebook):
        console.print(f"    {line}", highlight=False)


if __name__ == "__main__":
    main()
