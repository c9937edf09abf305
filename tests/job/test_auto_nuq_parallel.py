"""The main job with several evaluations at once, in processes and threads."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nuqconv.errors import ConfigError
from nuqconv.job.job import TimedEvaluator
from nuqconv.search.evaluator import CheckedEvaluator
from tests.support.auto import Job, Judge, contents, error_evaluator


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


@pytest.mark.parametrize("how", ["workers", "threads"])
def test_workers_evaluate_as_this_process_does(job, how):
    """A ready-made evaluator takes the original's outputs with it, so metrics in workers are those measured here."""
    alone = job.run(error_evaluator())
    metrics = {trial.plan: trial.metric for trial in alone.trials}
    if how == "workers":
        found = job.run(error_evaluator(), workers=2, max_evaluations=8)
    else:
        with ThreadPoolExecutor(2) as executor:
            found = job.run(error_evaluator(), executor=executor, max_evaluations=8)
    common = [trial for trial in found.trials if trial.plan in metrics]
    assert common
    for trial in common:
        assert trial.metric == pytest.approx(metrics[trial.plan], rel=1e-6)
    assert found.metric <= 0.05
    assert found.seconds[1] > 0
    assert not [name for name in contents(job.out) if "trial" in name or ".nuqconv" in name]


def test_time_of_several_workers_adds_up():
    evaluator = TimedEvaluator(CheckedEvaluator(Judge()))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as executor:
            list(executor.map(evaluator.add_seconds, [1.0] * 20000))
    finally:
        sys.setswitchinterval(before)
    assert evaluator.seconds == 20000.0


def test_options_of_workers_without_workers(job):
    with pytest.raises(ConfigError, match="parallel and trial_timeout need workers or an executor"):
        job.run(error_evaluator(), parallel=2, trial_timeout=5.0)
    with pytest.raises(ConfigError, match="on_crash must be 'stop' or 'refuse', found 'hope'"):
        job.run(error_evaluator(), on_crash="hope")
