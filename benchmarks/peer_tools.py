"""Weights as coremltools and AIMET choose them, in an environment of their own (`peer_environment`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peer_environment import run_script
from peer_graphs import rounded, tail
from task_metrics import Judge

from nuqconv.backends.onnx import write_onnx
from nuqconv.ir import Array
from nuqconv.quantize.plan import Plan
from nuqconv.runtimes.default import load_graph

__all__ = ["AimetMethods", "AimetResult", "palettes", "run_aimet"]

_THREADS = 1
# Everything has a quantizer and nothing is fused, so that each can be switched on or off by its name.
_CONFIG = {
    "defaults": {
        "ops": {"is_output_quantized": "True"},
        "params": {"is_quantized": "True", "is_symmetric": "True"},
        "strict_symmetric": "False",
        "per_channel_quantization": "True",
    },
    "params": {"bias": {"is_quantized": "False"}},
    "op_type": {},
    "supergroups": [],
    "model_input": {"is_input_quantized": "True"},
    "model_output": {},
}


def palettes(judge: Judge, bits: Mapping[str, int], folder: Path) -> dict[str, Array]:
    """Returns weights on the 16 levels of coremltools' k-means, one set for each layer; those of 8 bits are `rounded`.

    Args:
        judge: The network.
        bits: Bits of each weight, by the parameter's name.
        folder: An existing folder to work in.

    Raises:
        MissingPeerError: coremltools cannot be had, or failed.
    """
    params = judge.graph.params
    # np.savez makes files of the names, and these have slashes.
    names = [name for name, count in bits.items() if count == 4]
    np.savez(folder / "float.npz", **{f"w{number}": params[name] for number, name in enumerate(names)})
    run_script("palettize.py", str(folder / "float.npz"), str(folder / "palettes.npz"))
    with np.load(folder / "palettes.npz") as file:
        found = {name: np.asarray(file[f"w{number}"], np.float32) for number, name in enumerate(names)}
    return {**rounded(judge.graph, {name: count for name, count in bits.items() if count == 8}), **found}


@dataclass(frozen=True)
class AimetMethods:
    """Ways of AIMET to choose weights.

    Attributes:
        names: Methods of ``aimet_child.py``, each going on from the one before.
        steps: Steps of AdaRound for each layer.
        step_batch: Pictures in a step.
    """

    names: tuple[str, ...]
    steps: int
    step_batch: int


@dataclass(frozen=True)
class AimetResult:
    """What AIMET has made of a network.

    Attributes:
        weights: The weights that its simulation computes with, by the parameter's name.
        answers: For each batch of pictures what its simulation answers, with the outputs that follow from it.
        seconds: Duration of its methods.
    """

    weights: dict[str, Array]
    answers: list[dict[str, Array]]
    seconds: float


def run_aimet(
    judge: Judge, plan: Plan, bits: Mapping[str, int], methods: AimetMethods, calibration: Array, folder: Path
) -> AimetResult:
    """Quantizes what leads to the values whose errors are measured; what follows (Softmax, DetectionOutput) is nuqconv's float graph again.

    Args:
        judge: The network and its pictures.
        plan: Says which values are quantized to 8 bits.
        bits: Bits of each weight, by the parameter's name.
        methods: How AIMET chooses weights.
        calibration: Pictures to calibrate on.
        folder: An existing folder to work in.

    Raises:
        MissingPeerError: AIMET cannot be had, or failed.
    """
    task, head = judge.task, judge.graph.up_to(judge.task.errors)
    write_onnx(head, folder / "model.onnx", dynamic_batch=True)
    quantized = [head.node[name].inputs[0] for name, layer in plan.items() if layer.activation is not None]
    # In the file an input has the name of its blob.
    fed = {judge.input: head.storage_name(judge.input)}
    np.save(folder / "calibration.npy", calibration)
    np.save(folder / "evaluation.npy", judge.pictures)
    job = {
        "methods": methods.names,
        "steps": methods.steps,
        "step_batch": methods.step_batch,
        "bits": dict(bits),
        "input": fed[judge.input],
        "values": [fed.get(value, value) for value in dict.fromkeys(quantized)],
        "threads": _THREADS,
        "batch_size": task.batch_size,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    run_script("aimet_child.py", str(folder))
    with np.load(folder / "outputs.npz") as file:
        found = {name: file[f"v{number}"] for number, name in enumerate(task.errors)}
    with np.load(folder / "weights.npz") as file:
        weights = {name: file[f"w{number}"] for number, name in enumerate(bits)}
    seconds = float((folder / "seconds.txt").read_text(encoding="utf-8"))
    return AimetResult(weights, list(_answers(judge, found)), seconds)


def _answers(judge: Judge, made: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    rest = tail(judge.graph, tuple(made))
    model = load_graph(rest)
    read = {item.name for item in rest.inputs}
    size = judge.task.batch_size
    for start in range(0, len(judge.pictures), size):
        batch = {name: array[start : start + size] for name, array in made.items()}
        feeds = {judge.input: judge.pictures[start : start + size], **batch}
        yield {**model.run({name: array for name, array in feeds.items() if name in read}), **batch}
