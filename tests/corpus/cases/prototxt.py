"""Network definitions that are no text of one, and names in them; the weights beside them are those of the small valid model."""

from __future__ import annotations

from tests.corpus.cases.case import Case
from tests.corpus.cases.pieces import DATA, RELU, convolution, layer_of, net_case

__all__ = ["CASES"]

_TEXT = (
    net_case("empty", "", "FormatError", "is empty"),
    net_case("blank", " \n\t\n# nothing\n", "FormatError", "holds no layer"),
    Case("prototxt", "not-utf8", b'layer { name: "\xff\xfe" }', "FormatError", "is not UTF-8"),
    Case(
        "prototxt",
        "escaped-bytes",
        b'layer { name: "\\377\\376" type: "ReLU" }',
        "FormatError",
        "Couldn't parse string",
    ),
    Case("prototxt", "utf16", DATA.encode("utf-16"), "FormatError", "is not UTF-8"),
    Case("prototxt", "zeros", bytes(64), "FormatError", "has no value"),
    Case("prototxt", "bom", b"\xef\xbb\xbf" + DATA.encode(), "FormatError", "holds no layer"),
    net_case("never-closed", DATA + "layer {", "FormatError", "is never closed"),
    net_case("closed-twice", DATA + "}", "FormatError", "closes nothing"),
    net_case("wrong-bracket", 'layer { name: "a" >', "FormatError", "closes nothing"),
    net_case("open-string", 'layer { name: "a\n}', "FormatError", "does not end on its line"),
    net_case("no-value", DATA + "name", "FormatError", "has no value"),
    net_case("stray-colon", ": 1", "FormatError", "expected ':' or '{' after ':'"),
    net_case("only-comma", ",;,", "FormatError", "holds no layer"),
    net_case("list-of-layers", 'layer [{ name: "a" }, { name: "b" }]', "FormatError", "2 layers in one list"),
    net_case("empty-list", "layer []", "FormatError", "holds 0 layers in one list"),
    net_case("deep-known", "layer { " * 5000 + "}" * 5000, "FormatError", "nested"),
    net_case("deep-unknown", DATA + "x { " * 3000 + "}" * 3000, "FormatError", "nested"),
    net_case(
        "deep-in-layer", DATA + 'layer { name: "x" type: "Odd" ' + "y { " * 3000 + "}" * 3001, "FormatError", "nested"
    ),
    net_case("deep-lists", DATA + "layer { x: " + "[" * 3000 + "]" * 3000 + " }", "FormatError", "no field named"),
    net_case("deep-any", DATA + "layer { [a.b/c] { " * 400 + "} }" * 400, "FormatError", "nested more than 64 deep"),
    net_case("name-twice", 'name: "a"\nname: "b"\n' + DATA, "FormatError", "a second time"),
    net_case("field-twice", DATA + 'layer { name: "a" name: "b" type: "ReLU" }', "FormatError", "multiple"),
    net_case(
        "misspelt", DATA + layer_of("Convolution", "convolution_param { num_outputs: 4 }"), "ModelError", "did you mean"
    ),
    net_case("layer-and-layers", DATA + 'layers { name: "a" type: RELU }', "FormatError", "stands beside"),
    net_case(
        "v1-and-v0",
        'layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }',
        "FormatError",
        "is a V1 layer",
    ),
    net_case("v0-type", 'layers { layer { name: "a" type: "warp" } }', "FormatError", "no layer type 'warp'"),
    net_case("v1-enum", 'layers { name: "a" type: WARP }', "FormatError", "WARP"),
    net_case(
        "number-as-string",
        DATA + convolution('num_output: "8" kernel_size: 3'),
        "FormatError",
        "Couldn't parse integer",
    ),
    net_case(
        "number-too-large", DATA + convolution("num_output: 99999999999 kernel_size: 3"), "FormatError", "out of range"
    ),
    net_case(
        "negative-number", DATA + convolution("num_output: -8 kernel_size: 3"), "FormatError", "Value out of range: -8"
    ),
    net_case(
        "float-as-integer",
        DATA + convolution("num_output: 8.5 kernel_size: 3"),
        "FormatError",
        "Couldn't parse integer: 8.5",
    ),
    net_case("octal", DATA + convolution("num_output: 08 kernel_size: 3"), "FormatError", "Couldn't parse integer: 08"),
    net_case(
        "huge-integer",
        DATA + convolution(f"num_output: {'9' * 5000} kernel_size: 3"),
        "FormatError",
        "Couldn't parse integer",
    ),
    net_case(
        "huge-exponent",
        DATA + layer_of("ReLU", f"relu_param {{ negative_slope: 1e{'9' * 500} }}"),
        "ModelError",
        "negative_slope is inf",
    ),
    net_case(
        "nan-slope",
        DATA + layer_of("ReLU", "relu_param { negative_slope: nan }"),
        "ModelError",
        "negative_slope is nan",
    ),
    net_case(
        "enum-number",
        DATA + layer_of("Pooling", "pooling_param { pool: 7 kernel_size: 2 }"),
        "FormatError",
        "has no value with number 7",
    ),
    net_case("binary-here", bytes(range(9, 127)).decode("latin-1"), "FormatError", "expected ':'"),
)

_NAMES = (
    net_case(
        "name-newline",
        DATA + 'layer { name: "a\\nlayer { }" type: "ReLU" bottom: "data" top: "a" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "name-nul",
        DATA + 'layer { name: "a\\000b" type: "ReLU" bottom: "data" top: "a" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "name-escape",
        DATA + 'layer { name: "a\\033[2Jb" type: "ReLU" bottom: "data" top: "a" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "blob-newline",
        DATA + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a\\nb" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "blob-nul",
        DATA + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a\\000" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "input-newline",
        'input: "da\\nta"\ninput_dim: 1\ninput_dim: 1\ninput_dim: 1\ninput_dim: 1\nlayer { name: "a" type: "ReLU" bottom: "da\\nta" top: "a" }',
        "ModelError",
        "control character",
    ),
    net_case("net-name-newline", 'name: "x\\ny"\n' + DATA + RELU, "ModelError", "control character"),
    net_case(
        "type-newline",
        DATA + 'layer { name: "a" type: "Re\\nLU" bottom: "data" top: "a" }',
        "ModelError",
        "control character",
    ),
    net_case(
        "blob-blank", DATA + 'layer { name: "a" type: "ReLU" bottom: "data" top: "" }', "ModelError", "without a name"
    ),
    net_case(
        "name-long",
        DATA + f'layer {{ name: "{"n" * 100000}" type: "ReLU" bottom: "data" top: "a" }}',
        "ModelError",
        "characters long",
    ),
    net_case(
        "shared-shapes",
        DATA
        + 'layer { name: "conv2" type: "Convolution" bottom: "data" top: "y" param { name: "w" } param { name: "w" } '
        "convolution_param { num_output: 8 kernel_size: 3 } }",
        "ModelError",
        "the shapes differ",
    ),
)

CASES = _TEXT + _NAMES
