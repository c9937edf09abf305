"""Configurations, mapping files, records and plans."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.corpus.cases.case import Case

__all__ = ["CASES"]


def _case(target: str, name: str, data: str | bytes | Callable[[], bytes], error: str, text: str) -> Case:
    return Case(target, name, data.encode() if isinstance(data, str) else data, error, text)


def _everywhere(error: str, *targets: str) -> list[Case]:
    """What no JSON reader may stumble over."""
    files = {
        "empty": (b"", "JSON"),
        "cut": (b'{"layers": {"a": ', "JSON"),
        "deep": (b"[" * 10_000 + b"]" * 10_000, "nested"),
        "deep-objects": (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "nested"),
        "deep-enough": (b'{"a":' * 300 + b"1" + b"}" * 300, "nested"),
        "digits": (b'{"version": ' + b"9" * 5000 + b"}", "integer string conversion"),
        "single-quotes": (b"{'a': 1}", "JSON"),
        "trailing": (b"{} {}", "JSON"),
        "nul": (b"{}\0", "JSON"),
        "a-number": (b"1", "object"),
        "a-list": (b"[]", "object"),
        "null": (b"null", "object"),
        "python": (b"__import__('os').system('true')", "JSON"),
    }
    return [_case(target, name, data, error, text) for target in targets for name, (data, text) in files.items()]


def _config(name: str, tree: object, text: str) -> Case:
    return _case("config", name, tree if isinstance(tree, str) else json.dumps(tree), "ConfigError", text)


_CONFIG = (
    *_everywhere("ConfigError", "config"),
    _case("config", "not-utf8", b'{"a": "\xff"}', "ConfigError", "not UTF-8"),
    _case("config", "half-a-surrogate", b'{"\\ud800": {"\\udfff": 1}}', "ConfigError", "half of a surrogate pair"),
    _config("nan", '{"conv2": {"activation_quant_params": {"search_step": NaN}}}', "finite number"),
    _config("infinite", '{"conv2": {"activation_quant_params": {"search_range": [0.7, 1e999]}}}', "finite number"),
    _config("step-tiny", {"conv2": {"activation_quant_params": {"search_step": 1e-300}}}, "search_step"),
    _config("step-small", {"conv2": {"activation_quant_params": {"search_step": 1e-9}}}, "search_step"),
    _config("range-huge", {"conv2": {"activation_quant_params": {"search_range": [1e-300, 1e300]}}}, "search_"),
    _config("batch-huge", {"batch_num": 10**30}, "batch_num"),
    _config("batch-zero", {"batch_num": 0}, "batch_num"),
    _config("key-twice", '{"conv2": {}, "conv2": {}}', "already in line 1"),
    _config("key-twice-inside", '{"conv2": {"quant_enable": true, "quant_enable": false}}', "already in line 1"),
    _config("layer-unknown", {"conv9": {}}, "no layer of this name"),
    _config("layer-no-object", {"conv2": 7}, "expected an object"),
    _config("steps-17", {"conv2": {"weight_quant_params": {"wts_algo": "nuq_quantize", "num_steps": 17}}}, "16 or 32"),
    _config(
        "steps-float", {"conv2": {"weight_quant_params": {"wts_algo": "nuq_quantize", "num_steps": 16.0}}}, "16 or 32"
    ),
    _config("algorithm", {"conv2": {"weight_quant_params": {"wts_algo": "os.system"}}}, "arq_quantize"),
    _config("algorithm-list", {"conv2": {"weight_quant_params": {"wts_algo": []}}}, "arq_quantize"),
    _config("version-2", {"version": 2}, "version"),
    _config("bool-as-integer", {"batch_num": True}, "batch_num"),
    _config("fusion-surrogate", '{"skip_fusion_layers": ["\\ud800"]}', "skip_fusion_layers"),
    _config("relu", {"relu1": {}}, "cannot be quantized"),
    _case(
        "config",
        "large-keys",
        lambda: json.dumps({f"k{n}": n for n in range(60_000)}).encode(),
        "ConfigError",
        "expected an object",
    ),
    _case(
        "config",
        "large-layers",
        lambda: json.dumps({f"conv{n}": {} for n in range(50_000)}).encode(),
        "ConfigError",
        "no layer of this name",
    ),
    _case(
        "config", "large-key", lambda: json.dumps({"c" * 900_000: {}}).encode(), "ConfigError", "no layer of this name"
    ),
    _case(
        "config",
        "large-duplicates",
        lambda: (
            b'{"x":{' + b",".join(b'"%d":1' % n for n in range(40_000)) + b"}," + b",".join([b'"a":1'] * 80_000) + b"}"
        ),
        "ConfigError",
        "already in line",
    ),
    _case(
        "config", "large-pairs", lambda: b"[" + b",".join([b"[]"] * 300_000) + b"]", "ConfigError", "expected an object"
    ),
    _case(
        "config",
        "large-nested-pairs",
        lambda: b"[" * 60 + b",".join([b"[]"] * 300_000) + b"]" * 60,
        "ConfigError",
        "expected an object",
    ),
    _case(
        "config",
        "large-numbers",
        lambda: b'{"conv2": {"x": [' + b",".join([b"1e999"] * 150_000) + b"]}}",
        "ConfigError",
        "finite number",
    ),
    _case(
        "config",
        "large-text",
        lambda: json.dumps({"conv2": "y" * 900_000}).encode(),
        "ConfigError",
        "expected an object",
    ),
    _case(
        "config",
        "large-unknown-settings",
        lambda: json.dumps({"conv2": {f"quant_enabl{n}": 1 for n in range(40_000)}}).encode(),
        "ConfigError",
        "unknown key",
    ),
)

_NUQ = "nuq_config { nuq_quantize { num_steps: 16 } "


def _definition(name: str, text: str, expected: str) -> Case:
    return _case("definition", name, text, "ConfigError", expected)


_DEFINITION = (
    _definition("unknown-field", "batch_nom: 1", "batch_nom"),
    _definition("cut", "common_config {", "not a simplified configuration"),
    _definition("deep", "common_config { " * 5000 + "}" * 5000, "no field named"),
    _definition("deep-unknown", "x { " * 5000 + "}" * 5000, "no field named"),
    _case("definition", "not-utf8", b'skip_layers: "\xff"', "ConfigError", "not UTF-8"),
    _definition("escaped-bytes", 'skip_layers: "\\377"', "not a simplified configuration"),
    _definition("nul", "\0", "not a simplified configuration"),
    _definition("batch-negative", "batch_num: -1", "batch_num"),
    _definition("batch-zero", "batch_num: 0", "batch_num"),
    _definition("steps-17", "nuq_config { nuq_quantize { num_steps: 17 } }", "16 or 32"),
    _definition("skip-unknown", 'skip_layers: "conv9"', "no layer of this name"),
    _definition("skip-newline", 'skip_layers: "con\\nv2"', "no layer of this name"),
    _definition("skip-pattern", 'skip_layers: "(((((((((((a+)+)+)+)+)+)+)+)+)+)+b"', "no layer of this name"),
    _definition("type-unknown", 'skip_layer_types: "Warp"', "not a layer type"),
    _definition(
        "override-twice",
        'override_layer_configs { layer_name: "conv2" calibration_config { } } ' * 2,
        "has an override already",
    ),
    _definition("override-without-name", "override_layer_configs { }", "missing"),
    _definition("nan", "common_config { ifmr_quantize { search_step: nan } }", "search_step"),
    _definition("step-tiny", "common_config { ifmr_quantize { search_step: 1e-30 } }", "search_step"),
    _definition("rate-nan", _NUQ + "device_rule { ddr_rate: nan } }", "ddr_rate"),
    _definition("rate-zero", _NUQ + "device_rule { ddr_rate: 0 } }", "ddr_rate"),
    _definition("mapping-missing", _NUQ + 'mapping_file: "no-such-file.json" }', "there is no file"),
    _definition("mapping-folder", _NUQ + 'mapping_file: "/" }', "there is no file"),
    _definition("mapping-nul", _NUQ + 'mapping_file: "a\\000b" }', "mapping_file"),
    _definition("mapping-long", _NUQ + f'mapping_file: "{"a" * 5000}" }}', "mapping_file"),
    _definition("mapping-binary", _NUQ + 'mapping_file: "/dev/null" }', "mapping_file"),
    _case(
        "definition",
        "large-skips",
        lambda: "".join(f'skip_layers:"conv{n}" ' for n in range(30_000)).encode(),
        "ConfigError",
        "no layer of this name",
    ),
    _case(
        "definition",
        "large-overrides",
        lambda: "".join(f'override_layer_configs{{layer_name:"c{n}"}}' for n in range(20_000)).encode(),
        "ConfigError",
        "missing",
    ),
    _case(
        "definition",
        "large-overrides-lines",
        lambda: "\n".join(
            f'override_layer_configs{{layer_name:"c{n}"calibration_config{{}}}}' for n in range(14_000)
        ).encode(),
        "ConfigError",
        "no layer of this name",
    ),
    _case(
        "definition",
        "large-name",
        lambda: b'skip_layers: "' + b"a" * 900_000 + b'"',
        "ConfigError",
        "no layer of this name",
    ),
)


def _mapping(name: str, tree: object, text: str) -> Case:
    return _case("mapping", name, json.dumps(tree), "ConfigError", text)


def _op(*attributes: object) -> object:
    return {"graph": [{"op": [{"attr": list(attributes)}]}]}


_MAPPING = (
    *_everywhere("ConfigError", "mapping"),
    _case("mapping", "not-utf8", b'{"a": "\xff"}', "ConfigError", "not UTF-8"),
    _mapping("graph-no-list", {"graph": {}}, "expected a list"),
    _mapping("op-no-object", {"graph": [{"op": [7]}]}, "expected an object"),
    _mapping("attribute-no-object", _op("x"), "expected an object"),
    _mapping("key-no-text", _op({"key": ["_fe_weight_compress"]}), "expected a text"),
    _mapping("flag-no-bool", _op({"key": "_fe_weight_compress", "value": {"b": "yes"}}), "true or false"),
    _mapping(
        "name-no-text",
        _op(
            {"key": "_fe_weight_compress", "value": {"b": True}},
            {"key": "_datadump_original_op_names", "value": {"list": {"s": [1]}}},
        ),
        "a layer's name",
    ),
    _mapping(
        "no-such-layer",
        _op(
            {"key": "_fe_weight_compress", "value": {"b": True}},
            {"key": "_datadump_original_op_names", "value": {"list": {"s": ["../../etc/passwd"]}}},
        ),
        "chooses none",
    ),
)

_RECORD = (
    _case("record", "empty-key", "record { key: 1 }", "FormatError", "is no quantization factor record"),
    _case("record", "cut", 'record { key: "a" value {', "FormatError", "is no quantization factor record"),
    _case("record", "deep", "record { value { " * 5000, "FormatError", "no field named"),
    _case("record", "deep-unknown", "x { " * 5_000, "FormatError", "no field named"),
    _case("record", "not-utf8", b"\xff\xfe", "FormatError", "is no quantization factor record"),
    _case("record", "nul", b"\0\0\0", "FormatError", "is no quantization factor record"),
    _case("record", "escaped-bytes", 'record { key: "\\377" }', "FormatError", "is no quantization factor record"),
    _case(
        "record",
        "number-too-large",
        'record { key: "a" value { offset_d: 99999999999 } }',
        "FormatError",
        "out of range",
    ),
    _case("record", "field-twice", 'record { key: "a" key: "b" }', "FormatError", "multiple"),
    _case(
        "record",
        "key-twice",
        'record { key: "a" value { scale_d: 1 } } record { key: "a" value { scale_d: 2 } }',
        "FormatError",
        "stands here 2 times",
    ),
    _case("record", "scale-nan", 'record { key: "a" value { scale_d: nan } }', "FormatError", "scale_d"),
    _case("record", "scale-zero", 'record { key: "a" value { scale_d: 0 } }', "FormatError", "scale_d"),
    _case(
        "record",
        "weights-scale-infinite",
        'record { key: "a" value { scale_d: 1 scale_w: inf } }',
        "FormatError",
        "scale_w",
    ),
    _case(
        "record",
        "cluster-outside",
        'record { key: "a" value { scale_d: 1 scale_w: 1 cluster: 200 } }',
        "FormatError",
        "cluster",
    ),
    _case(
        "record",
        "large-line",
        lambda: b"record { key: 'a' value { " + b"x: 1 " * 180_000 + b"} }",
        "FormatError",
        "no field",
    ),
)

_PLAN_LAYER = {"precision": "nuq", "channel_wise": True, "num_steps": 16, "codebook": [-5, 5], "activation": None}


def _plan(name: str, change: dict[str, object], text: str) -> Case:
    tree = {"version": 1, "layers": {"a": {**_PLAN_LAYER, **change}}}
    return _case("plan", name, json.dumps(tree), "ConfigError", text)


_PLAN = (
    *_everywhere("ConfigError", "plan"),
    _case("plan", "half-a-surrogate", b'{"\\ud800": {"\\udfff": 1}}', "ConfigError", "surrogate"),
    _plan("precision", {"precision": "int4"}, "precision"),
    _plan("precision-list", {"precision": ["nuq"]}, "precision"),
    _plan("codebook-falls", {"codebook": [5, -5]}, "strictly ascending"),
    _plan("codebook-outside", {"codebook": [-500, 5]}, "[-128, 127]"),
    _plan("codebook-floats", {"codebook": [1.5]}, "expected an integer"),
    _plan("codebook-huge", {"codebook": [-(10**400), 5]}, "[-128, 127]"),
    _plan("codebook-long", {"codebook": list(range(-128, 128))}, "more than num_steps"),
    _plan("steps-huge", {"num_steps": 10**6}, "num_steps"),
    _plan("scale-huge", {"activation": {"scale": 10**400, "offset": 0}}, "activation"),
    _plan("scale-nan", {"activation": {"scale": float("nan"), "offset": 0}}, "scale"),
    _plan("scale-zero", {"activation": {"scale": 0.0, "offset": 0}}, "scale"),
    _plan("offset-huge", {"activation": {"scale": 1.0, "offset": 10**30}}, "offset"),
    _plan("weights-path", {"weights": "../../etc/passwd"}, "SHA-256"),
    _plan("weights-list", {"weights": [1]}, "expected a text"),
    _case("plan", "layer-twice", '{"version": 1, "layers": {"a": {}, "a": {}}}', "ConfigError", "twice"),
    _case(
        "plan",
        "large-twice",
        lambda: b'{"layers": {' + b",".join(b'"%d":1,"%d":1' % (n, n) for n in range(40_000)) + b"}}",
        "ConfigError",
        "twice",
    ),
    _case(
        "plan",
        "large-unknown",
        lambda: json.dumps({"version": 1, "layers": {str(n): {"x": 1} for n in range(40_000)}}).encode(),
        "ConfigError",
        "unknown key",
    ),
)

_PREPARATION = (
    _case("preparation", "no-json", "{", "FormatError", "is damaged"),
    _case("preparation", "a-list", "[]", "FormatError", "is damaged"),
    _case("preparation", "deep", b"[" * 100_000, "FormatError", "is damaged"),
    _case("preparation", "version", '{"version": 7}', "FormatError", "version 7"),
)

_JOURNAL = (
    _case("journal", "text", "a journal", "JournalError", "choose another file"),
    _case("journal", "not-sqlite", b"SQLite format 3\0" + bytes(84), "JournalError", "journal"),
)


def _codebooks(name: str, tree: object, text: str) -> Case:
    return _case("codebooks", name, tree if isinstance(tree, str) else json.dumps(tree), "FormatError", text)


_CODEBOOKS = (
    *_everywhere("FormatError", "codebooks"),
    _case("codebooks", "not-utf8", b'{"a": "\xff"}', "FormatError", "JSON"),
    _codebooks("key-twice", '{"version": 1, "version": 1, "codebooks": {}}', "twice"),
    _codebooks("version-2", {"version": 2, "codebooks": {}}, "version"),
    _codebooks("more", {"version": 1, "codebooks": {}, "more": 1}, "more"),
    _codebooks("levels-none", {"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": []}}}, "levels"),
    _codebooks("levels-fall", {"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": [1, 0]}}}, "each larger"),
    _codebooks("levels-large", {"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": [128]}}}, "each larger"),
    _codebooks("levels-bool", {"version": 1, "codebooks": {"a": {"num_steps": 16, "levels": [True]}}}, "levels"),
    _codebooks("steps-huge", {"version": 1, "codebooks": {"a": {"num_steps": 10**30, "levels": [1]}}}, "num_steps"),
    _case(
        "codebooks",
        "large-layers",
        lambda: json.dumps({"version": 1, "codebooks": {f"l{n}": {} for n in range(40_000)}}).encode(),
        "FormatError",
        "num_steps",
    ),
)

CASES = (*_CODEBOOKS, *_PREPARATION, *_JOURNAL, *_CONFIG, *_DEFINITION, *_MAPPING, *_RECORD, *_PLAN)
