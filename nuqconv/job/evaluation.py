"""How the main job has models evaluated: the original first, then plans one after the other here, or several at once in workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nuqconv.errors import ConfigError
from nuqconv.job.job import Job, TimedEvaluator
from nuqconv.job.output_files import OutputFiles
from nuqconv.parallel import PlanPool
from nuqconv.quantize.plan import Plan
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured

__all__ = ["Evaluation", "Original", "WorkerOptions", "evaluation", "trial_writer"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOptions:
    """Where plans are evaluated; see `nuqconv.parallel.PlanPool`. Without workers and executor it is this process."""

    workers: int | None = None
    executor: Executor | Callable[[], Executor] | None = None
    parallel: int | None = None
    trial_timeout: float | None = None
    retries: int = 2
    memory_limit: int | None = None

    def check(self) -> None:
        """Checks that the options go together.

        Raises:
            ConfigError: They are those of workers, and there are none.
        """
        if self.workers is None and self.executor is None:
            names = ("parallel", "trial_timeout", "memory_limit")
            given = [name for name in names if getattr(self, name) is not None]
            if given:
                raise ConfigError(
                    f"{' and '.join(given)} need workers or an executor; without them plans are evaluated here"
                )


@dataclass(frozen=True)
class Evaluation:
    """What `run_search` evaluates plans with; either of the first two is None.

    Attributes:
        evaluate: Returns the metric of a plan.
        submit: Begins the evaluation of a plan.
        parallel: How many plans may be evaluated at once.
        write: Writes the model of a plan as the evaluator is given it; the next one takes its place.
    """

    evaluate: Callable[[Plan], float] | None
    submit: Callable[[Plan], Future[Measured]] | None
    parallel: int
    write: Callable[[Plan], tuple[Path, Path]]


class Original:
    """The original model: its metric, and the evaluator that has seen it.

    The metric comes from the journal where it is known. An evaluator may hold others against what it saw first, so it is shown the original
    before it is asked about anything else, and must then give the same metric again.

    Attributes:
        evaluator: The evaluator.
        batch_num: Batches of one evaluation.
        metric: The original's metric.
    """

    def __init__(
        self, evaluator: TimedEvaluator, sources: Mapping[str, Path], batch_num: int, journal: Journal | None
    ) -> None:
        self.evaluator = evaluator
        self.batch_num = batch_num
        self._sources = sources
        self._journal = journal
        self._shown = False
        known = None if journal is None else journal.original
        self.metric = self._measured() if known is None else known
        _LOG.info("original model: metric %.6g", self.metric)

    def show(self) -> TimedEvaluator:
        """Returns the evaluator after it has seen the original model."""
        if not self._shown:
            self._measured()
        return self.evaluator

    def _measured(self) -> float:
        metric = self.evaluator.baseline(self._sources["model"], self._sources["weights"], self.batch_num)
        if self._journal is not None:
            self._journal.set_original(metric)
        self._shown = True
        return metric


@contextmanager
def evaluation(
    job: Job, original: Original, files: OutputFiles, staging: Path, options: WorkerOptions
) -> Iterator[Evaluation]:
    """Makes ready to evaluate plans.

    Args:
        job: Quantizes plans.
        original: The original model and the evaluator.
        files: Their names are those of the models that the evaluator is given.
        staging: A folder for models.
        options: Where to evaluate.

    Yields:
        What evaluates; workers live until the end of the ``with``.
    """
    isolated = getattr(original.evaluator.checked.evaluator, "isolate", False) is True
    trials = staging / "trial"
    trials.mkdir()
    write = trial_writer(job, files)

    def written(plan: Plan) -> tuple[Path, Path]:
        return write(plan, trials)

    if isolated and options.workers is None and options.executor is None:
        # The trial is done again when the evaluator's child is lost, as it is with a worker.
        options = replace(options, executor=lambda: ThreadPoolExecutor(1))
    if options.workers is None and options.executor is None:

        def evaluate(plan: Plan) -> float:
            evaluator = original.show()
            return evaluator.measure(*written(plan), original.batch_num)

        yield Evaluation(evaluate, None, 1, written)
        return
    evaluator = original.show()
    with (
        _ended_early(evaluator.checked.evaluator if isolated else None),
        PlanPool(
            evaluator.checked,
            write,
            original.batch_num,
            workers=options.workers,
            executor=options.executor,
            parallel=options.parallel,
            trial_timeout=options.trial_timeout,
            retries=options.retries,
            folder=trials,
            memory_limit=options.memory_limit,
        ) as pool,
    ):

        def submit(plan: Plan) -> Future[Measured]:
            future = pool.submit(plan)
            future.add_done_callback(lambda done: _add_seconds(evaluator, done))
            return future

        _LOG.info("%d plans are evaluated at once", pool.parallel)
        yield Evaluation(None, submit, pool.parallel, written)


def trial_writer(job: Job, files: OutputFiles) -> Callable[[Plan, Path], tuple[Path, Path]]:
    """Returns what writes a plan's fake_quant model in the format of the original; of an ONNX model both paths are the same."""
    form = job.format.trial
    names = [path.name for path in files.of(form)]
    write_graph = form.writer(job.writing)

    def write(plan: Plan, folder: Path) -> tuple[Path, Path]:
        paths = [folder / name for name in names]
        for path in paths:
            # A new file each time: the evaluator may still hold the last one open.
            path.unlink(missing_ok=True)
        write_graph(job.quantizer.apply(plan), paths)
        return paths[0], paths[-1]

    return write


@contextmanager
def _ended_early(evaluator: Any) -> Iterator[None]:
    """Ends the children of an evaluator that is given up, or the interpreter would wait at its end for the threads that wait for them."""
    try:
        yield
    except BaseException:
        if evaluator is not None:
            evaluator.close()
        raise


def _add_seconds(evaluator: TimedEvaluator, done: Future[Measured]) -> None:
    if not done.cancelled() and done.exception() is None:
        evaluator.add_seconds(done.result().seconds)
