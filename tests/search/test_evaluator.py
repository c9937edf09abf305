"""The evaluator contract, and everything that a user's evaluator can do wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.search import AutoNuqEvaluatorBase, CheckedEvaluator


class Good(AutoNuqEvaluatorBase):
    def __init__(self, value=0.5, verdict=True):
        self.value, self.verdict = value, verdict

    def eval_model(self, model_file, weights_file, batch_num):
        assert type(model_file) is str
        assert type(weights_file) is str
        return self.value(batch_num) if callable(self.value) else self.value

    def is_satisfied(self, original_metric, new_metric):
        return self.verdict() if callable(self.verdict) else self.verdict


def raising(error):
    def run(*_):
        raise error

    return run


def test_base_accepts_any_constructor_and_names_what_is_missing():
    class Sample(AutoNuqEvaluatorBase):
        def __init__(self):
            super().__init__(self)

    AutoNuqEvaluatorBase(1, two=2)
    with pytest.raises(NotImplementedError, match=r"Sample has no eval_model; write eval_model\(self, model_file"):
        Sample().eval_model("m", "w", 1)
    with pytest.raises(NotImplementedError, match=r"Sample has no is_satisfied"):
        Sample().is_satisfied(1.0, 1.0)
    assert Sample().calibration_batches(1) is None
    assert Sample().evaluate_batch_num is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.float16(0.5), 0.5),
        (np.array(0.75, np.float32), 0.75),
        (-0.0, 0.0),
    ],
)
def test_numbers_are_accepted(value, expected):
    metric = CheckedEvaluator(Good(value)).measure(Path("m.prototxt"), "w.caffemodel", 2)
    assert type(metric) is float
    assert metric == expected


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "returned None"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("0.5", "'0.5' \\(str\\)"),
        (1 + 2j, "complex"),
        ([0.5], "list"),
        ((0.5, 0.6), "tuple"),
        ({"acc": 0.5}, "dict"),
        (np.array([0.5]), r"an array of shape \(1,\)"),
        (np.array("x"), "str"),
        (np.array(1 + 2j), "complex"),
        (math.nan, "returned nan"),
        (np.float32("nan"), "returned nan"),
        (math.inf, "returned inf"),
        (-np.inf, "returned -inf"),
        (10**400, "integer that no float can hold"),
        (lambda n: (_ for _ in ()), "generator"),
    ],
)
def test_other_returns_are_refused(value, match):
    with pytest.raises(EvaluatorError, match=match) as info:
        CheckedEvaluator(Good(value)).measure("m.prototxt", "w.caffemodel", 2)
    assert "Good.eval_model('m.prototxt', 'w.caffemodel', 2)" in str(info.value)


def test_exceptions_are_chained_and_name_the_call():
    cause = RuntimeError("out of memory")
    with pytest.raises(EvaluatorError, match="RuntimeError: out of memory") as info:
        CheckedEvaluator(Good(raising(cause))).measure("m.prototxt", "w.caffemodel", 2)
    assert info.value.__cause__ is cause
    assert "m.prototxt" in str(info.value)
    with pytest.raises(EvaluatorError, match=r"is_satisfied\(1.0, 2.0\) raised KeyError"):
        CheckedEvaluator(Good(verdict=raising(KeyError("x")))).satisfied(1.0, 2.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through(error):
    checked = CheckedEvaluator(Good(raising(error()), raising(error())))
    with pytest.raises(error):
        checked.measure("m", "w", 1)
    with pytest.raises(error):
        checked.satisfied(1.0, 1.0)


@pytest.mark.parametrize(
    ("verdict", "expected"), [(True, True), (np.bool_(True), True), (np.bool_(False), False), (np.array(True), True)]
)
def test_verdicts(verdict, expected):
    assert CheckedEvaluator(Good(verdict=verdict)).satisfied(1.0, 1.0) is expected


@pytest.mark.parametrize("verdict", [None, 1, 0, 1.0, "yes", np.int64(1), np.array([True])])
def test_verdicts_that_are_no_bool_are_refused(verdict):
    with pytest.raises(EvaluatorError, match="must return True or False"):
        CheckedEvaluator(Good(verdict=verdict)).satisfied(1.0, 1.0)


def test_baseline_refuses_an_evaluator_that_refuses_the_original():
    assert CheckedEvaluator(Good()).baseline("m", "w", 1) == 0.5
    with pytest.raises(EvaluatorError, match=r"broken evaluator: Good.is_satisfied\(0.5, 0.5\) is False"):
        CheckedEvaluator(Good(verdict=False)).baseline("m", "w", 1)


def test_any_class_with_the_two_methods_will_do():
    class Duck:
        def eval_model(self, *files):
            return len(files)

        def is_satisfied(self, a, b, strict=False):
            return a == b

    duck = Duck()
    checked = CheckedEvaluator(duck)
    assert checked.evaluator is duck
    assert checked.baseline("m", "w", 1) == 3
    assert checked.calibration_batches(1) is None
    assert checked.evaluate_batch_num(4) == 4


def test_faults_are_found_up_front_and_all_listed():
    class Half(AutoNuqEvaluatorBase):
        def eval_model(self, model_file, weights_file):
            return 1.0

    with pytest.raises(EvaluatorError) as info:
        CheckedEvaluator(Half())
    assert len(info.value.problems) == 2
    assert "eval_model(model_file, weights_file) cannot be called" in info.value.problems[0]
    assert info.value.problems[1] == "is_satisfied(self, original_metric, new_metric) is missing"
    with pytest.raises(EvaluatorError, match=r"pass an instance of it: Good\(\)"):
        CheckedEvaluator(Good)
    with pytest.raises(EvaluatorError, match="int is no evaluator"):
        CheckedEvaluator(3)


@pytest.mark.parametrize("number", [0, -1, 2.0, True, "3"])
def test_bad_batch_numbers_are_refused(number):
    evaluator = Good()
    evaluator.evaluate_batch_num = number
    with pytest.raises(EvaluatorError, match="evaluate_batch_num"):
        CheckedEvaluator(evaluator).evaluate_batch_num(1)


def test_batch_number_of_the_evaluator_wins():
    evaluator = Good()
    evaluator.evaluate_batch_num = np.int32(9)
    assert CheckedEvaluator(evaluator).evaluate_batch_num(1) == 9


def offering(batches):
    evaluator = Good()
    evaluator.calibration_batches = lambda batch_num: batches(batch_num) if callable(batches) else batches
    return CheckedEvaluator(evaluator)


def test_calibration_batches_are_read_no_further_than_wanted():
    def endless(_):
        while True:
            yield {"data": np.ones((1, 2), np.float32)}

    batches = list(offering(endless).calibration_batches(3))
    assert len(batches) == 3
    assert batches[0]["data"].shape == (1, 2)
    assert offering(None).calibration_batches(3) is None


def broken(_):
    yield {"data": np.ones(2)}
    raise OSError("disk")


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ([], "yielded no batch"),
        ({"data": np.ones(2)}, "one mapping"),
        (3, "one mapping"),
        ([np.ones(2)], "batch 0: found an array"),
        ([{}], "batch 0"),
        ([{"data": np.ones(2)}, {"data": ["x"]}], "batch 1: found 'data'"),
        ([{1: np.ones(2)}], "found 1"),
        ([{"data": np.array([1.0, np.nan])}], "NaN"),
        ([{"data": np.ones((0, 3))}], "empty"),
        (broken, "raised OSError at batch 1: disk"),
        (raising(OSError("gone")), "raised OSError: gone"),
    ],
)
def test_bad_calibration_batches_are_refused(batches, match):
    with pytest.raises(EvaluatorError, match=match):
        list(offering(batches).calibration_batches(5))
