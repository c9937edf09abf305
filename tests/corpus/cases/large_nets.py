"""Network definitions of a megabyte, made when they are tested."""

from __future__ import annotations

from tests.corpus.cases.case import Case
from tests.corpus.cases.pieces import DATA, layer_of

__all__ = ["CASES"]


def _many(line: str, count: int) -> bytes:
    return (DATA + "".join(line.format(n) for n in range(count))).encode()


_LARGE = (
    Case(
        "prototxt",
        "large-duplicates",
        lambda: _many('layer{{name:"{0}"type:"BNLL"}}layer{{name:"{0}"type:"BNLL"}}', 14000),
        "ModelError",
        "has 0 inputs",
    ),
    Case(
        "prototxt",
        "large-unknown-field",
        lambda: (DATA + f'layer {{ name: "a" type: "ReLU" bottom: "data" top: "a" {"b" * 900_000}: 1 }}').encode(),
        "ModelError",
        "has no field",
    ),
    Case(
        "prototxt",
        "large-unknown-fields",
        lambda: (
            DATA
            + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" '
            + " ".join(f"num_outpu{n}: 1" for n in range(50000))
            + "}"
        ).encode(),
        "ModelError",
        "has no field",
    ),
    Case(
        "prototxt",
        "large-in-place",
        lambda: (
            _many('layer{{name:"{0}"type:"ReLU"bottom:"data"top:"data"}}', 16000)
            + b"layer{name:'z'type:'ReLU'bottom:'gone'top:'z'}"
        ),
        "ModelError",
        "is made by no earlier layer",
    ),
    Case(
        "prototxt",
        "large-in-place-splits",
        lambda: (
            _many(
                'layer{{name:"s{0}"type:"Split"bottom:"data"top:"a{0}"}}layer{{name:"r{0}"type:"ReLU"bottom:"a{0}"top:"a{0}"}}',
                7000,
            )
            + b"layer{name:'z'type:'ReLU'bottom:'gone'top:'z'}"
        ),
        "ModelError",
        "is made by no earlier layer",
    ),
    Case(
        "prototxt",
        "large-losses",
        lambda: (
            _many('layer{{name:"{0}"type:"SoftmaxWithLoss"bottom:"data"bottom:"data"top:"l{0}"}}', 11000)
            + b"layer{name:'z'type:'ReLU'bottom:'gone'top:'z'}"
        ),
        "ModelError",
        "is made by no earlier layer",
    ),
    Case("prototxt", "large-braces", lambda: (DATA + "layer {} " * 100_000).encode(), "FormatError", "100001 fields"),
    Case("prototxt", "large-open", lambda: b"{" * 1_000_000, "FormatError", "without a field name"),
    Case("prototxt", "large-open-named", lambda: b"a{" * 500_000, "FormatError", "nested"),
    Case(
        "prototxt",
        "large-strings",
        lambda: (DATA + "name: " + '"a" ' * 250_000).encode(),
        "FormatError",
        "expected ':'",
    ),
    Case("prototxt", "large-quotes", lambda: b'name: "' + b"\\" * 900_001, "FormatError", "does not end"),
    Case(
        "prototxt",
        "large-tops",
        lambda: (
            DATA
            + 'layer { name: "s" type: "Slice" bottom: "data" '
            + " ".join(f'top: "{n}"' for n in range(60_000))
            + "}"
        ).encode(),
        "ModelError",
        "equal parts",
    ),
    Case(
        "prototxt",
        "large-slice-points",
        lambda: (
            DATA
            + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" slice_param { '
            + "slice_point: 1 " * 60_000
            + "} }"
        ).encode(),
        "ModelError",
        "has 60000 slice points",
    ),
    Case(
        "prototxt",
        "large-param-names",
        lambda: (DATA + layer_of("Bias", "bias_param { }", "scale1", 'param { name: "w" } ' * 40_000)).encode(),
        "ModelError",
        "has 2 blobs",
    ),
)

CASES = _LARGE
