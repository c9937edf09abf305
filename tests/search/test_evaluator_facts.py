"""What an evaluator says of itself for reports."""

from __future__ import annotations

import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator
from nuqconv.search.evaluator_facts import EvaluatorFacts


class Mine(AutoNuqEvaluatorBase):
    def __init__(self, facts=None):
        self.facts = facts

    def eval_model(self, model_file, weights_file, batch_num):
        return 1.0

    def is_satisfied(self, original_metric, new_metric):
        return True

    def report_facts(self, original_metric):
        return self.facts(original_metric) if callable(self.facts) else self.facts


class Duck:
    """No base, no hook."""

    eval_model = Mine.eval_model
    is_satisfied = Mine.is_satisfied


def facts(evaluator, original=0.75):
    return CheckedEvaluator(evaluator).facts(original)


@pytest.mark.parametrize("evaluator", [Duck(), Mine(), Mine({}), Mine({"data": None})])
def test_those_that_say_nothing_are_called_by_their_names(evaluator):
    name = type(evaluator).__name__
    assert facts(evaluator) == EvaluatorFacts(f"{name}.eval_model", f"{name}.is_satisfied")


def test_what_is_said_is_kept():
    said = {
        "metric": "mIoU",
        "demand": "at least 0.7",
        "better": "higher",
        "limit": 0.7,
        "samples": 50,
        "runtime": "my own",
        "data": "photos",
    }
    assert facts(Mine(said)) == EvaluatorFacts(**said)
    assert facts(Mine(lambda original: {"limit": original - 0.25})).limit == 0.5
    assert facts(Mine({"limit": 1})).limit == 1


def test_a_whole_list_of_faults():
    with pytest.raises(EvaluatorError) as caught:
        facts(
            Mine(
                {"colour": "red", "samples": 1.5, "limit": float("nan"), "better": "left", "metric": 3, "runtime": True}
            )
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "Mine.report_facts(0.75) returned what a report cannot show"
    assert [line.split()[1].strip("':") for line in lines[1:]] == [
        "colour",
        "samples",
        "limit",
        "better",
        "metric",
        "runtime",
    ]


def test_other_values_and_failures():
    with pytest.raises(EvaluatorError, match="it must return a mapping from names to texts or numbers"):
        facts(Mine([("metric", "x")]))
    with pytest.raises(EvaluatorError, match=r"Mine.report_facts\(0.75\) raised ZeroDivisionError"):
        facts(Mine(lambda original: 1 / 0))
