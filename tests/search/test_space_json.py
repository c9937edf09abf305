"""Search spaces as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import FormatError
from nuqconv.search import LayerSpace, Option, SearchSpace
from nuqconv.search.space_json import space_from_object, space_to_object
from tests.search.simulated import INT8, NUQ16, NUQ32, random_space

numbers = st.floats(0, allow_nan=False, allow_infinity=False) | st.integers(0, 2**53)
layers = st.builds(
    lambda name, count, found, size: LayerSpace(
        name,
        tuple(Option(plan, *pair) for plan, pair in zip((INT8, NUQ32, NUQ16)[:count], found, strict=False)),
        size,
    ),
    st.text(max_size=8),
    st.integers(1, 3),
    st.lists(st.tuples(numbers, numbers), min_size=3, max_size=3),
    numbers,
)
spaces = st.lists(layers, min_size=1, max_size=4, unique_by=lambda item: item.name).map(
    lambda found: SearchSpace(tuple(found))
)


@given(spaces)
def test_json_gives_the_same_space_back(space):
    text = json.dumps(space_to_object(space), allow_nan=False)
    again = space_from_object(json.loads(text))
    assert again == space
    assert json.dumps(space_to_object(again)) == text


def edited(*path, value):
    tree = json.loads(json.dumps(space_to_object(random_space(np.random.default_rng(0), 2))))
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "layers: found null; expected a list"),
        ([], "damaged: there is no layer"),
        (edited(0, value=3), r"layers\[0\]: found 3; expected an object"),
        (edited(0, "name", value=3), r"layers\[0\]\.name: found 3; expected a text"),
        (edited(1, "name", value="l0"), "damaged: layers come twice"),
        (edited(0, "options", value={}), r"layers\[0\]\.options: found {}; expected a list"),
        (edited(0, "options", value=[]), r"damaged\n  - layers\[0\]: the options of layer 'l0' are wrong"),
        (edited(0, "options", 1, "loss", value="1"), r"options\[1\]\.loss: found .1.; expected a number"),
        (edited(0, "options", 1, "loss", value=True), r"options\[1\]\.loss: found true; expected a number"),
        (edited(0, "options", 1, "loss", value=-1), r"layers\[0\]: the options of layer"),
        (edited(0, "options", 1, "loss", value=10**400), r"options\[1\]\.loss: found 1000.*; expected a number that"),
        (edited(0, "options", 1, "plan", value={}), r"options\[1\]\.plan"),
        (edited(0, "options", 1, "plan", "weights", value="x"), "SHA-256"),
        (edited(0, "options", 1, "extra", value=1), r"options\[1\]\.extra: unknown key"),
    ],
)
def test_what_is_no_space(value, message):
    with pytest.raises(FormatError, match=message):
        space_from_object(value)


def test_names_of_stored_integers_are_kept():
    (layer,) = random_space(np.random.default_rng(0), 1).layers
    option = replace(layer.options[1], layer_plan=replace(NUQ32, weights="ab" * 32))
    space = SearchSpace((replace(layer, options=(layer.options[0], option)),))
    assert space_from_object(space_to_object(space)) == space
