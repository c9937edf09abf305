"""How the main job keeps its journal: what it is of, the original's metric, the preparation with its integers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nuqconv.errors import FormatError, JournalError, QuantizationError
from nuqconv.evaluators.identity import evaluator_identity
from nuqconv.files.digest import file_digest
from nuqconv.job.job import Job
from nuqconv.job.preparation import Preparation
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.search.journal import Journal

__all__ = [
    "JOURNAL_SUFFIX",
    "OnMismatch",
    "journal_path",
    "open_journal",
    "prepared",
    "search_identity",
    "take_integers",
]

_LOG = logging.getLogger(__name__)

JOURNAL_SUFFIX = "_trials.sqlite"
"""What the name of a journal ends in, behind the prefix of the outputs."""

OnMismatch = Literal["refuse", "restart"]

_FORMAT = "1"


def journal_path(journal: str | os.PathLike[str] | bool, prefix: Path) -> Path | None:
    """Returns where the journal of a run is kept: beside the outputs unless told otherwise, or nowhere.

    Args:
        journal: A path, True for the usual place, or False for none.
        prefix: DIR/PREFIX of the outputs.
    """
    if isinstance(journal, bool):
        return prefix.absolute().with_name(prefix.name + JOURNAL_SUFFIX) if journal else None
    return Path(journal)


def search_identity(
    files: Mapping[str, Path],
    evaluator: object,
    batches: Mapping[str, int],
    calibration_data: str | None,
    choices: Mapping[str, str],
) -> dict[str, str]:
    """Returns what the metrics of a search depend on.

    Args:
        files: The model's and the configuration's files by name.
        evaluator: The user's evaluator.
        batches: Numbers of batches by name.
        calibration_data: Hash of the batches to calibrate on, if they are not those that the evaluator judges by.
        choices: How integers are chosen, as texts by name.
    """
    # Under the name "weights" stands how integers are chosen, in all journals since the first.
    found = {"weights file" if name == "weights" else name: file_digest(path) for name, path in files.items()}
    found |= evaluator_identity(evaluator)
    found |= {name: str(number) for name, number in batches.items()}
    if calibration_data is not None:
        found["calibration data"] = calibration_data
    return {**found, **choices, "format": _FORMAT}


@contextmanager
def open_journal(
    path: Path | None,
    identity: Callable[[], Mapping[str, str]],
    on_mismatch: OnMismatch,
    words: Mapping[str, str] | None = None,
) -> Iterator[Journal | None]:
    """Opens the journal of a run, or none where ``path`` is None.

    Raises:
        JournalError: It cannot be used; see `Journal.open`.
    """
    if path is None:
        yield None
        return
    with Journal.open(path, identity(), on_mismatch=on_mismatch, words=words) as journal:
        known = len(journal.trials())
        if known:
            _LOG.info("%s: going on with a search of %d trials", path, known)
        yield journal


def prepared(
    job: Job, journal: Journal | None, prepare: Callable[[], tuple[Job, Preparation]]
) -> tuple[Job, Preparation]:
    """Returns the preparation of a search, and the job with the graph that it is of: that of its journal, or a new one, which the journal then keeps.

    Sizes of its space are those of all parameters of the model.

    Args:
        job: The job as it was read.
        journal: The journal, if there is one.
        prepare: Makes a new one; the quantizer of the job that it returns has the integers.

    Raises:
        JournalError: What the journal holds is damaged.
    """
    text = None if journal is None else journal.space_text
    if journal is None or text is None:
        job, made = prepare()
        made = _with_all_parameters(job, made)
        if journal is not None:
            assets = job.quantizer.contents(made.digests())
            space = made.space
            journal.forget_unasked()
            journal.set_space(made.to_json(), assets, float_bytes=space.float_bytes, untouched=space.untouched_bytes)
        return job, made
    job, found = take_integers(job, journal)
    journal.count_untouched(found.space.untouched_bytes)
    _LOG.info("%s: the search space of %d layers is taken from the journal", journal.path, len(found.space))
    return job, found


def take_integers(job: Job, journal: Journal) -> tuple[Job, Preparation]:
    """Returns the preparation that a journal holds, and the job with the graph that it is of, whose quantizer gets the integers.

    Raises:
        JournalError: It is damaged, or there is none.
    """
    try:
        found = Preparation.from_json(journal.space_text or "")
        job = job.scaled(found.shifts) if found.shifts else job
        found = _with_all_parameters(job, found)
        for digest in found.digests():
            job.quantizer.store(QuantizedWeights.from_bytes(journal.asset(digest)))
        # A damaged or foreign plan must not be found out in the middle of the search.
        job.quantizer.apply(found.space.plan(found.space.uniform()))
    except (FormatError, QuantizationError) as error:
        raise JournalError(f"{journal.path}: its search space cannot be used: {error}") from error
    return job, found


def _with_all_parameters(job: Job, preparation: Preparation) -> Preparation:
    """Counts the parameters that the search does not touch."""
    candidates, space = preparation.candidates, preparation.space
    total = 4 * sum(array.size for array in job.graph.params.values())
    whole = replace(space, untouched_bytes=total - sum(layer.float_bytes for layer in space.layers))
    return replace(preparation, candidates=replace(candidates, space=whole))
