"""The files of a trial, made again from the journal of its search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nuqconv.config import resolve_config
from nuqconv.errors import ConfigError, FormatError, JournalError, QuantizationError
from nuqconv.files.digest import file_digest
from nuqconv.formats import ReadOptions, open_model
from nuqconv.job.checkpoint import take_integers
from nuqconv.job.job import Job, float_graph, make_job
from nuqconv.job.layer_facts import layer_facts, layer_requests
from nuqconv.job.notebook import NotedSource, noted_source
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.planned import PlannedModel
from nuqconv.job.refinement import stored_integers
from nuqconv.search.journal import Journal

__all__ = ["write_trial"]


def write_trial(
    journal: Journal,
    trial: int,
    save_dir: str | os.PathLike[str],
    *,
    record: str | os.PathLike[str] | None = None,
    model: Sequence[Path] | None = None,
) -> OutputFiles:
    """Writes the files that a search would have written for one of its trials.

    Args:
        journal: Its journal. The integers of all options are in it, so that neither data nor evaluator are needed.
        trial: Number of the trial.
        save_dir: DIR/PREFIX of the files.
        record: Where to write the quantization factor record; by default beside the others.
        model: The model's files, where they have been moved.

    Returns:
        The paths.

    Raises:
        JournalError: There is no such trial, the journal does not tell what it is of, or is damaged.
        ConfigError: The model's files are others than those of the search.
        OutputError: The files cannot be written.
    """
    source = noted_source(journal)
    if source is None or journal.space_text is None:
        raise JournalError(
            f"{journal.path}: holds no account of the model; the search that keeps this journal has to be started once more with this "
            "version, which repeats no evaluation"
        )
    records = journal.trials()
    found = next((item for item in records if item.number == trial), None)
    if found is None:
        raise JournalError(
            f"{journal.path}: has no trial {trial}; it has {_numbers([item.number for item in records])}"
        )
    files = tuple(source.files if model is None else model)
    _check_files(journal, files, tuple(source.files.values()))
    job = _job(files, source)
    try:
        job, _ = take_integers(job, journal)
        stored_integers(job, found.plan, journal)
        return PlannedModel(job, found.plan, (), files).save(save_dir, record=record, onnx=source.onnx)
    except (FormatError, QuantizationError) as error:
        raise JournalError(f"{journal.path}: trial {trial} cannot be made again: {error}") from error


def _job(files: tuple[Path, ...], source: NotedSource) -> Job:
    model = open_model(files).read(ReadOptions(source.input_shapes))
    graph = float_graph(model)
    config = resolve_config(source.configuration, layer_facts(graph), "the configuration in the journal")
    return make_job(model, config, layer_requests(config, graph), "the configuration in the journal")


def _check_files(journal: Journal, files: tuple[Path, ...], digests: tuple[str, ...]) -> None:
    problems: list[str] = []
    if len(files) != len(digests):
        problems.append(f"{len(files)} files are given, the model has {len(digests)}")
    for path, digest in zip(files, digests, strict=False):
        if not path.is_file():
            problems.append(f"{path}: there is no such file; name the model where it is now")
        elif file_digest(path) != digest:
            problems.append(f"{path}: has changed since the search")
    if problems:
        raise ConfigError(f"{journal.path}: its model is needed as it was", dict.fromkeys(problems))


def _numbers(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"
