"""The main job goes on where it was stopped: its journal beside the outputs."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from nuqconv.errors import EvaluatorError, JournalError
from nuqconv.search.journal import Journal
from tests.support.auto import Job, batches, contents, error_evaluator

JOURNAL = "net_trials.sqlite"


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


class Counting:
    """Notes the models that it evaluates, and fails at the n-th."""

    def __init__(self, fails_at=None, data_version="1", **options):
        self.data_version = data_version
        self._inner = error_evaluator(**options)
        self.is_satisfied = self._inner.is_satisfied
        self.fails_at, self.seen, self.calibrated = fails_at, [], 0

    def calibration_batches(self, batch_num):
        self.calibrated += 1
        return self._inner.calibration_batches(batch_num)

    def eval_model(self, model_file, weights_file, batch_num):
        if len(self.seen) + 1 == self.fails_at:
            raise RuntimeError("stopped")
        self.seen.append("trial" if "fake_quant" in str(model_file) else "original")
        return self._inner.eval_model(model_file, weights_file, batch_num)

    @property
    def trials(self):
        return self.seen.count("trial")


def outputs(job):
    return {name: data for name, data in contents(job.out).items() if name != JOURNAL}


def undisturbed(tmp_path):
    other = Job(tmp_path / "undisturbed")
    evaluator = Counting()
    result = other.run(evaluator, journal=True)
    return outputs(other), result, evaluator


def test_a_stopped_search_goes_on(job, tmp_path):
    expected, whole, counted = undisturbed(tmp_path)
    done = 0
    for fails_at in (1, 2, 3, 3):
        evaluator = Counting(fails_at)
        with pytest.raises(EvaluatorError, match="stopped"):
            job.run(evaluator, journal=True)
        done += evaluator.trials
        with Journal.read(job.out / JOURNAL) as journal:
            assert len(journal.trials()) == done
    evaluator = Counting()
    result = job.run(evaluator, journal=True)
    assert done + evaluator.trials == counted.trials == whole.evaluations
    assert outputs(job) == expected
    assert [(t.number, t.metric, t.accepted, t.plan) for t in result.trials] == [
        (t.number, t.metric, t.accepted, t.plan) for t in whole.trials
    ]
    # Once, for inputs on which the errors of layers are measured.
    assert evaluator.calibrated == 1
    assert result.journal == job.out / JOURNAL


def test_a_finished_search_evaluates_nothing(job):
    first = job.run(Counting(), journal=True)
    before = outputs(job)
    evaluator = Counting(fails_at=1)
    again = job.run(evaluator, journal=True)
    assert evaluator.seen == []
    assert outputs(job) == before
    assert again.plan == first.plan
    assert again.metric == first.metric
    assert again.original_metric == first.original_metric


def test_metrics_stay_when_the_demand_changes(job):
    strict = job.run(Counting(max_error=0.02), journal=True)
    evaluator = Counting(max_error=0.2)
    loose = job.run(evaluator, journal=True)
    assert loose.sizes.bytes < strict.sizes.bytes
    assert all(trial.accepted == (trial.metric <= 0.2) for trial in loose.trials)
    assert evaluator.trials < loose.evaluations


def test_more_evaluations_go_on_from_fewer(job):
    assert job.run(Counting(), journal=True, max_evaluations=2).evaluations == 2
    evaluator = Counting()
    whole = job.run(evaluator, journal=True)
    assert evaluator.trials == whole.evaluations - 2


def test_another_search_is_refused_or_kept_aside(job):
    job.run(Counting(), journal=True)
    before = contents(job.folder)
    with pytest.raises(JournalError, match="journal of another search") as caught:
        job.run(Counting(data_version="2"), journal=True)
    (problem,) = caught.value.problems
    assert "data version" in problem or "what is evaluated" in problem
    assert contents(job.folder) == before
    evaluator = Counting(data_version="2")
    job.run(evaluator, journal=True, on_mismatch="restart")
    assert evaluator.seen[0] == "original"
    assert (job.out / (JOURNAL + ".1")).read_bytes() == before["out/" + JOURNAL]


def test_what_a_search_is_of(job):
    job.run(Counting(), journal=True)
    job.config.write_text(job.config.read_text().replace('"batch_num": 2', '"batch_num": 1'))
    with pytest.raises(JournalError) as caught:
        job.run(Counting(), journal=True, calibration_data=batches())
    changed, *names = [problem.split(":")[0] for problem in caught.value.problems]
    assert changed == f"{job.config} has changed"
    assert names == ["calibration batches", "evaluation batches", "calibration data"]


def test_an_original_with_another_metric(job):
    """A data version that was forgotten: the original is evaluated again before anything new is, and differs."""
    with pytest.raises(EvaluatorError, match="stopped"):
        job.run(Counting(fails_at=3), journal=True)
    evaluator = Counting()
    evaluator._inner.data.arrays["data"] *= np.float32(2)
    evaluator._inner.metric = lambda outputs, labels: float(outputs["prob"].std())
    evaluator.is_satisfied = lambda original, new: True
    with pytest.raises(JournalError, match="original model's metric"):
        job.run(evaluator, journal=True)


def test_a_journal_elsewhere_and_none(job, tmp_path):
    job.run(Counting(), journal=tmp_path / "deep" / "j.sqlite")
    assert (tmp_path / "deep" / "j.sqlite").is_file()
    assert JOURNAL not in contents(job.out)
    assert job.run(Counting(), journal=False).journal is None
    assert JOURNAL not in contents(job.out)


def test_a_damaged_search_space(job):
    with pytest.raises(EvaluatorError):
        job.run(Counting(fails_at=3), journal=True)
    with sqlite3.connect(job.out / JOURNAL) as connection:
        connection.execute("UPDATE search SET space = replace(space, 'nuq', 'huq')")
    connection.close()
    with pytest.raises(JournalError, match="search space cannot be used"):
        job.run(Counting(), journal=True)
