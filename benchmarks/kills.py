"""Searches that are killed at random moments and started again, until they end: do they end as an undisturbed one does?

Two searches: one over a simulated network (``simulated``), some 200 evaluations of a few milliseconds each, and the whole job on the bundled LeNet
(``lenet``). Each start is a process of its own, ended by SIGKILL. Every evaluation adds a line to a log before its result is known to anybody else,
so that the log shows what was evaluated twice.

    python benchmarks/kills.py
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import nuqconv
from nuqconv.data.datafile import read_data
from nuqconv.errors import JournalError
from nuqconv.job.result import NuqResult
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search import LayerSpace, Option, SearchOutcome, SearchSpace, Trial, TrialJournal, run_search
from nuqconv.search.journal import Journal

__all__ = ["SEARCHES", "Kills", "Search", "kill_and_resume", "rows"]

LENET = Path(__file__).parents[1] / "examples" / "lenet"
_LAYERS, _EVALUATIONS, _SECONDS = 250, 400, 0.006
_PATIENCE = 300.0


@dataclass(frozen=True)
class Search:
    """A search that can be killed.

    Attributes:
        run: Called in a process of its own with a folder and what to call when the search begins; returns the outcome as text.
        journal: The journal's name in the folder.
        pause: Longest time in seconds from the beginning to the kill.
    """

    run: Callable[[Path, Callable[[], None]], str]
    journal: str
    pause: float


@dataclass(frozen=True)
class Kills:
    """What became of a search that was killed again and again.

    Attributes:
        kills: How often it was killed.
        evaluations: Evaluations that the undisturbed search needs; that of the original model is not counted.
        evaluated: Evaluations of all starts together.
        lost: Evaluations that were finished and not yet recorded when a kill came; these have to be repeated.
        repeated: Evaluations of plans that were recorded already; there should be none.
        identical: Whether outcome and files are those of the undisturbed search.
    """

    kills: int
    evaluations: int
    evaluated: int
    lost: int
    repeated: int
    identical: bool


def simulated(
    folder: Path, begun: Callable[[], None], keep: Callable[[Journal], TrialJournal] = lambda journal: journal
) -> str:
    """Searches a network whose real damage is a fixed function of the plan, off from the prediction and not monotone.

    Args:
        folder: Where journal and log are.
        begun: Called when the search begins.
        keep: What the search is given for its journal.
    """
    rng = np.random.default_rng(7)
    space = SearchSpace(tuple(_layer(rng, index) for index in range(_LAYERS)))
    damage = [[loss * np.exp(rng.normal(0, 0.8)) for loss in layer.losses] for layer in space.layers]
    levels = [{option.layer_plan: level for level, option in enumerate(layer.options)} for layer in space.layers]

    def true(plan: Plan) -> float:
        noise = 0.85 + 0.3 * (zlib.crc32(plan.digest().encode()) % 1000) / 1000
        items = zip(plan.values(), levels, damage, strict=True)
        return float(
            noise * sum(row[known[item]] for item, known, row in items if item.precision is not Precision.FLOAT)
        )

    def evaluate(plan: Plan) -> float:
        metric = true(plan)
        time.sleep(_SECONDS)
        _log(folder, plan.digest())
        return metric

    limit = 0.3 * true(space.plan(space.uniform(2)))
    with Journal.open(folder / "trials.sqlite", {"search": "simulated"}) as journal:
        begun()
        outcome = run_search(
            space,
            evaluate=evaluate,
            satisfied=lambda metric: metric <= limit,
            original=0.0,
            journal=keep(journal),
            max_evaluations=_EVALUATIONS,
        )
    return _canonical(outcome)


class LenetEvaluator(nuqconv.OnnxRuntimeEvaluator):
    """Judges LeNet by the outputs' error on 1,000 images, with a demand that takes some search, and logs what it was shown."""

    def __init__(self, folder: Path) -> None:
        data = read_data(LENET / "test_set.npz", ["data"])
        super().__init__({"data": data.inputs["data"][:1000]}, metric="output_error", max_error=0.003)
        self._folder = folder

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        """Evaluates and logs."""
        metric = super().eval_model(model_file, weights_file, batch_num)
        # The original is shown to the evaluator in every process again, which may need it to judge others.
        if "fake_quant" not in model_file:
            return metric
        content = Path(model_file).read_bytes() + Path(weights_file).read_bytes()
        _log(self._folder, hashlib.sha256(content).hexdigest())
        return metric


def lenet(folder: Path, begun: Callable[[], None]) -> str:
    """Searches the bundled LeNet with all that belongs to it."""
    files = LENET / "deploy.prototxt", LENET / "lenet.caffemodel"
    config = folder / "config.json"
    if not config.exists():
        nuqconv.create_quant_config(config, *files, batch_num=2)
    evaluator = LenetEvaluator(folder)
    begun()
    record, prefix = folder / "record.txt", folder / "net"
    result = nuqconv.auto_nuq(*files, evaluator, config, record, prefix, progress=False, max_evaluations=10)
    files_written = sorted(result.files.present().items())
    written = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_written}
    return _canonical(result) + json.dumps(written)


SEARCHES = {
    "simulated": Search(simulated, "trials.sqlite", 0.04),
    "lenet": Search(lenet, "net_trials.sqlite", 0.6),
}


def kill_and_resume(search: Search, folder: Path, *, kills: int = 50, seed: int = 0) -> Kills:
    """Runs a search undisturbed, then another one that is killed and started again until it ends.

    Args:
        search: What to run.
        folder: Where both work; it should be empty.
        kills: After how many kills it is left alone; it may end before.
        seed: Of the moments of the kills.
    """
    alone, disturbed = folder / "alone", folder / "disturbed"
    alone.mkdir(parents=True)
    disturbed.mkdir()
    _start(search, alone, None)
    moments = random.Random(seed)
    done = lost = repeated = seen = 0
    plans = _plans(alone, search)
    while True:
        recorded = _recorded(disturbed / search.journal)
        ended = _start(search, disturbed, moments.uniform(0, search.pause) if done < kills else None)
        lines = [plans[line] for line in _lines(disturbed)]
        new, seen = lines[seen:], len(lines)
        repeated += sum(plan in recorded for plan in new)
        now = _recorded(disturbed / search.journal)
        lost += sum(plan not in now for plan in new)
        if ended:
            break
        done += 1
    same = (alone / "outcome.json").read_bytes() == (disturbed / "outcome.json").read_bytes()
    return Kills(done, len(_lines(alone)), seen, lost, repeated, same)


def rows(kills: int = 50) -> list[tuple[str, Kills]]:
    """Returns what both searches come to."""
    found = []
    for name, search in SEARCHES.items():
        folder = Path(tempfile.mkdtemp())
        try:
            found.append((name, kill_and_resume(search, folder, kills=kills)))
        finally:
            shutil.rmtree(folder)
    return found


def _layer(rng: np.random.Generator, index: int) -> LayerSpace:
    weights = int(10 ** rng.uniform(3, 6))
    loss = 10 ** rng.uniform(-5, -3)
    options = [Option(LayerPlan(Precision.INT8), float(weights), loss)]
    for steps, share in ((32, 5 / 8), (16, 1 / 2)):
        loss *= rng.uniform(2, 6)
        book = tuple(range(index % 150 - 100, index % 150 - 100 + steps))
        options.append(Option(LayerPlan(Precision.NUQ, book, steps), float(round(weights * share)) + steps, loss))
    return LayerSpace(f"layer{index}", tuple(options), 4.0 * weights)


def _trial(trial: Trial) -> list[object]:
    layers = list(trial.float_layers)
    return [trial.number, trial.step, trial.plan.digest(), trial.metric, trial.accepted, trial.bytes, layers]


def _canonical(found: SearchOutcome | NuqResult) -> str:
    """Returns all of an outcome that does not measure time."""
    original = found.original if isinstance(found, SearchOutcome) else found.original_metric
    content = {
        "plan": json.loads(found.plan.to_json()),
        "metric": found.metric,
        "original": original,
        "stopped_by": found.stopped_by,
        "trials": [_trial(trial) for trial in found.trials],
    }
    return json.dumps(content)


def _start(search: Search, folder: Path, pause: float | None) -> bool:
    """Starts the search in a process of its own; returns whether it came to its end before it was killed."""
    context = multiprocessing.get_context("forkserver")
    # What takes long to import is imported once, and every start is a fork of that.
    context.set_forkserver_preload(["nuqconv", "nuqconv.search.journal"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(search, folder, there))
    process.start()
    there.close()
    try:
        if not here.poll(_PATIENCE):
            raise RuntimeError(f"{search.run.__name__}: the search did not begin")
        try:
            here.recv()
        except EOFError:
            raise RuntimeError(f"{search.run.__name__}: the search failed before it began") from None
        process.join(_PATIENCE if pause is None else pause)
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        if process.exitcode not in (0, -signal.SIGKILL) or (pause is None and process.exitcode):
            raise RuntimeError(f"{search.run.__name__}: the search ended with code {process.exitcode}")
        return process.exitcode == 0
    finally:
        here.close()


def _child(search: Search, folder: Path, begun: Connection) -> None:
    outcome = search.run(folder, lambda: begun.send(True))
    ready = folder / "outcome.new"
    ready.write_text(outcome)
    ready.rename(folder / "outcome.json")


def _plans(folder: Path, search: Search) -> dict[str, str]:
    """Returns which plan each line of the log stands for; an undisturbed search logs in the order in which it records."""
    lines = _lines(folder)
    with Journal.read(folder / search.journal) as journal:
        plans = [record.digest for record in journal.trials()]
    if len(set(lines)) != len(lines) or len(lines) != len(plans):
        raise RuntimeError(f"{len(lines)} evaluations, {len(set(lines))} different ones, were recorded as {len(plans)}")
    return dict(zip(lines, plans, strict=True))


def _recorded(journal: Path) -> set[str]:
    """Returns what is recorded; the journal of a process that was killed has to be readable."""
    if not journal.exists():
        return set()
    try:
        with Journal.read(journal) as found:
            return {record.digest for record in found.trials()}
    except JournalError as error:
        raise RuntimeError(f"the journal cannot be read after a kill: {error}") from error


def _log(folder: Path, what: str) -> None:
    # One write of one line: a kill leaves it whole or not at all.
    file = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, f"{what}\n".encode())
    os.close(file)


def _lines(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    for name, found in rows():
        print(f"{name}: {found}")
