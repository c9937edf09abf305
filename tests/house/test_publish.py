"""What is published says the same everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import build_api_reference
import build_command_reference
import lowest
import nuqconv
import wheel_check
from nuqconv.errors import NuqconvDeprecationWarning, warn_deprecated

ROOT = Path(__file__).parents[2]


def read(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place():
    assert wheel_check.version() == nuqconv.__version__
    assert 'version = { attr = "nuqconv.__version__" }' in read("pyproject.toml")
    assert "version" not in read("CITATION.cff").replace("cff-version", "")
    newest = re.search(r"(?m)^## (\S+?),? ", read("CHANGELOG.md"))
    assert newest[1] == nuqconv.__version__


def test_the_changelog_is_grouped():
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for release in re.split(r"(?m)^## ", read("CHANGELOG.md"))[1:]:
        groups = re.findall(r"(?m)^### (.*)$", release)
        assert groups
        assert set(groups) <= allowed
        assert len(set(groups)) == len(groups)
        # Every line of news stands in a group.
        assert "\n- " not in release.partition("### ")[0]


def test_pythons_are_named_once_more_in_classifiers_and_workflow():
    project, workflow = read("pyproject.toml"), read(".github", "workflows", "ci.yml")
    shown = [".".join(map(str, version)) for version in wheel_check.VERSIONS]
    assert f'requires-python = ">={shown[0]}"' in project
    assert re.findall(r"Python :: (3\.\d+)", project) == shown
    listed = ", ".join(f'"{version}"' for version in shown)
    assert f"python: [{listed}]" in workflow
    for job in (".ci/run", "make lowest", "make docs", "tools/wheel_check.py --this"):
        assert job in workflow


def test_lowest_versions_are_those_declared():
    project = read("pyproject.toml")
    pins = lowest.lowest(project)
    for pin in pins:
        name, _, version = pin.partition("==")
        assert f'"{name}>={version.removesuffix(".*")}"' in project
    assert {"numpy", "protobuf", "pydantic", "onnx", "onnxruntime", "typer", "rich"} <= {
        pin.partition("==")[0] for pin in pins
    }
    assert [path for tests in lowest.TESTS.values() for path in tests if not (ROOT / path).exists()] == []
    # Something is run for each of them.
    assert {pin.partition("==")[0] for pin in pins} <= {name for names in lowest.TESTS for name in names.split(", ")}


def test_a_source_distribution_holds_what_is_tracked():
    held = read("MANIFEST.in")
    for folder in ("tests", "docs", "examples", "tools", "benchmarks"):
        assert f"graft {folder}\n" in held
    for name in ("CHANGELOG.md", "SECURITY.md", "CITATION.cff", "Makefile"):
        assert name in held
        assert (ROOT / name).is_file()


def test_the_reference_of_commands_is_current():
    text = build_command_reference.TARGET.read_text(encoding="utf-8")
    assert text == build_command_reference.table(), "run python tools/build_command_reference.py"


def test_the_reference_of_python_is_current():
    text = build_api_reference.TARGET.read_text(encoding="utf-8")
    assert text == build_api_reference.table(), "run python tools/build_api_reference.py"


@pytest.mark.parametrize("path", build_api_reference.PUBLIC)
def test_every_public_name_is_in_the_reference(path):
    module = sys.modules.get(path) or __import__(path, fromlist=["_"])
    text = build_api_reference.TARGET.read_text(encoding="utf-8")
    for name in build_api_reference.names(module):
        place = build_api_reference.home(module, name)
        # Objects, values, and modules that are public themselves.
        shown = any(words in text for words in (f"::: {place}\n", f"\n### {name}\n", f"\n## {place}\n"))
        assert shown, name


def test_what_will_go():
    def old_name():
        warn_deprecated("old_name()", instead="new_name()", since="0.2", until="0.4")

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        old_name()
    (found,) = seen
    assert issubclass(found.category, NuqconvDeprecationWarning)
    assert str(found.message) == "old_name() is deprecated since nuqconv 0.2 and goes in 0.4; write new_name()"
    # The line to be changed is the caller's.
    assert found.filename == __file__


def test_users_of_a_script_see_it():
    code = "from nuqconv.errors import warn_deprecated\ndef f():\n    warn_deprecated('f()', instead='g()', since='1', until='2')\nf()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert "NuqconvDeprecationWarning: f() is deprecated" in ended.stderr


def test_messages_that_the_documents_explain_are_there():
    folders = [ROOT / name for name in ("nuqconv", "frontends", "backends")]
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.rglob("*.py")))
    # A message may go on in the next line of the source.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    rows = re.findall(r"(?m)^\| (`.*?) \| ", read("docs", "troubleshooting.md"))
    assert len(rows) > 15
    assert [words for row in rows for words in re.findall(r"`([^`]+)`", row) if words not in code] == []
