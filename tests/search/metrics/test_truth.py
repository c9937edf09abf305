"""What is known of the objects of a picture."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics import Boxes


def test_arrays_are_copied_and_have_one_type():
    places = np.array([[0, 0.25, 1, 0.5]], np.float32)
    found = Boxes(classes=np.array([7.0]), boxes=places, crowd=[1], size=(300, 400))
    places[:] = 0
    assert (found.classes.dtype, found.boxes.dtype) == (np.int64, np.float64)
    assert found.boxes.tolist() == [[0, 0.25, 1, 0.5]]
    assert (found.difficult.tolist(), found.crowd.tolist(), len(found)) == ([False], [True], 1)
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0, 0] = 1
    again = pickle.loads(pickle.dumps(found))
    assert again.boxes.tolist() == found.boxes.tolist()
    assert again.size == (300, 400)


def test_a_picture_without_objects():
    found = Boxes([], [])
    assert (found.classes.shape, found.boxes.shape, found.difficult.shape) == ((0,), (0, 4), (0,))


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (([1], []), ["there are 1 classes for 0 boxes"]),
        (
            ([1.5, -1], [[0, 0, 1, 1], [0.5, 0, 0.4, 1]]),
            [
                "class 1.5 is no whole number from 0",
                "box 1 is [0.5, 0.0, 0.4, 1.0], expected xmin, ymin, xmax, ymax in this order",
            ],
        ),
        (
            ([1], [[0, 0, np.nan, 1]], [2], [True, True], (0, 3)),
            [
                "box 0 is [0.0, 0.0, nan, 1.0], expected xmin, ymin, xmax, ymax in this order",
                "difficult must be 1 truth values, one for each object, found (1,) of int64",
                "crowd must be 1 truth values, one for each object, found (2,) of bool",
                "size is (0, 3), expected height and width in pixels",
            ],
        ),
        (
            (["cat"], [[0, 0, 1]]),
            [
                "classes has shape (1,) of <U3, expected numbers (k)",
                "boxes has shape (1, 3) of int64, expected numbers (k, 4)",
            ],
        ),
    ],
)
def test_what_does_not_fit_is_told_at_once(arguments, problems):
    with pytest.raises(EvaluatorError) as caught:
        Boxes(*arguments)
    assert list(caught.value.problems) == problems
