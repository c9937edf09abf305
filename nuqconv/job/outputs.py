"""The files of a finished search."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nuqconv.backends.caffe.emit import deploy_names
from nuqconv.backends.caffe.record import information_text, nuq_layers_text, record_text
from nuqconv.errors import some_of
from nuqconv.files.staging import move_into_place, staging_folder
from nuqconv.formats import CAFFE, FORMATS, ModelFiles
from nuqconv.ir import Graph
from nuqconv.job.codebooks import codebooks_text
from nuqconv.job.job import Job
from nuqconv.job.output_files import OutputFiles
from nuqconv.quantize.plan import Plan, Precision

__all__ = [
    "chosen_files",
    "files_of_plan",
    "fitting_files",
    "staging_for",
    "without_caffe",
    "without_ranges",
    "write_outputs",
]

_LOG = logging.getLogger(__name__)
_MOST_PROBLEMS = 5


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


def without_ranges(files: OutputFiles) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the files that a weight-only result does not have.

    Returns:
        The files that are left, and notes that say which of the others an earlier run has left.
    """
    forms = [form for entry in FORMATS for form in entry.forms if form.needs_ranges]
    left = replace(files.without(forms), scale_offset_record=None)
    return left, _stale(files, left, "weight-only result")


def _stale(files: OutputFiles, left: OutputFiles, what: str) -> tuple[str, ...]:
    """Returns a note on files that a result does not have and that an earlier run has left."""
    stale = [str(path) for name, path in files.present().items() if name not in left.present() and path.exists()]
    if not stale:
        return ()
    note = f"these files of an earlier run do not belong to this {what}: {', '.join(stale)}"
    _LOG.warning("%s", note)
    return (note,)


def without_caffe(files: OutputFiles, graph: Graph) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the Caffe models if the graph has no form in Caffe.

    Returns:
        The files that are left, and a note that says what stands in the way.
    """
    problems = CAFFE.problems(graph)
    if not problems:
        return files, ()
    note = f"no Caffe models are written, Caffe cannot express the network: {some_of(problems, _MOST_PROBLEMS, '; ')}"
    _LOG.warning("%s", note)
    return files.without(CAFFE.forms), (note,)


@contextmanager
def staging_for(files: OutputFiles) -> Iterator[Path]:
    """Makes a folder for what is not finished: beside the files, or where temporary ones are if there are none."""
    targets = list(files.present().values())
    if targets:
        # The list of NUQ layers is there for every result: the folder of a run that was killed is looked for beside it.
        first = files.nuq_layer_record or targets[0]
        with staging_folder(first, *targets) as staging:
            yield staging
        return
    with tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
        yield Path(folder)


def fitting_files(files: OutputFiles, job: Job, plan: Plan) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the files that a plan's model does not have.

    Args:
        files: The files that are wanted.
        job: The model.
        plan: Its plan.

    Returns:
        The files that are left, and notes that say why others are not written.
    """
    files, notes = (files, ()) if job.format is CAFFE else without_caffe(files, job.graph)
    left, more = files_of_plan(files, plan)
    return left, (*notes, *more)


def files_of_plan(files: OutputFiles, plan: Plan) -> tuple[OutputFiles, tuple[str, ...]]:
    """Takes away the files that a plan does not have, whatever its model is; see `fitting_files`."""
    notes: tuple[str, ...] = ()
    quantized = [layer for layer in plan.values() if layer.precision is not Precision.FLOAT]
    if quantized and not any(layer.activation is not None for layer in quantized):
        files, notes = without_ranges(files)
    for form in (form for entry in FORMATS for form in entry.forms if form.levels is not None and files.of(form)):
        sizes = form.levels or ()
        odd = [f"{name} ({layer.num_steps})" for name, layer in plan.items() if layer.num_steps not in (None, *sizes)]
        if odd:
            note = (
                f"no {form.name} model is written: its readers know {' and '.join(map(str, sizes))} levels only, "
                f"and these layers have others: {', '.join(odd)}"
            )
            left = files.without([form])
            files, notes = left, (*notes, note, *_stale(files, left, "result"))
    return files, notes


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
        "nuq_layer_record": lambda: nuq_layers_text(plan, deploy_names(quantized)),
        "quant_info": lambda: information_text(quantized, job.fold.folded),
        "nuq_codebooks": lambda: codebooks_text(plan),
        "scale_offset_record": lambda: record_text(job.quantizer, plan, frozenset(job.config.skip_fusion_layers)),
    }
    for name, make in texts.items():
        if name in staged:
            staged[name].write_text(make(), encoding="utf-8", newline="\n")
    move_into_place({path: staged[name] for name, path in files.present().items()})
