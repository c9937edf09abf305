"""Nothing that is read may run: no pickle and no evaluated text, except for the user's own evaluator on its way to a worker."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPING = Path("nuqconv/parallel")
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec"}
SOURCES = [path for folder in ("nuqconv", "frontends", "backends") for path in sorted((ROOT / folder).rglob("*.py"))]


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            allowed = {item.arg: getattr(item.value, "value", None) for item in node.keywords}
            if isinstance(node.func, ast.Name) and name in FORBIDDEN_CALLS:
                found.append(f"calls {name}")
            numpy = (
                isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "np"
            )
            if allowed.get("allow_pickle") is True or (
                numpy and name == "load" and allowed.get("allow_pickle") is not False
            ):
                found.append("lets numpy unpickle")
    return found


def test_the_check_finds_what_it_looks_for():
    for line in (
        "import pickle",
        "from pickle import loads",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "eval(t)",
        "read_array(f, allow_pickle=True)",
    ):
        assert offences(line), line
    assert offences("np.load(p, allow_pickle=False); ast.literal_eval(t); session.eval(t)") == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_unpickles(path):
    found = offences(path.read_text())
    if SHIPPING in path.relative_to(ROOT).parents:
        found = [item for item in found if item not in {"imports pickle", "imports cloudpickle"}]
    assert found == []
