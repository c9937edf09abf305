"""A search on a real Dask cluster of several worker processes, some of which are killed while it runs."""

from __future__ import annotations

import logging
import os
import signal
import time

import numpy as np
import pytest
from distributed import Client, LocalCluster

from nuqconv.errors import EvaluatorError
from nuqconv.parallel import PlanPool
from nuqconv.search import run_search
from tests.search.simulated import random_space
from tests.support import parallel_evaluators as ours
from tests.support.parallel_evaluators import write_plan

SPACE = random_space(np.random.default_rng(11), 10)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Three worker processes of one thread each, that only this machine can reach."""
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=folder,
            env={"TMPDIR": folder},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


# Said wherever a worker was killed before: until it is back, the cluster tells fewer.
WIDTH = 3


def search(pool, parallel, **options):
    return run_search(
        SPACE, submit=pool.submit, parallel=parallel, satisfied=lambda metric: metric <= 60, original=0.0, **options
    )


def facts(outcome):
    trials = [(t.number, t.plan, t.metric, t.accepted, t.bytes, t.step) for t in outcome.trials]
    return trials, outcome.best.number, outcome.stopped_by


@pytest.fixture(scope="module")
def expected():
    """The same search with evaluations in this process, which finish at once, as many of them outstanding."""

    class Here:
        def submit(self, plan):
            return ours.finished(ours.cost(plan.to_json()))

    outcome = search(Here(), WIDTH)
    assert outcome.evaluations > 8
    return facts(outcome)


def pids(client):
    return set(client.run(os.getpid).values())


def test_the_search_is_the_same_and_each_worker_gets_the_evaluator_once(tmp_path, client, expected):
    evaluator = ours.Counted(tmp_path)
    with PlanPool(evaluator, write_plan, 3, executor=client.get_executor()) as pool:
        assert pool.parallel == 3
        outcome = search(pool, pool.parallel)
    assert facts(outcome) == expected
    used = {int(trial.worker.rpartition(":")[2]) for trial in outcome.trials}
    assert used <= pids(client)
    assert all(evaluator.notes.count(f"loaded-by-{pid}") == 1 for pid in used)


def test_workers_evaluate_at_the_same_time(tmp_path, client):
    evaluator = ours.Meeting(tmp_path)
    with PlanPool(evaluator, write_plan, 3, executor=client.get_executor()) as pool:
        futures = [pool.submit(SPACE.plan(SPACE.uniform(level))) for level in (0, 1)]
        assert len({future.result(60).worker for future in futures}) == 2


def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path, client, expected):
    before = pids(client)
    evaluator = ours.Sleeping(tmp_path, 0.05, jitter=1)
    killed = []

    def on_trial(trial, progress):
        if trial.number == 3:
            # The one that has just answered is idle or at the next trial; the evaluator is gone with it.
            killed.append(int(trial.worker.rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    with PlanPool(evaluator, write_plan, 3, executor=client.get_executor()) as pool:
        outcome = search(pool, WIDTH, on_trial=on_trial)
    assert facts(outcome) == expected
    assert set(killed) <= before
    assert all(trial.number <= 3 for trial in outcome.trials if trial.worker.endswith(f":{killed[0]}"))


def test_workers_that_die_in_an_evaluation_change_nothing(tmp_path, client, expected):
    evaluator = ours.Dying(tmp_path, [1, 5], "kill")
    with PlanPool(evaluator, write_plan, 3, executor=client.get_executor()) as pool:
        assert facts(search(pool, WIDTH)) == expected
    assert evaluator.notes.count("call") == len(expected[0]) + 2


def test_what_the_evaluator_raises_there_names_the_trial_here(tmp_path, client):
    evaluator = ours.Raising(tmp_path, 0)
    with (
        pytest.raises(EvaluatorError, match=r"trial 1 \(.*\): in worker .*raised ValueError: the data are gone"),
        PlanPool(evaluator, write_plan, 3, executor=client.get_executor()) as pool,
    ):
        search(pool, 1)


def test_a_task_that_hangs_is_done_elsewhere(tmp_path, client, expected, caplog):
    evaluator = ours.Hanging(tmp_path, [2])
    with (
        caplog.at_level(logging.WARNING, "nuqconv.parallel"),
        PlanPool(evaluator, write_plan, 3, executor=client.get_executor(), trial_timeout=2) as pool,
    ):
        outcome = search(pool, WIDTH)
        assert facts(outcome) == expected
        assert evaluator.notes.count("call") == len(expected[0]) + 1
        lines = [record.message for record in caplog.records if record.name.startswith("nuqconv.parallel")]
        assert any("no trial is sent to worker" in line for line in lines)
        assert sum("no answer within" in line for line in lines) <= 3
        # The worker is given trials again when it has answered.
        used = {trial.worker for trial in outcome.trials[-3:]}
        (tmp_path / "release").touch()
        deadline = time.monotonic() + 30
        while len(used) < 3 and time.monotonic() < deadline:
            futures = [pool.submit(SPACE.plan(SPACE.uniform())) for _ in range(3)]
            used |= {future.result(30).worker for future in futures}
    assert len(used) == 3
