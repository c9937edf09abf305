"""The files of a finished search."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nuqconv.backends.caffe import Style, emit, write_caffe
from nuqconv.backends.caffe.record import information_text, nuq_layers_text, record_text
from nuqconv.backends.onnx import write_onnx
from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.errors import UnsupportedError
from nuqconv.files.staging import move_into_place
from nuqconv.ir import Graph
from nuqconv.job.job import Job
from nuqconv.job.result import OutputFiles
from nuqconv.quantize.plan import Plan

__all__ = ["without_caffe", "without_deploy", "write_outputs", "write_quantized_onnx"]

_LOG = logging.getLogger(__name__)

_ONNX_FORMS = ("fake_quant_onnx", "qdq_onnx", "nuq_onnx")


def without_deploy(files: OutputFiles) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the files that a weight-only result does not have.

    Returns:
        The files that are left, and notes that say which of the others an earlier run has left.
    """
    left = replace(files, deploy_model=None, deploy_weights=None, scale_offset_record=None)
    stale = [str(path) for name, path in files.present().items() if name not in left.present() and path.exists()]
    notes = (
        (f"these files of an earlier run do not belong to this weight-only result: {', '.join(stale)}",)
        if stale
        else ()
    )
    for note in notes:
        _LOG.warning("%s", note)
    return left, notes


def without_caffe(files: OutputFiles, graph: Graph) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the Caffe models if the graph has no form in Caffe.

    Returns:
        The files that are left, and a note that says what stands in the way.
    """
    try:
        emit(graph)
    except UnsupportedError as error:
        reasons = "; ".join(error.problems[:5]) + (
            f"; and {len(error.problems) - 5} more" if len(error.problems) > 5 else ""
        )
        note = f"no Caffe models are written, Caffe cannot express the network: {reasons}"
        _LOG.warning("%s", note)
        left = replace(files, fake_quant_model=None, fake_quant_weights=None, deploy_model=None, deploy_weights=None)
        return left, (note,)
    return files, ()


def write_quantized_onnx(graph: Graph, path: Path, *, qdq: bool = False, compressed: bool = False) -> None:
    """Writes a quantized graph with an open batch, if its layers allow that; see `write_onnx`."""
    write_onnx(graph, path, dynamic_batch=not batch_problems(graph), qdq=qdq, compressed=compressed)


def write_outputs(job: Job, plan: Plan, files: OutputFiles, staging: Path) -> None:
    """Writes all files of a plan, whole or not at all.

    Args:
        job: What was quantized; its quantizer holds the integers that the plan refers to.
        plan: The plan.
        files: Where the files go.
        staging: A folder on the same file system.

    Raises:
        OutputError: The files cannot be written; what stood there is as it was.
    """
    finished = staging / "finished"
    finished.mkdir()
    staged = {name: finished / name for name in files.present()}
    quantized = job.quantizer.apply(plan)
    if "fake_quant_model" in staged:
        write_caffe(quantized, staged["fake_quant_model"], staged["fake_quant_weights"])
    for name in _ONNX_FORMS:
        if name in staged:
            write_quantized_onnx(quantized, staged[name], qdq=name == "qdq_onnx", compressed=name == "nuq_onnx")
    texts: dict[str, Callable[[], str]] = {
        "nuq_layer_record": lambda: nuq_layers_text(plan),
        "quant_info": lambda: information_text(quantized, job.fold.folded),
        "scale_offset_record": lambda: record_text(job.quantizer, plan, frozenset(job.config.skip_fusion_layers)),
    }
    for name, make in texts.items():
        if name in staged:
            staged[name].write_text(make(), encoding="utf-8", newline="\n")
    if "deploy_model" in staged:
        write_caffe(quantized, staged["deploy_model"], staged["deploy_weights"], Style.DEPLOY)
    move_into_place({path: staged[name] for name, path in files.present().items()})
