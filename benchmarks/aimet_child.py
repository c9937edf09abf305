"""What runs in the environment with aimet-onnx: one network quantized by methods of AIMET, each going on from the one before.

    python benchmarks/aimet_child.py FOLDER

The folder holds ``model.onnx``, ``config.json``, ``calibration.npy``, ``evaluation.npy`` and ``job.json``, as `peer_tools` writes them. Into
it go ``outputs.npz`` (what AIMET's simulation answers to the evaluation pictures), ``weights.npz`` (the weights that it computes with, numbered as
``bits`` names them) and ``seconds.txt``. nuqconv is not imported here.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from aimet_onnx import QuantizationSimModel, apply_adaround, apply_seq_mse
from aimet_onnx.common.defs import QuantScheme

_METHODS = ("seq_mse", "adaround")


def _batches(images: Any, name: str, size: int) -> list[dict[str, Any]]:
    return [{name: np.ascontiguousarray(images[start : start + size])} for start in range(0, len(images), size)]


def _chosen(sim: Any, bits: dict[str, int], values: Sequence[str]) -> None:
    """Leaves the quantizers of these weights and these values on, and no others."""
    missing = [name for name in (*bits, *values) if name not in sim.qc_quantize_op_dict]
    if missing:
        raise SystemExit(f"AIMET has no quantizer for {', '.join(missing)}")
    for name, quantizer in sim.qc_quantize_op_dict.items():
        quantizer.enabled = name in bits or name in values
    for name, count in bits.items():
        quantizer = sim.qc_quantize_op_dict[name]
        quantizer.set_bitwidth(count)
        quantizer.use_symmetric_encodings = True
        quantizer.enable_per_channel_quantization()
    for name in values:
        quantizer = sim.qc_quantize_op_dict[name]
        quantizer.set_quant_scheme(QuantScheme.post_training_tf_enhanced)
        quantizer.use_symmetric_encodings = False
        quantizer.set_bitwidth(8)


def _improve(sim: Any, method: str, job: dict[str, Any], calibration: list[dict[str, Any]]) -> None:
    """Chooses weights, or goes on from those chosen before; inner values are not quantized meanwhile."""
    for name in job["values"]:
        sim.qc_quantize_op_dict[name].enabled = False
    if method == "seq_mse":
        apply_seq_mse(sim, calibration)
    else:
        # It takes a batch of 32 at most in a step; small ones make room for more steps in the same time.
        images = np.concatenate([batch[job["input"]] for batch in calibration])
        apply_adaround(sim, _batches(images, job["input"], job["step_batch"]), num_iterations=job["steps"])
    for name in job["values"]:
        sim.qc_quantize_op_dict[name].enabled = True
    sim.compute_encodings(calibration)


def _write(sim: Any, folder: Path, bits: dict[str, int], evaluation: list[dict[str, Any]]) -> None:
    stored = {param.name: onnx.numpy_helper.to_array(param) for param in sim.model.model.graph.initializer}
    made = [sim.qc_quantize_op_dict[name].quantize_dequantize(stored[name]) for name in bits]
    np.savez(folder / "weights.npz", **{f"w{number}": array for number, array in enumerate(made)})
    parts = [sim.session.run(None, batch) for batch in evaluation]
    found = [np.concatenate(values) for values in zip(*parts, strict=True)]
    np.savez(folder / "outputs.npz", **{f"v{number}": array for number, array in enumerate(found)})


def main() -> None:
    """Does what job.json says."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    unknown = set(job["methods"]) - set(_METHODS)
    if unknown:
        raise SystemExit(f"there is no method {', '.join(unknown)}; there are {', '.join(_METHODS)}")
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (AIMET draws from this one)
    torch.manual_seed(0)
    torch.set_num_threads(job["threads"])
    sim = QuantizationSimModel(
        onnx.load(folder / "model.onnx"),
        config_file=str(folder / "config.json"),
        quant_scheme=QuantScheme.min_max,
        session_options_kwargs={"intra_op_num_threads": job["threads"]},
    )
    _chosen(sim, job["bits"], job["values"])
    calibration, evaluation = (
        _batches(np.load(folder / f"{name}.npy"), job["input"], job["batch_size"])
        for name in ("calibration", "evaluation")
    )
    start = time.monotonic()
    for method in job["methods"]:
        _improve(sim, method, job, calibration)
    (folder / "seconds.txt").write_text(f"{time.monotonic() - start:.1f}", encoding="utf-8")
    _write(sim, folder, job["bits"], evaluation)


if __name__ == "__main__":
    main()
