"""Searches the strongest quantization of the LeNet beside this file that loses at most 0.2 percentage points of accuracy.

Everything runs in onnxruntime; no Caffe is needed. The files appear in results/lenet of the folder from which it is started.
"""

from __future__ import annotations

import logging
from pathlib import Path

from rich.logging import RichHandler

import nuqconv
from nuqconv.cli.report import new_console, print_result
from nuqconv.data.datafile import read_data

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


if __name__ == "__main__":
    main()
