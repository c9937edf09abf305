"""What tells one search from another."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import ConfigError, FormatError
from nuqconv.evaluators.identity import batches_digest, evaluator_identity, states_data_version
from nuqconv.files.digest import file_digest


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Other(Plain):
    pass


def contents(**attributes):
    return evaluator_identity(Plain(**attributes))["evaluator contents"]


def test_files(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(data)
    assert file_digest(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FormatError, match="cannot be read"):
        file_digest(tmp_path / "b")


def test_a_data_version_speaks_for_the_data():
    first, second = (Plain(data_version="7", seen=number) for number in (1, 2))
    assert evaluator_identity(first) == evaluator_identity(second)
    assert evaluator_identity(first)["data version"] == "7"
    assert evaluator_identity(first) != evaluator_identity(Plain(data_version="8"))
    assert evaluator_identity(first) != evaluator_identity(Other(data_version="7"))
    assert states_data_version(first)
    assert not states_data_version(Plain(data_version=None))
    with pytest.raises(ConfigError, match="must be a text"):
        evaluator_identity(Plain(data_version=7))


def threshold(limit):
    return lambda metric: metric > limit


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"b": 1}),
        ({"a": "1"}, {"a": b"1"}),
        ({"a": (1, (2,))}, {"a": (1, (3,))}),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}),
        ({"a": np.zeros(3)}, {"a": np.ones(3)}),
        ({"a": np.zeros(3)}, {"a": np.zeros((3, 1))}),
        ({"a": np.float32(1)}, {"a": np.float64(1)}),
        ({"a": Path("x")}, {"a": Path("y")}),
        ({"a": threshold(1)}, {"a": threshold(2)}),
        ({"a": lambda x: x + 1}, {"a": lambda x: x + 2}),
        ({"a": lambda x: x.min()}, {"a": lambda x: x.max()}),
        ({"a": threshold(1)}, {"a": None}),
    ],
)
def test_contents_that_differ(first, second):
    assert contents(**first) == contents(**first)
    assert contents(**first) != contents(**second)


def test_what_cannot_be_looked_into_counts_by_its_type():
    assert contents(a=object()) == contents(a=object())
    assert contents(a=object()) != contents(a=iter(()))


def test_values_that_hold_themselves():
    loop: list[object] = []
    loop.append(loop)
    assert contents(a=loop) == contents(a=loop)


def test_other_processes_find_the_same():
    code = (
        "import sys; sys.path.insert(0, 'tests');"
        "from tests.evaluators.test_identity import *; print(contents(a={'x': 1, 'y': 'z'}, b=threshold(3), c=Path('q')))"
    )
    root = Path(__file__).resolve().parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {contents(a={"x": 1, "y": "z"}, b=threshold(3), c=Path("q")) + "\n"}


def test_batches():
    first = [{"data": np.zeros((2, 3), np.float32)}, {"data": np.ones((2, 3), np.float32)}]
    assert batches_digest(first) == batches_digest(iter(first))
    assert batches_digest(first) != batches_digest(first[::-1])
    assert batches_digest(first) != batches_digest(first[:1])
