"""Mapping files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nuqconv.config import read_mapping
from nuqconv.errors import ConfigError

from .facts import holds, problems


def op(*names: str, compressed: object = True) -> dict[str, Any]:
    return {
        "name": "+".join(names),
        "type": "Conv2D",
        "attr": [
            {"key": "_fe_weight_compress", "value": {"b": compressed}},
            {"key": "other", "value": 7},
            {"key": "_datadump_original_op_names", "value": {"list": {"s": list(names), "val_type": 1}}},
        ],
    }


def write(path: Path, tree: object) -> Path:
    path.write_text(json.dumps(tree))
    return path


def test_compressible_layers(tmp_path: Path) -> None:
    tree = {
        "name": "net",
        "graph": [
            {"op": [op("conv1", "conv1_dequant_layer"), op("conv2", compressed=False), {"name": "x"}]},
            {"name": "empty"},
            {"op": [op("fc"), op("conv1"), {"attr": [{"key": "_fe_weight_compress", "value": {"b": True}}]}]},
        ],
    }
    assert read_mapping(write(tmp_path / "m.json", tree)) == ("conv1", "conv1_dequant_layer", "fc")


@pytest.mark.parametrize("tree", [{}, {"graph": []}, {"graph": [{}]}, {"graph": [{"op": [{"attr": [{}]}]}]}])
def test_absent_fields(tmp_path: Path, tree: object) -> None:
    assert read_mapping(write(tmp_path / "m.json", tree)) == ()


def test_wrong_types_are_all_named(tmp_path: Path) -> None:
    bad = op("a")
    bad["attr"][2]["value"]["list"]["s"] = ["a", 3]
    tree = {"graph": [7, {"op": {}}, {"op": [op("a", compressed="yes"), bad, {"attr": [1]}]}]}
    found = problems(ConfigError, read_mapping, write(tmp_path / "m.json", tree))
    holds(
        found,
        r"graph\[0\]: found 7; expected an object",
        r"graph\[1\].op: found \{\}; expected a list",
        r"graph\[2\].op\[0\].attr\[0\].value.b: found \"yes\"; expected true or false",
        r"graph\[2\].op\[1\].attr\[2\].value.list.s\[1\]: found 3; expected a layer's name",
        r"graph\[2\].op\[2\].attr\[0\]: found 1; expected an object",
    )


def test_top_level_and_lists(tmp_path: Path) -> None:
    holds(problems(ConfigError, read_mapping, write(tmp_path / "m.json", [])), r"top level: found \[\]")
    path = write(tmp_path / "m.json", {"graph": None})
    holds(problems(ConfigError, read_mapping, path), "graph: found null; expected a list")


def test_no_json(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("graph {\n")
    with pytest.raises(ConfigError, match=r"m\.json:1:1: not JSON"):
        read_mapping(path)
    with pytest.raises(ConfigError, match="the mapping file cannot be read: No such file"):
        read_mapping(tmp_path / "none.json")
