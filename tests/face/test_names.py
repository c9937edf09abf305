"""The public names at run time: what they are, `help()`, and that they are imported late."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nuqconv
from nuqconv.auto_nuq import AutoNuqEvaluatorBase, auto_nuq

ROOT = Path(__file__).parents[2]


def test_every_name_is_there_and_listed():
    assert {name for name in nuqconv.__all__ if getattr(nuqconv, name, None) is None} == set()
    assert set(nuqconv.__all__) <= set(dir(nuqconv))
    space = {}
    exec("from nuqconv import *", space)
    assert set(nuqconv.__all__) <= set(space)


def test_type_checkers_are_told_the_same_names():
    """The block for type checkers names the module that the name really comes from."""
    (block,) = (
        node
        for node in ast.parse(Path(nuqconv.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(told) == sorted(nuqconv.__all__)
    for name, module in told.items():
        if module != "nuqconv" and name not in ("auto_nuq", "quantize"):
            assert getattr(importlib.import_module(module), name) is getattr(nuqconv, name)


def test_the_function_that_is_a_module():
    import nuqconv.auto_nuq as module  # noqa: PLC0415

    assert module is nuqconv.auto_nuq is importlib.import_module("nuqconv.auto_nuq")
    assert module.AutoNuqEvaluatorBase is AutoNuqEvaluatorBase is nuqconv.AutoNuqEvaluatorBase
    assert inspect.signature(nuqconv.auto_nuq) == inspect.signature(auto_nuq)
    assert "save_dir" in inspect.signature(nuqconv.auto_nuq).parameters
    # As a user's shell prints it, with the overstrikes for bold taken out.
    shown = re.sub(".\b", "", pydoc.render_doc(nuqconv.auto_nuq))
    assert "auto_nuq(model_file:" in shown
    assert "save_dir: DIR/PREFIX of the other files" in shown


@pytest.mark.parametrize("first", ["import nuqconv", "from nuqconv.auto_nuq import AutoNuqEvaluatorBase"])
def test_the_function_is_one_whatever_is_imported_first(first):
    code = f"{first}\nimport nuqconv\nassert callable(nuqconv.auto_nuq) and nuqconv.auto_nuq.auto_nuq\nprint('good')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert (ended.stdout, ended.stderr) == ("good\n", "")


def test_a_part_is_imported_when_it_is_used():
    code = "import nuqconv\nprint(nuqconv.evaluators.CaffeEvaluator.__name__, nuqconv.search.strategies.__name__)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert (ended.stdout, ended.stderr) == ("CaffeEvaluator nuqconv.search.strategies\n", "")


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'nuqconv' has no attribute 'auto_nuc'"):
        nuqconv.auto_nuc  # noqa: B018
    assert not hasattr(nuqconv, "_private")


def test_the_version_has_one_source():
    assert nuqconv.__version__ == metadata.version("nuqconv")
    assert f'version = "{nuqconv.__version__}"' not in (ROOT / "pyproject.toml").read_text()
