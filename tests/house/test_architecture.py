"""What docs/architecture.md says of where to add things is so, and numbers in prose are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import build_caffe_table
from nuqconv.frontends.onnx.converters import claimed
from nuqconv.ir.families import FAMILIES
from tests.frontends.onnx.node_tests import FILE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Where to add things")[2].partition("\n## ")[0]
QUOTED = re.findall(r"`([^`]+)`", SECTION)
PATHS = sorted({item for item in QUOTED if "/" in item and " " not in item})
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("nuqconv", "frontends", "backends")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_exist(path):
    modules = [path.replace("FAMILY", family) for family in FAMILIES] if "FAMILY" in path else [path]
    assert any((ROOT / item).exists() for item in modules)


@pytest.mark.parametrize("name", sorted({item[1:] for item in QUOTED if item.startswith("@")}))
def test_registries_exist(name):
    assert re.search(rf"^def {name}\(", SOURCES, re.MULTILINE)
    assert re.search(rf"^@?{name}\(", SOURCES, re.MULTILINE)


@pytest.mark.parametrize("name", sorted({item for item in QUOTED if re.fullmatch(r"[A-Z]{2,}", item)}))
def test_tables_exist(name):
    assert re.search(rf"^{name}\b(: [^=\n]+)? = ", SOURCES, re.MULTILINE)


@pytest.mark.parametrize("command", sorted({item for item in QUOTED if item.startswith("python ")}))
def test_commands_exist(command):
    word = command.split()[-1]
    assert (ROOT / (word if word.endswith(".py") else word.replace(".", "/") + ".py")).is_file()


def test_the_section_names_what_it_must():
    assert len(PATHS) > 15
    assert {
        "@reads",
        "@lowers",
        "@emits",
        "@converts",
        "FAMILIES",
        "FORMATS",
        "RUNTIMES",
        "METRICS",
        "STRATEGIES",
    } <= set(QUOTED)


@pytest.mark.parametrize("document", ["docs/onnx.md", "CHANGELOG.md"])
def test_the_number_of_operators_that_are_read(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert re.findall(r"(\d+) operators(?: have a converter|, constants folded)", text) == [str(len(claimed()))]


def test_what_onnx_own_tests_came_to():
    text = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    rows = dict(
        re.findall(
            r"^\| (outputs as stored|computed beforehand|refused|other numbers)[^|]*\| ([\d,]+) \|$", text, re.MULTILINE
        )
    )
    names = {
        "outputs as stored": "run",
        "computed beforehand": "folded",
        "refused": "refused",
        "other numbers": "differs",
    }
    assert {names[row]: int(number.replace(",", "")) for row, number in rows.items()} == stored["counts"]
    assert f"(onnx {stored['onnx']}," in text


def test_what_the_same_tests_came_to_in_real_caffe():
    """The numbers themselves are held by tests/backends/caffe/emitting/test_node_tests.py."""
    words = "real Caffe gives the stored outputs in {same}, {refused} are refused, and {differs} differ"
    text = " ".join(build_caffe_table.TARGET.read_text(encoding="utf-8").split())
    assert words.format(**build_caffe_table.NODE_TESTS) in text


def test_the_map_shows_every_part_in_the_order_of_the_contract():
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").rpartition("layers = [")[2].partition("\n]")[0]
    levels = [re.findall(r"\w+", level) for level in re.findall(r'"([^"]+)"', contract)]
    rows = [line for line in TEXT.partition("## Folders")[2].splitlines() if line.startswith("| `")]
    assert len(levels) == len(rows)
    for level, row in zip(levels, rows, strict=True):
        named = re.findall(r"`(?:nuqconv/)?(\w+)(?:/\w+)?(?:\.py)?`", row.split("|")[1])
        assert set(named) == set(level)
