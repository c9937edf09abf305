"""The files of a finished search."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nuqconv.backends.caffe.record import information_text, nuq_layers_text, record_text
from nuqconv.files.staging import move_into_place
from nuqconv.formats import CAFFE, FORMATS, ModelFiles
from nuqconv.ir import Graph
from nuqconv.job.job import Job
from nuqconv.job.result import OutputFiles
from nuqconv.quantize.plan import Plan

__all__ = ["chosen_files", "layer_choice", "without_caffe", "without_ranges", "write_outputs"]

_LOG = logging.getLogger(__name__)


def chosen_files(model: ModelFiles, staging: Path) -> dict[str, Path]:
    """Writes the original for an evaluator that would read other layers from its files, which do not say what stage and level select.

    Args:
        model: The model.
        staging: A folder.

    Returns:
        The files as ``model`` and ``weights``; nothing where the model's own files will do.
    """
    if not model.options.chooses_layers or not model.format.runs_in_caffe:
        return {}
    folder = staging / "original"
    folder.mkdir()
    paths = [folder / model.model.name, folder / model.weights.name]
    model.format.forms[0].write(model.read().graph, paths)
    return dict(zip(("model", "weights"), paths, strict=True))


def layer_choice(model: ModelFiles) -> dict[str, str]:
    """Returns what journals know a choice of layers by; nothing where the files say it themselves."""
    chosen = model.options
    return (
        {"layers": f"level {chosen.level}, stages {', '.join(sorted(chosen.stages))}"} if chosen.chooses_layers else {}
    )


def without_ranges(files: OutputFiles) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the files that a weight-only result does not have.

    Returns:
        The files that are left, and notes that say which of the others an earlier run has left.
    """
    forms = [form for entry in FORMATS for form in entry.forms if form.needs_ranges]
    left = replace(files.without(forms), scale_offset_record=None)
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
    problems = CAFFE.problems(graph)
    if not problems:
        return files, ()
    reasons = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    note = f"no Caffe models are written, Caffe cannot express the network: {reasons}"
    _LOG.warning("%s", note)
    return files.without(CAFFE.forms), (note,)


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
    for entry in FORMATS:
        for form in entry.forms:
            if files.of(form):
                form.write(quantized, [staged[name] for name in form.outputs], job.writing)
    texts: dict[str, Callable[[], str]] = {
        "nuq_layer_record": lambda: nuq_layers_text(plan),
        "quant_info": lambda: information_text(quantized, job.fold.folded),
        "scale_offset_record": lambda: record_text(job.quantizer, plan, frozenset(job.config.skip_fusion_layers)),
    }
    for name, make in texts.items():
        if name in staged:
            staged[name].write_text(make(), encoding="utf-8", newline="\n")
    move_into_place({path: staged[name] for name, path in files.present().items()})
