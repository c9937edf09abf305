"""Reading a configuration: every fault with its line and key path, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.config import (
    ArqParams,
    HfmgParams,
    IfmrParams,
    LayerFacts,
    NuqParams,
    QuantConfig,
    load_config,
    parse_config,
)
from nuqconv.config.json_text import parse_json
from nuqconv.errors import ConfigError
from nuqconv.files.json_model import key_path

from .facts import NET, conv, holds, problems


def layer(**settings: Any) -> str:
    return json.dumps({"conv1": settings})


def write(folder: Path, tree: object) -> Path:
    path = folder / "c.json"
    path.write_text(json.dumps(tree))
    return path


def test_defaults() -> None:
    assert parse_config("{}") == QuantConfig()
    found = parse_config(layer(activation_quant_params={}, weight_quant_params={"wts_algo": "nuq_quantize"}))
    assert found.layers["conv1"].quant_enable
    assert found.layers["conv1"].activation_quant_params == IfmrParams(
        max_percentile=0.999999, min_percentile=0.999999, search_range=(0.7, 1.3), search_step=0.01
    )
    assert found.layers["conv1"].weight_quant_params == NuqParams(num_steps=32, num_of_iteration=1)


def test_parts_of_the_format_that_are_not_executed_are_read() -> None:
    params = {"act_algo": "hfmg", "num_of_bins": 8192}
    found = parse_config('{"joint_quant": true, ' + layer(activation_quant_params=params)[1:])
    assert found.joint_quant
    assert found.layers["conv1"].activation_quant_params == HfmgParams(num_of_bins=8192)


HEADER_FAULTS = [
    ('{"version": 2}', "version: found 2; expected 1"),
    ('{"version": true}', "version: found true; expected 1"),
    ('{"version": 1.0}', "version: found 1.0; expected 1"),
    ('{"batch_num": 0}', "batch_num: found 0; expected an integer above 0"),
    ('{"batch_num": 1.0}', "batch_num: found 1.0; expected an integer above 0"),
    ('{"batch_num": true}', "batch_num: found true; expected an integer above 0"),
    ('{"batch_num": null}', "batch_num: found null; expected an integer above 0"),
    ('{"activation_offset": 1}', "activation_offset: found 1; expected true or false"),
    ('{"do_fusion": "true"}', 'do_fusion: found "true"; expected true or false'),
    ('{"joint_quant": null}', "joint_quant: found null; expected true or false"),
    ('{"skip_fusion_layers": "conv1"}', 'skip_fusion_layers: found "conv1"; expected a list of layer names'),
    ('{"skip_fusion_layers": [1]}', r"skip_fusion_layers\[0\]: found 1; expected a list of layer names"),
    ('{"batch_nun": 2}', "batch_nun: found 2; expected an object.*did you mean 'batch_num'"),
    ("[]", r"found \[\]; expected an object"),
    ("3", "found 3; expected an object"),
]


@pytest.mark.parametrize(("text", "pattern"), HEADER_FAULTS)
def test_wrong_top_level(text: str, pattern: str) -> None:
    holds(problems(ConfigError, parse_config, text), f"^line 1: {pattern}")


ACTIVATION_FAULTS: list[tuple[Any, str]] = [
    (3, ": found 3; expected an object"),
    (None, ": found null; expected an object"),
    ({"act_algo": "kl"}, ".act_algo: found \"kl\"; expected 'ifmr' or 'hfmg'"),
    ({"act_algo": 1}, ".act_algo: found 1; expected 'ifmr' or 'hfmg'"),
    ({"act_algo": ["ifmr"]}, r".act_algo: found \[\"ifmr\"\]; expected 'ifmr' or 'hfmg'"),
    ({"max_percentile": 0.5}, ".max_percentile: found 0.5; expected a number above 0.5 and up to 1"),
    ({"max_percentile": 1.1}, ".max_percentile: found 1.1; expected a number above 0.5 and up to 1"),
    ({"min_percentile": True}, ".min_percentile: found true; expected a number above 0.5"),
    ({"min_percentile": "1"}, '.min_percentile: found "1"; expected a number above 0.5'),
    ({"search_range": [0, 1]}, r".search_range: found \[0, 1\]; expected a list \[a, b\] of numbers with 0 < a < b"),
    ({"search_range": [1, 1]}, r".search_range: found \[1, 1\]"),
    ({"search_range": [2, 1]}, r".search_range: found \[2, 1\]"),
    ({"search_range": [0.1]}, r".search_range\[1\]: found \[0.1\]"),
    ({"search_range": [0.1, 2, 3]}, r".search_range: found \[0.1, 2, 3\]"),
    ({"search_range": ["0.1", 2]}, r".search_range\[0\]: found \"0.1\""),
    ({"search_range": 0.7}, ".search_range: found 0.7"),
    ({"search_step": 0}, ".search_step: found 0; expected a number above 0 and up to b - a of search_range"),
    ({"search_step": 0.7}, r".search_step: found 0.7, wider than search_range \[0.7, 1.3\]; make"),
    ({"search_range": [0.7, 0.705]}, r".search_step: found 0.01, wider than search_range \[0.7, 0.705\]"),
    ({"num_of_bins": 1024}, ".num_of_bins: belongs to act_algo 'hfmg', but this is 'ifmr'"),
    ({"act_algo": "hfmg", "num_of_bins": 1000}, ".num_of_bins: found 1000; expected 1024, 2048, 4096 or 8192"),
    ({"act_algo": "hfmg", "num_of_bins": 1024.0}, ".num_of_bins: found 1024.0"),
    ({"act_algo": "hfmg", "search_step": 0.1}, ".search_step: belongs to act_algo 'ifmr', but this is 'hfmg'"),
    (
        {"max_percentil": 1},
        ".max_percentil: unknown key; did you mean 'max_percentile'.*; known keys are act_algo, max",
    ),
]


@pytest.mark.parametrize(("value", "pattern"), ACTIVATION_FAULTS)
def test_wrong_activation_params(value: Any, pattern: str) -> None:
    found = problems(ConfigError, parse_config, layer(activation_quant_params=value))
    holds(found, "^line 1: conv1.activation_quant_params" + pattern)


WEIGHT_FAULTS: list[tuple[Any, str]] = [
    ([], r": found \[\]; expected an object"),
    (None, ": found null; expected an object, or no such key"),
    ({"wts_algo": "kmeans"}, ".wts_algo: found \"kmeans\"; expected 'arq_quantize' or 'nuq_quantize'"),
    ({"wts_algo": None}, ".wts_algo: found null; expected 'arq_quantize' or 'nuq_quantize'"),
    ({"channel_wise": 1}, ".channel_wise: found 1; expected true or false"),
    ({"channel_wise": None}, ".channel_wise: found null; expected true or false, or no such key"),
    ({"num_steps": 16}, ".num_steps: belongs to wts_algo 'nuq_quantize', but this is 'arq_quantize'"),
    ({"wts_algo": "nuq_quantize", "num_steps": 8}, ".num_steps: found 8; expected 16 or 32"),
    ({"wts_algo": "nuq_quantize", "num_steps": 16.0}, ".num_steps: found 16.0; expected 16 or 32"),
    (
        {"wts_algo": "nuq_quantize", "num_of_iteration": 6},
        ".num_of_iteration: found 6; expected an integer from 0 to 5",
    ),
    ({"wts_algo": "nuq_quantize", "num_of_iteration": -1}, ".num_of_iteration: found -1"),
    ({"wts_algo": "nuq_quantize", "channel_wise": True}, ".channel_wise: belongs to wts_algo 'arq_quantize'"),
]


@pytest.mark.parametrize(("value", "pattern"), WEIGHT_FAULTS)
def test_wrong_weight_params(value: Any, pattern: str) -> None:
    holds(problems(ConfigError, parse_config, layer(weight_quant_params=value)), "conv1.weight_quant_params" + pattern)


def test_wrong_layer_entries() -> None:
    holds(problems(ConfigError, parse_config, layer(quant_enable=1)), "conv1.quant_enable: found 1; expected true")
    found = problems(ConfigError, parse_config, layer(weight_params={}))
    holds(found, "conv1.weight_params: unknown key; did you mean 'weight_quant_params'")
    holds(problems(ConfigError, parse_config, '{"\\ud800": {}}'), "ud800.*half of a surrogate pair")


def test_all_problems_at_once_in_the_order_of_lines() -> None:
    text = """{
  "batch_num": -1,
  "conv1": {
    "quant_enable": 1,
    "activation_quant_params": {"search_range": [1,
       NaN], "max_percentile": 2},
    "weight_quant_params": {"wts_algo": "nuq_quantize",
      "num_steps": 4}
  },
  "batch_num": -2
}"""
    found = problems(ConfigError, parse_config, text)
    assert [problem.split(": ")[:2] for problem in found] == [
        ["line 4", "conv1.quant_enable"],
        ["line 6", "conv1.activation_quant_params.search_range[1]"],
        ["line 6", "conv1.activation_quant_params.max_percentile"],
        ["line 6", "conv1.activation_quant_params.search_range[1]"],
        ["line 8", "conv1.weight_quant_params.num_steps"],
        ["line 10", "batch_num"],
        ["line 10", "batch_num"],
    ]
    assert "already in line 2" in found[5]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_numbers_that_json_does_not_have(number: str) -> None:
    found = problems(ConfigError, parse_config, '{"batch_num": 1, "a":{"b":[' + number + "]}}")
    assert f"line 1: a.b[0]: found {number}; expected a finite number" in found


def test_no_json_names_line_and_column() -> None:
    with pytest.raises(ConfigError, match=r"^f\.json:2:3: not JSON: "):
        parse_config('{"version": 1,\n  }', "f.json")
    with pytest.raises(ConfigError, match="nested more than 64 deep"):
        parse_config("[" * 100_000)
    with pytest.raises(ConfigError, match="a number in the JSON cannot be read"):
        parse_config('{"batch_num": ' + "1" * 5000 + "}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: the quantization configuration cannot be read: No such file"):
        load_config(tmp_path / "none.json", NET)
    path = tmp_path / "c.json"
    path.write_bytes(b'{"a\xff": 1}')
    with pytest.raises(ConfigError, match=r"not UTF-8 text .byte 0xff at offset 3"):
        load_config(path, NET)
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert load_config(path, NET) == QuantConfig()


def test_types_fill_in_what_is_left_out(tmp_path: Path) -> None:
    tree: dict[str, Any] = {name: {} for name in ("conv1", "up", "fc", "pool")}
    tree["conv2"] = {"weight_quant_params": {"channel_wise": False}}
    tree["grouped"] = {"weight_quant_params": {}}
    layers = load_config(write(tmp_path, tree), NET).layers
    assert {name: entry.weight_quant_params for name, entry in layers.items()} == {
        "conv1": ArqParams(channel_wise=True),
        "up": ArqParams(channel_wise=True),
        "fc": ArqParams(channel_wise=False),
        "pool": None,
        "conv2": ArqParams(channel_wise=False),
        "grouped": ArqParams(channel_wise=True),
    }


def test_what_does_not_fit_the_model(tmp_path: Path) -> None:
    nuq = {"weight_quant_params": {"wts_algo": "nuq_quantize"}}
    tree = {
        "skip_fusion_layers": ["conv1", "comv2", 3],
        "conv9": {},
        "relu1": {},
        "grouped": nuq,
        "up": nuq,
        "pool": {"weight_quant_params": {"channel_wise": True}},
        "fc": {"weight_quant_params": {"channel_wise": True}},
        "conv1": {"quant_enable": 0},
    }
    found = problems(ConfigError, load_config, write(tmp_path, tree), NET)
    holds(
        found,
        r"skip_fusion_layers\[1\]: the model has no layer 'comv2'; did you mean 'conv2'",
        r"skip_fusion_layers\[2\]: found 3",
        "conv9: the model has no layer of this name; did you mean 'conv2' or 'conv1'",
        r"relu1: ReLU layer 'relu1' cannot be quantized \(ReLU has nothing to quantize\); remove its entry",
        r"grouped.weight_quant_params.wts_algo: .*'grouped' cannot be quantized non-uniformly \(group is 2\); set it",
        r"up.weight_quant_params.wts_algo: Deconvolution layer 'up' cannot .* \(a Deconvolution has no NUQ\)",
        "pool.weight_quant_params: Pooling layer 'pool' has no weights; remove this key",
        "fc.weight_quant_params.channel_wise: found true; InnerProduct layer 'fc' has one weight scale",
        "conv1.quant_enable: found 0",
    )


def test_layer_with_the_name_of_a_fixed_key(tmp_path: Path) -> None:
    layers = (conv("version"), conv("conv1"))
    assert load_config(write(tmp_path, {"version": 1, "conv1": {}}), layers).enabled() == ("conv1",)
    found = problems(ConfigError, load_config, write(tmp_path, {"version": {"quant_enable": True}}), layers)
    holds(
        found,
        "version: found .*; expected 1",
        "version: is the format's own key, so the layer of this name cannot have an entry; rename it",
    )


def test_facts_are_checked(tmp_path: Path) -> None:
    found = problems(ConfigError, load_config, write(tmp_path, {}), [conv("a"), conv("b"), conv("a")])
    holds(found, "'a' is the name of several layers")
    with pytest.raises(ConfigError, match="a NUQ-capable layer must be quantizable"):
        LayerFacts("a", "Convolution", False, True)
    with pytest.raises(ConfigError, match="type ReLU cannot be quantizable; expected one of Convolution"):
        LayerFacts("a", "ReLU", True, False)
    with pytest.raises(ConfigError, match="Pooling has no weights"):
        LayerFacts("a", "Pooling", True, True)


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def _paths(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


@given(trees, st.sampled_from([None, 2]))
def test_lines_are_where_the_keys_are(tree: object, indent: int | None) -> None:
    text = json.dumps(tree, indent=indent)
    document = parse_json(text, "f")
    assert document.value == tree
    assert document.problems == ()
    lines = text.splitlines()
    for path in _paths(tree):
        if path and isinstance(path[-1], str):
            assert json.dumps(path[-1]) in lines[document.line(path) - 1]


@given(trees)
def test_any_json_is_a_configuration_or_an_error(tree: object) -> None:
    text = json.dumps(tree)
    try:
        config = parse_config(text)
    except ConfigError:
        assert problems(ConfigError, parse_config, text)
    else:
        assert parse_config(config.to_json()) == config


def test_key_paths() -> None:
    assert key_path(("a", "b", 0, "c")) == "a.b[0].c"
    assert parse_json('{"a":\n[1,\n2]}', "f").line(("a", 1, "x")) == 3


def test_keys_that_can_have_one_value_only(tmp_path: Path) -> None:
    told = {"num_bits": 8, "asymmetric": True}
    tree = {
        "conv1": {"activation_quant_params": told, "weight_quant_params": {"wts_algo": "nuq_quantize", "num_bits": 8}},
        "pool": {"weight_quant_params": {"wts_algo": "arq_quantize", "channel_wise": False}},
    }
    config = load_config(write(tmp_path, tree), NET)
    assert config.layers["conv1"].weight_quant_params == NuqParams()
    assert config.layers["pool"].weight_quant_params is None
    tree = {
        "activation_offset": False,
        "conv1": {"activation_quant_params": told, "weight_quant_params": {"num_bits": 4}},
        "conv2": {"activation_quant_params": {"num_bits": 8.0, "asymmetric": False}},
        "fc": {"weight_quant_params": {"wts_algo": "ada_quantize"}},
        "fakequant_precision_mode": "x",
    }
    holds(
        problems(ConfigError, load_config, write(tmp_path, tree), NET),
        "conv1.activation_quant_params.asymmetric: found true; expected false, as activation_offset says",
        "conv1.weight_quant_params.num_bits: found 4; expected 8",
        "conv2.activation_quant_params.num_bits: found 8.0; expected 8",
        "fc.weight_quant_params.wts_algo: found .*; ada_quantize is a word of the PyTorch and ONNX editions",
        "fakequant_precision_mode: .*; fakequant_precision_mode is a word of the PyTorch and ONNX editions",
    )
