"""Writes docs/onnx-to-caffe.md: how each operator is written as stock Caffe layers, as the registry of emitters says.

python tools/build_caffe_table.py           # writes the file
python tools/build_caffe_table.py --check   # exit code 1 if it is not current
"""

from __future__ import annotations

from pathlib import Path

from tables import main, section

from nuqconv.backends.caffe.emitting import ELSEWHERE, EMITTERS, REFUSALS
from nuqconv.ir.families import operators

TARGET = Path(__file__).resolve().parent.parent / "docs" / "onnx-to-caffe.md"

# Operators that are no computation of their own, or are written as the quantized layer that they belong to.
APART = {
    "Quantize": "a Quant layer, or seven stock layers (decision D4)",
    "Dequantize": "a DeQuant layer, or Scale",
    "Custom": "refused: a registered layer is written only where it came from a Caffe file",
    "Opaque": "refused, with the reason why it was not understood",
}

# What became of onnx 1.23's own node tests in real Caffe; tests/backends/caffe/emitting/test_node_tests.py counts them.
NODE_TESTS = {"same": 832, "refused": 153, "differs": 4}

HEAD = """# Any graph as a Caffe model

Made by `python tools/build_caffe_table.py` from the registry of the code; do not edit.

`nuqconv.save(graph, "m.prototxt", "m.caffemodel")` writes a graph that did not come from a Caffe file (an ONNX model, a graph built by hand) as
layers that Caffe 1.0 has. The one exception is Permute, which BVLC Caffe lacks and SSD's fork and most others have. What no stock layer computes is
refused by name, all of it at once, with the fork that has a layer for it.

- Layers, inputs and outputs keep their names. Where a node needs several layers, one has the node's name and the others are called `node/purpose`.
- To Caffe an output is a blob that no layer reads: an output that is read is copied by a Power, and what nobody reads goes to a Silence.
- Sizes are those of the graph; another batch size works where all layers let it (reshapes leave axis 0 open).
- **exact** says how real Caffe's numbers compare with the operator's definition in the tests (`tests/backends/caffe/emitting`): to the bit for all
  finite numbers, or relative to the largest number. "the same layer": Caffe's own layer computes the operator.
- Of onnx 1.23's own node tests that the reader takes (without its function bodies and other number types, each with all inputs open
  and with all but the first known) real Caffe gives the stored outputs in {same}, {refused} are refused, and {differs} differ: one of remainders by
  infinity, two in which onnxruntime differs, too, one that a quotient rounds to the other side of a tie.

"""


def table() -> str:
    """Returns the text of the file."""
    written, refused = [], []
    for name, kind in operators().items():
        emitter = EMITTERS.get(kind)
        if emitter is not None:
            written.append((name, emitter.construct, emitter.exact, emitter.limits))
        elif kind in REFUSALS:
            refused.append((name, REFUSALS[kind]))
        elif name in APART:
            refused.append((name, APART[name]))
    return (
        HEAD.format(**NODE_TESTS)
        + section("Written", ("operator", "layers", "exact", "refused"), written)
        + section("Apart", ("operator", "what becomes of it"), refused)
        + section("Types that the graph has no operator for", ("type", "where it exists"), sorted(ELSEWHERE.items()))
    ).rstrip() + "\n"


if __name__ == "__main__":
    main(TARGET, table)
