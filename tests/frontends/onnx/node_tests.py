"""ONNX's own tests of operators, run through the reader, the graph and the writer in onnxruntime.

``python -m tests.frontends.onnx.node_tests`` writes ``node_tests.json``: for the installed onnx, what each test of claimed operators came to.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from nuqconv.errors import NuqconvError
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.onnx.functions import has_body
from nuqconv.frontends.onnx.registry import claimed
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession

FILE = Path(__file__).with_name("node_tests.json")
FOLDED = frozenset({"Constant", "ConstantOfShape", "EyeLike", "Range", "Shape", "Size"})
"""Operators that are only computed beforehand."""


@dataclass(frozen=True)
class NodeTest:
    """One test.

    Attributes:
        name: Its name.
        model: The model.
        inputs: Arrays of the first data set; None for what is no tensor.
        outputs: What is expected.
    """

    name: str
    model: ModelProto
    inputs: list[np.ndarray | None]
    outputs: list[np.ndarray | None]

    @property
    def operators(self) -> frozenset[str]:
        """The operators of the model."""
        return frozenset(node.op_type for node in self.model.graph.node)


class RefusedError(Exception):
    """The model is refused, with a reason."""


def node_tests() -> Iterator[NodeTest]:
    """Yields the tests whose operators are all claimed, in the order of their names."""
    known = {*claimed(), *FOLDED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in sorted(load_model_tests(kind="node"), key=lambda item: item.name):
            inputs, outputs = ([_array(item) for item in part] for part in case.data_sets[0])
            found = NodeTest(case.name, case.model, inputs, outputs)
            version = next((item.version for item in case.model.opset_import if item.domain == ""), 0)
            if all(kind in known or has_body(kind, version) for kind in found.operators):
                yield found


def run(test: NodeTest) -> str:
    """Runs a test; inputs that must be known before the run are given as initializers.

    Returns:
        ``run`` if an input was left open, else ``folded``.

    Raises:
        RefusedError: It is refused however its inputs are given.
        AssertionError: The outputs are other ones.
    """
    names = [item.name for item in test.model.graph.input]
    refused: RefusedError | None = None
    for constant in [set(), set(names[1:]), *({name} for name in names[1:]), set(names)]:
        try:
            _attempt(test, names, constant)
        except RefusedError as error:
            refused = refused or error
        else:
            return "folded" if constant == set(names) else "run"
    raise refused or RefusedError("it has no inputs")


def _attempt(test: NodeTest, names: list[str], constant: set[str]) -> None:
    given = dict(zip(names, test.inputs, strict=False))
    model = ModelProto()
    model.CopyFrom(test.model)
    if any(given.get(name) is None for name in constant):
        raise RefusedError("an input is no tensor")
    model.graph.initializer.extend(numpy_helper.from_array(given[name], name) for name in sorted(constant))
    try:
        graph = graph_of(model, test.name).graph
        opaque = [node for node in graph.nodes if isinstance(node.op, Opaque)]
        if opaque:
            raise RefusedError(opaque[0].op.reason)
        feeds = {item.name: np.asarray(given[item.name]).astype(np.float32, order="C") for item in graph.inputs}
        found = OnnxSession(graph).run(feeds)
    except NuqconvError as error:
        raise RefusedError(str(error).replace("\n", " ")) from error
    for name, wanted in zip((item.name for item in test.model.graph.output), test.outputs, strict=True):
        array = found[name] if name in found else found[f"{name}/output"]
        assert array.shape == wanted.shape
        np.testing.assert_allclose(array.astype(np.float64), wanted.astype(np.float64), rtol=1e-3, atol=1e-5)


def _array(item: object) -> np.ndarray | None:
    if isinstance(item, TensorProto):
        return numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.ndarray | np.generic) else None


def outcome(test: NodeTest) -> str:
    """Returns ``run``, ``folded``, or why a test does not pass."""
    try:
        return run(test)
    except RefusedError as error:
        return f"refused: {error}"[:160]
    except (AssertionError, TypeError, ValueError) as error:
        return f"differs: {' '.join(str(error).split())}"[:160]


def main() -> None:
    """Writes what each test came to."""
    found = {test.name: outcome(test) for test in node_tests()}
    others = {name: text for name, text in found.items() if text not in ("run", "folded")}
    counts = Counter(text.partition(":")[0] for text in found.values())
    content = {"onnx": onnx.__version__, "counts": dict(sorted(counts.items())), "others": others}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(counts, len(claimed()), "operators")  # noqa: T201
    for kind, group in itertools.groupby(
        sorted(others.items(), key=lambda item: item[1]), key=lambda item: item[1][:7]
    ):
        print(kind, len(list(group)))  # noqa: T201


if __name__ == "__main__":
    main()
