"""Top-k and the error of outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.search import output_error, sqnr_db, top1, topk

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], np.float32)


def test_top1_and_topk():
    assert top1(SCORES, [1, 0, 2]) == 1.0
    assert top1(SCORES, [1, 1, 1]) == pytest.approx(1 / 3)
    assert topk(2)(SCORES, [1, 1, 1]) == 1.0
    assert topk(2)(SCORES, [0, 1, 2]) == pytest.approx(2 / 3)
    assert topk(3)(SCORES, [0, 0, 0]) == 1.0
    assert top1(SCORES.reshape(3, 3, 1, 1), np.float32([[1], [0], [2]])) == 1.0


def test_top1_is_argmax_where_no_scores_are_equal():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    assert top1(scores, labels) == (scores.argmax(axis=1) == labels).mean()
    ranks = (-scores).argsort(axis=1)
    assert topk(5)(scores, labels) == (ranks[:, :5] == labels[:, None]).any(axis=1).mean()


def test_an_output_that_says_nothing_scores_nothing():
    assert top1(np.zeros((4, 3)), [0, 0, 1, 2]) == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "match"),
    [
        (SCORES, [0, 1], "3 labels"),
        (SCORES, 0, "3 labels"),
        (SCORES, np.zeros((3, 2)), "3 labels"),
        (SCORES, [0, 1, 3], "found 3 at sample 2"),
        (SCORES, [0, -1, 2], "found -1 at sample 1"),
        (SCORES, [0, 0.5, 2], "found 0.5"),
        (SCORES, [0, np.nan, 2], "found nan"),
        (SCORES[0], [0], r"found \(3,\)"),
        (np.zeros((2, 3, 4, 4)), [0, 1], "shape"),
        (np.zeros((0, 3)), [], "shape"),
        (np.full((1, 2), np.nan), [0], "sample 0 hold NaN"),
        (SCORES, ["a", "b", "c"], "numbers"),
    ],
)
def test_bad_scores_and_labels_are_refused(scores, labels, match):
    with pytest.raises(EvaluatorError, match=match):
        top1(scores, labels)


def test_bad_k_is_refused():
    for k in (0, -1, 1.0, True):
        with pytest.raises(EvaluatorError, match="positive integer"):
            topk(k)
    with pytest.raises(EvaluatorError, match="top-4 needs 4 classes, found 3"):
        topk(4)(SCORES, [0, 0, 0])


def test_output_error_and_sqnr():
    reference = np.array([[3.0, 4.0]])
    assert output_error(reference, reference) == 0.0
    assert output_error([[3.0, 4.5]], reference) == pytest.approx(0.1)
    assert sqnr_db([[3.0, 4.5]], reference) == pytest.approx(20.0)
    assert sqnr_db(reference, reference) == math.inf
    assert output_error(np.zeros(3), np.zeros(3)) == 0.0
    assert output_error(np.uint8([0, 255]), np.uint8([255, 0])) == pytest.approx(math.sqrt(2))
    huge = np.array([1e300, -1e300])
    assert output_error(huge * 1.5, huge) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("outputs", "reference", "match"),
    [
        ([1.0, 2.0], [1.0], "shape"),
        ([[1.0]], [1.0], "shape"),
        ([], [], "shape"),
        ([np.nan], [1.0], "NaN"),
        ([1.0], [np.inf], "NaN or infinity"),
        ([1.0], [0.0], "all zeros"),
        (["a"], ["a"], "numbers"),
    ],
)
def test_bad_outputs_are_refused(outputs, reference, match):
    with pytest.raises(EvaluatorError, match=match):
        output_error(outputs, reference)
