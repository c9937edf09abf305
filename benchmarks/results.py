"""Runs the whole search on the real models and writes docs/results.md; the files written are evaluated again from disk.

make results
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tables import put_section

import nuqconv
from cases import CASES, Case
from nuqconv.evaluators import BatchEvaluator, CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.job.result import NuqResult
from nuqconv.quantize.plan import Precision
from nuqconv.runtimes.caffe import find_caffe
from nuqconv.search.metrics import output_error

TARGET = Path(__file__).resolve().parent.parent / "docs" / "results.md"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: Case
    result: NuqResult
    again: dict[str, float]


def run(case: Case, folder: Path) -> Row:
    """Searches one model and evaluates what was written in every runtime that has its layers."""
    model, weights = case.files()
    config = folder / "config.json"
    nuqconv.create_quant_config(config, model, weights, batch_num=case.batch_num)
    result = nuqconv.auto_nuq.auto_nuq(
        model,
        weights,
        case.evaluator(OnnxRuntimeEvaluator),
        config,
        folder / "record.txt",
        folder / case.name,
        progress=True,
    )
    again = {"onnxruntime": anew(case, OnnxRuntimeEvaluator, result)}
    if case.stock and find_caffe() is not None:
        again["real Caffe"] = anew(case, CaffeEvaluator, result)
    if not case.stock:
        again["OpenCV"] = in_opencv(case, result)
    return Row(case, result, again)


def anew(case: Case, kind: type[BatchEvaluator], result: NuqResult) -> float:
    """Evaluates the fake_quant files from disk with a new evaluator, which first sees the original as its reference."""
    with case.evaluator(kind) as evaluator:
        number = evaluator.evaluate_batch_num
        original = evaluator.eval_model(*map(str, case.files()), number)
        metric = evaluator.eval_model(str(result.files.fake_quant_model), str(result.files.fake_quant_weights), number)
        if not evaluator.is_satisfied(original, metric):
            raise SystemExit(f"{case.name}: {metric} does not satisfy in {kind.__name__}")
    return metric


def in_opencv(case: Case, result: NuqResult) -> float:
    """The largest output error of the fake_quant files in OpenCV's importer, against the original there."""
    import cv2  # noqa: PLC0415

    samples, _, _ = case.data()
    outputs = list(case.outputs or ())
    found = []
    for files in (case.files(), (result.files.fake_quant_model, result.files.fake_quant_weights)):
        net = cv2.dnn.readNetFromCaffe(*map(str, files))
        # Fused layers would round elsewhere than the model says.
        net.enableFusion(False)
        blobs = []
        for sample in samples:
            net.setInput(sample[None])
            blobs.append(net.forward(outputs))
        found.append([np.concatenate([blob[number] for blob in blobs]) for number in range(len(outputs))])
    return max(output_error(new, old) for old, new in zip(*found, strict=True))


def text(rows: list[Row]) -> str:
    """Returns docs/results.md."""
    caffe = find_caffe()
    version = caffe.caffe_version if caffe else "not there"
    lines = [
        "# Results",
        "",
        "Made by `make results`: the whole search with the default configuration and the ready-made onnxruntime evaluator; then the fake_quant files",
        "are loaded from disk again in each runtime named and must satisfy the demand there too. Calibration and evaluation use different images:",
        "for `lenet` Fashion-MNIST's training and test set, for the others cuts of different photographs of scikit-image.",
        "",
        "`top1` is accuracy; `output_error` is the relative L2 error of the outputs against the float model's (0 is perfect; of several outputs the",
        "worst counts). Bytes are those of all parameters, with codebooks, step sizes and biases (decision D7).",
        "",
        "| model | layers with weights | NUQ 16 | NUQ 32 | int8 | float | bits per weight | bytes, of float |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        layers = row.result.layers
        steps = Counter(layer.num_steps for layer in layers if layer.precision is Precision.NUQ)
        kinds = Counter(layer.precision for layer in layers)
        sizes = row.result.sizes
        lines.append(
            f"| {row.case.name} | {len(layers)} | {steps[16]} | {steps[32]} | {kinds[Precision.INT8]} | {kinds[Precision.FLOAT]} "
            f"| {sizes.bits_per_weight:.2f} | {sizes.bytes:,} of {sizes.float_bytes:,} ({100 * sizes.bytes / sizes.float_bytes:.1f} %) |"
        )
    lines += [
        "",
        "| model | metric | demand | before | int8 | after | evaluations | seconds | after, again from disk |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        result, case = row.result, row.case
        sign = "drop at most" if case.metric.startswith("top") else "at most"
        anew_text = ", ".join(f"{runtime} {metric:.5g}" for runtime, metric in row.again.items())
        lines.append(
            f"| {case.name} | {case.metric} | {sign} {case.demand} | {result.original_metric:.5g} | {result.trials[0].metric:.5g} "
            f"| {result.metric:.5g} | {result.evaluations} ({result.stopped_by}) | {result.seconds[0]:.0f} | {anew_text} |"
        )
    lines += ["", "Notes of the results:", ""]
    lines += [f"- {row.case.name}: {note}" for row in rows for note in row.result.notes] or ["- none"]
    lines += [
        "",
        "PriorBox and DetectionOutput of `mobilenet_ssd` are not in the Caffe that the tests use, so OpenCV's importer (with its",
        "layer fusion switched off, which would round elsewhere) is the second runtime for it.",
        "",
        f"onnxruntime {onnxruntime.__version__}, Caffe {version}, Python {platform.python_version()}; times are of a machine with two cores.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs all models, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", help="names of cases; all by default, and only then docs/results.md is written"
    )
    names = parser.parse_args().models
    rows = []
    for case in CASES:
        if not names or case.name in names:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(run(case, Path(folder)))
    found = text(rows)
    print(found)
    if not names:
        put_section(TARGET, "", found)


if __name__ == "__main__":
    main()
