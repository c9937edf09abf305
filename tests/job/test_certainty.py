"""The interval of a result's metric."""

from __future__ import annotations

import json

import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator
from nuqconv.search.journal import Journal
from nuqconv.search.metrics import Interval
from tests.support.auto import Job, Judge, error_evaluator

FOUND = Interval(0.25, 0.125, 0.5, 0.95, 8)


class Sure(AutoNuqEvaluatorBase):
    """Accepts everything, and says how sure it is."""

    tells_interval = True

    def __init__(self, answer=FOUND):
        self.answer = answer
        self.evaluations = 0
        self.asked = []

    def eval_model(self, model_file, weights_file, batch_num):
        self.evaluations += 1
        return 0.5

    def is_satisfied(self, original_metric, new_metric):
        return True

    def metric_interval(self, model_file, weights_file, batch_num):
        with open(model_file) as file:  # noqa: PTH123
            self.asked.append((file.read(), batch_num))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_the_interval_of_the_result_is_in_it_and_in_the_journal(job):
    evaluator = Sure()
    result = job.run(evaluator, journal=True, max_evaluations=2)
    assert result.difference == FOUND
    ((text, batches),) = evaluator.asked
    assert text == result.files.fake_quant_model.read_text()
    assert batches == 2
    assert json.loads(result.to_json())["difference"] == vars(FOUND)
    with Journal.read(result.journal) as journal:
        assert json.loads(journal.fact(f"interval {result.plan.digest()}")) == vars(FOUND)


def test_a_search_that_is_taken_up_again_asks_no_more(job):
    first = job.run(Sure(), journal=True, max_evaluations=2)
    again = Sure()
    assert job.run(again, journal=True, max_evaluations=2).difference == first.difference
    assert (again.evaluations, again.asked) == (0, [])


def test_what_is_no_interval_in_a_journal_is_found_anew(job):
    result = job.run(Sure(), journal=True, max_evaluations=2)
    for text in ("{}", "7", '{"estimate": "x", "low": 1, "high": 1, "confidence": 1, "units": 1}', "no JSON"):
        with Journal.open(result.journal, _identity(result)) as journal:
            journal.set_facts({f"interval {result.plan.digest()}": text})
        evaluator = Sure()
        assert job.run(evaluator, journal=True, max_evaluations=2).difference == FOUND
        assert len(evaluator.asked) == 1


def _identity(result):
    with Journal.read(result.journal) as journal:
        return journal.identity


def test_a_failure_costs_the_interval_only(job):
    result = job.run(Sure(ValueError("no luck")), max_evaluations=2)
    assert result.difference is None
    (note,) = [note for note in result.notes if "how sure" in note]
    assert "metric_interval" in note
    assert "ValueError: no luck" in note
    assert json.loads(result.to_json())["difference"] is None


def test_an_evaluator_that_does_not_tell_is_not_asked(job):
    class Silent(Sure):
        tells_interval = False

    for evaluator in (Silent(), Judge()):
        assert job.run(evaluator, max_evaluations=2).difference is None
    with pytest.raises(EvaluatorError, match="it must return an Interval or None"):
        CheckedEvaluator(Sure(answer=0.5)).interval(__file__, __file__, 1)


def test_a_ready_made_evaluator_tells(job):
    with error_evaluator(0.5) as evaluator:
        result = job.run(evaluator, max_evaluations=3)
    found = result.difference
    assert found.estimate == pytest.approx(result.metric - result.original_metric)
    assert 0 < found.low <= found.estimate <= found.high
    assert found.units == 8
