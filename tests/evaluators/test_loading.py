"""The user's evaluator by the name of a file or a module."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nuqconv.errors import EvaluatorError
from nuqconv.evaluators.loading import load_evaluator, parse_arguments

ONE = """
import helper_of_mine

class Mine:
    def __init__(self, factor=1.0, name="x"):
        self.factor, self.name, self.helper = factor, name, helper_of_mine.VALUE
    def eval_model(self, model_file, weights_file, batch_num):
        return self.factor
    def is_satisfied(self, original_metric, new_metric):
        return True

def make(factor):
    return Mine(factor, "made")

def broken():
    raise OSError("no data")

def other():
    return 7
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an evaluator and what it imports; modules and path are as before afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "helper_of_mine.py").write_text("VALUE = 'helped'\n")
    (tmp_path / "one_evaluator.py").write_text(ONE)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("helper_of", "one_", "two_", "bad_")):
            del sys.modules[name]


def test_a_class_a_function_and_the_only_class(place):
    path = place / "one_evaluator.py"
    found = load_evaluator(f"{path}:Mine", {"factor": 2})
    assert (found.factor, found.name, found.helper) == (2, "x", "helped")
    assert load_evaluator(f"{path}:make", {"factor": 3}).name == "made"
    assert type(load_evaluator(str(path))) is type(found)
    assert type(load_evaluator("one_evaluator:Mine")) is type(found)


def test_a_relative_path(place, monkeypatch):
    monkeypatch.chdir(place)
    assert load_evaluator("one_evaluator.py:Mine").factor == 1


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("{0}/none.py:Mine", {}, "there is no such file; nuqconv evaluator-template -o none.py writes one"),
        ("{0}/one_evaluator.py:Other", {}, "has no class or function 'Other'; it has Mine, make, broken, other"),
        ("{0}/one_evaluator.py:make", {}, r"make\(factor\) cannot be called with no arguments: missing a required argument: 'factor'"),
        ("{0}/one_evaluator.py:Mine", {"size": 1}, "cannot be called with .*size.*: got an unexpected keyword argument 'size'; .*--evaluator-arg"),
        ("{0}/one_evaluator.py:broken", {}, "broken raised OSError: no data"),
        ("{0}/one_evaluator.py:other", {}, "int is no evaluator"),
        ("no_such_module_of_mine:Mine", {}, "importing it raised ModuleNotFoundError: No module named 'no_such_module_of_mine'"),
        ("{0}/my-eval.py", {}, "there is no such file"),
    ],
)  # fmt: skip
def test_what_is_no_evaluator(place, text, arguments, words):
    with pytest.raises(EvaluatorError, match=words):
        load_evaluator(text.format(place), arguments)


def test_files_that_cannot_be_imported(place):
    (place / "bad_syntax.py").write_text("x = = 1\n")
    (place / "bad_import.py").write_text("\nimport json\nimport not_there_at_all\n")
    (place / "bad-name.py").write_text(ONE)
    (place / "json.py").write_text(ONE)
    (place / "two_classes.py").write_text(f"{ONE}\n\nclass Second(Mine):\n    pass\n")
    for name, words in (
        ("bad_syntax.py", "importing it raised SyntaxError"),
        ("bad_import.py", r"No module named 'not_there_at_all' \(line 3\)"),
        ("bad-name.py", "'bad-name' cannot be the name of a module"),
        ("json.py", "a module 'json' is there already .*give the file another name"),
        ("two_classes.py", "say which class to take, as .*two_classes.py:NAME; .*: Mine, Second"),
    ):
        with pytest.raises(EvaluatorError, match=words):
            load_evaluator(str(place / name))


def test_worker_processes_can_import_it(place):
    """A process that is spawned gets the path and unpickles the evaluator by the name of its module."""
    code = (
        "import multiprocessing as m\n"
        "from nuqconv.evaluators.loading import load_evaluator\n"
        "if __name__ == '__main__':\n"
        f"    one = load_evaluator({str(place / 'one_evaluator.py')!r} + ':Mine', {{'factor': 0.5}})\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(one.eval_model, ('m', 'w', 1)))\n"
    )
    script = place / "main_of_mine.py"
    script.write_text(code)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd="/", timeout=120)
    assert ended.stdout == "0.5\n"


def test_arguments():
    found = parse_arguments(
        ["data=set.npz", "drop=0.01", "size=224", "flag=True", "shape=(3, 4)", "text='7'", "empty=", "eq=a=b"]
    )
    assert found == {
        "data": "set.npz", "drop": 0.01, "size": 224, "flag": True, "shape": (3, 4), "text": "7", "empty": "", "eq": "a=b",
    }  # fmt: skip
    with pytest.raises(EvaluatorError) as caught:
        parse_arguments(["data", "a=1", "a=2", "b c=1"])
    assert list(caught.value.problems) == [
        "'data': expected name=value",
        "'a=2': 'a' is given twice",
        "'b c=1': expected name=value",
    ]
