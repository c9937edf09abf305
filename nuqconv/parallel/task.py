"""What runs in a worker: one evaluation. It needs this package there, and nothing of the machine that it was submitted on."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nuqconv.errors import ChildProcessFailedError, EvaluatorError
from nuqconv.parallel.shipping import Parcel, unpack
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.trial import Measured

__all__ = ["Answer", "FilesHere", "FilesSent", "Kind", "Task", "evaluate", "run_task", "worker_name"]

_KEPT = 2
"""Evaluators that a worker process keeps; each may hold a data set."""


@dataclass(frozen=True)
class FilesHere:
    """Model files that the worker sees where they are.

    Attributes:
        model: Path of the .prototxt.
        weights: Path of the .caffemodel.
    """

    model: str
    weights: str

    @contextmanager
    def unpacked(self) -> Iterator[tuple[str, str]]:
        """Yield the two paths."""
        yield self.model, self.weights


@dataclass(frozen=True)
class FilesSent:
    """Model files that travel with the task.

    Attributes:
        model: Name and content of the .prototxt.
        weights: Name and content of the .caffemodel.
    """

    model: tuple[str, bytes]
    weights: tuple[str, bytes]

    @classmethod
    def of(cls, files: FilesHere) -> FilesSent:
        """Read the files."""
        model, weights = Path(files.model), Path(files.weights)
        return cls((model.name, model.read_bytes()), (weights.name, weights.read_bytes()))

    @contextmanager
    def unpacked(self) -> Iterator[tuple[str, str]]:
        """Yield the paths of the files, written to a temporary folder that is removed in the end."""
        with tempfile.TemporaryDirectory(prefix="nuqconv-trial-", ignore_cleanup_errors=True) as folder:
            paths = []
            for name, content in (self.model, self.weights):
                path = Path(folder) / name
                path.write_bytes(content)
                paths.append(str(path))
            yield paths[0], paths[1]


@dataclass(frozen=True)
class Task:
    """One evaluation to be done.

    Attributes:
        key: Different for every task, so that no executor takes it for one that it has done before.
        files: The model.
        batch_num: Number of batches.
        digest: Which evaluator; see `Parcel`.
        parcel: The evaluator, or None where the worker is expected to have it.
    """

    key: str
    files: FilesHere | FilesSent
    batch_num: int
    digest: str
    parcel: Parcel | None


class Kind(Enum):
    """How a task ended."""

    MEASURED = "measured"
    NO_EVALUATOR = "no evaluator"
    EVALUATOR_FAILED = "evaluator failed"
    WORKER_FAILED = "worker failed"


@dataclass(frozen=True)
class Answer:
    """What a task gave. Failures are values, so that whatever a future raises comes from the executor itself.

    Attributes:
        kind: How it ended.
        worker: Where it ran, as ``host:pid``.
        measured: The result of kind `MEASURED`, else None.
        message: What failed.
        trace: The traceback there, as text.
    """

    kind: Kind
    worker: str
    measured: Measured | None = None
    message: str = ""
    trace: str = ""


_known: OrderedDict[str, CheckedEvaluator] = OrderedDict()
_lock = threading.Lock()


def worker_name() -> str:
    """Returns the name of this process, ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run_task(task: Task) -> Answer:
    """Do a task in a worker process; what an executor is given to run."""
    try:
        checked = _evaluator(task)
    except Exception as error:  # noqa: BLE001  (whatever the evaluator's own unpickling raises)
        return _failed(Kind.WORKER_FAILED, f"the evaluator cannot be loaded there: {type(error).__name__}: {error}")
    if checked is None:
        return Answer(Kind.NO_EVALUATOR, worker_name())
    return evaluate(checked, task.files, task.batch_num)


def evaluate(checked: CheckedEvaluator, files: FilesHere | FilesSent, batch_num: int) -> Answer:
    """Evaluate a model in this process."""
    try:
        with files.unpacked() as (model, weights):
            begin = time.monotonic()
            metric = checked.measure(model, weights, batch_num)
            measured = Measured(metric, time.monotonic() - begin, worker_name())
    except EvaluatorError as error:
        lost = isinstance(error.__cause__, ChildProcessFailedError) and error.__cause__.ended
        return _failed(Kind.WORKER_FAILED if lost else Kind.EVALUATOR_FAILED, str(error))
    except SystemExit as error:
        return _failed(Kind.EVALUATOR_FAILED, f"eval_model raised SystemExit: {error}")
    except OSError as error:
        return _failed(Kind.WORKER_FAILED, f"the model files cannot be written there: {error}")
    return Answer(Kind.MEASURED, measured.worker, measured)


def _evaluator(task: Task) -> CheckedEvaluator | None:
    """Returns the evaluator of a task, unpickled once in each process; None if it is not here."""
    with _lock:
        checked = _known.get(task.digest)
        if checked is None and task.parcel is not None:
            checked = CheckedEvaluator(unpack(task.parcel))
            _known[task.digest] = checked
            while len(_known) > _KEPT:
                _known.popitem(last=False)
        if checked is not None:
            _known.move_to_end(task.digest)
        return checked


def _failed(kind: Kind, message: str) -> Answer:
    return Answer(kind, worker_name(), message=message, trace=traceback.format_exc())
