"""The same inputs through two runtimes or models, every common blob compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from onnx import ModelProto

from nuqconv.backends.caffe.runtime import CaffeProcess, find_caffe
from nuqconv.comparison.causes import Evidence, likely_causes
from nuqconv.comparison.measure import Tolerance, compare_blob, worst
from nuqconv.comparison.onnx_file import OnnxSide
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence
from nuqconv.comparison.sides import RUNTIMES, CaffeFiles, GraphSide, Side, check_inputs, make_side
from nuqconv.errors import ConfigError, ModelError, RuntimeMissingError
from nuqconv.ir import Array, Graph

__all__ = ["AUTO", "CompareReport", "Model", "compare", "random_inputs"]

StrPath = str | os.PathLike[str]
Model = tuple[StrPath, StrPath] | StrPath | Graph | ModelProto
"""A Caffe model as (.prototxt, .caffemodel), the path of an .onnx file, a graph, or an ONNX model."""

AUTO = "auto"


def compare(
    a: Model,
    b: Model | None = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    runtimes: tuple[str, str] = (AUTO, AUTO),
    blobs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    rtol: float = 1e-3,
    atol: float = 1e-5,
) -> CompareReport:
    """Runs two models, or one model in two runtimes, on the same inputs and compares every common blob.

    Runtimes of a Caffe model are ``"caffe"`` (real Caffe in a child process), ``"onnxruntime"`` (through this package's ONNX), ``"opencv"`` and
    ``"caffe2onnx"`` (that converter's ONNX in onnxruntime). ``"auto"`` takes real Caffe for the first side if it is there and has all layers,
    else onnxruntime, and for the second side the first side's if that is another Caffe model. Everything else runs in onnxruntime.

    Args:
        a: The first model.
        b: The second; without it the first one in the other runtime (real Caffe against onnxruntime).
        inputs: An array for each input blob; by default random numbers.
        runtimes: The runtime of each side.
        blobs: The blobs to compare; by default all common ones, and all outputs of ``a`` have to be among them.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        rtol: Relative tolerance.
        atol: Absolute tolerance; in a blob with numbers above 1 a multiple of its largest.

    Returns:
        The report; ``report.agrees`` says whether all is equal.

    Raises:
        ConfigError: Arguments do not go together.
        RuntimeMissingError: A runtime is not installed.
        FormatError, ModelError, UnsupportedError, CaffeProcessError: A model cannot be read or run, the inputs do not fit, or there is nothing
            to compare.
    """
    if not (rtol >= 0 and atol >= 0):
        raise ConfigError(f"rtol {rtol} and atol {atol} must not be negative")
    with ExitStack() as stack:
        one, two = _sides(a, b, runtimes, stack)
        if inputs is None:
            feeds, source = random_inputs(one, input_shapes, seed), f"random numbers of seed {seed}"
        elif input_shapes:
            raise ConfigError("input_shapes are for random inputs; given inputs have their own")
        else:
            feeds, source = {name: np.asarray(array) for name, array in inputs.items()}, "given"
        return _Comparison(one, two, feeds, Tolerance(rtol, atol)).report(source, blobs)


def random_inputs(side: Side, shapes: Mapping[str, Sequence[int]] | None, seed: int) -> dict[str, Array]:
    """Returns normally distributed inputs.

    Args:
        side: The side whose inputs they are for; an open size becomes 1.
        shapes: Other shapes by input.
        seed: The same seed gives the same numbers.

    Raises:
        ConfigError: A shape is given for what is no input.
    """
    wrong = [
        f"'{name}' is no input; there are {', '.join(side.inputs)}" for name in shapes or () if name not in side.inputs
    ]
    if wrong:
        raise ConfigError(f"{side.label}: its inputs cannot have these shapes", wrong)
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, own in side.inputs.items():
        shape = tuple((shapes or {}).get(name, tuple(1 if size is None else size for size in own)))
        made[name] = rng.standard_normal(shape).astype(np.float32)
    return made


def _sides(a: Model, b: Model | None, runtimes: tuple[str, str], stack: ExitStack) -> tuple[Side, Side]:
    unknown = [name for name in runtimes if name not in (AUTO, *RUNTIMES)]
    if unknown:
        raise ConfigError(f"runtime {', '.join(map(repr, unknown))} is not known; known are {', '.join(RUNTIMES)}")
    first = _files(a)
    second = first if b is None else _files(b)
    if b is None and first is None:
        raise ConfigError("a single model must be a Caffe model (.prototxt and .caffemodel), to be run in two runtimes")
    name, note = runtimes[0], ""
    if first is not None and name == AUTO:
        name, note = _best(first, needs_caffe=b is None and runtimes[1] in (AUTO, "onnxruntime"))
    one = stack.enter_context(_side(a, first, name))
    one.notes = (*one.notes, *([note] if note else ()))
    other = runtimes[1]
    if second is not None and other == AUTO:
        other = "onnxruntime" if b is None else name if first is not None else _best(second, needs_caffe=False)[0]
    if b is None and name == other:
        raise ConfigError(f"one model in one runtime ({name}) is compared with itself; choose another runtime")
    return one, stack.enter_context(_side(a if b is None else b, second, other))


def _files(model: Model) -> CaffeFiles | None:
    if isinstance(model, tuple | list):
        if len(model) != 2:
            raise ConfigError(f"a Caffe model is a pair (.prototxt, .caffemodel), found {len(model)} parts")
        return CaffeFiles.read(model[0], model[1])
    return None


def _side(model: Model, files: CaffeFiles | None, runtime: str) -> Side:
    if files is not None:
        return make_side(files, runtime)
    if runtime not in (AUTO, "onnxruntime"):
        raise ConfigError(f"runtime '{runtime}' needs a Caffe model; an ONNX model runs in onnxruntime")
    if isinstance(model, Graph):
        return GraphSide(model, f"network '{model.name}'")
    if isinstance(model, tuple):
        raise TypeError(model)
    if not isinstance(model, ModelProto) and Path(model).suffix != ".onnx":
        raise ConfigError(f"{Path(model)}: expected an .onnx file, or a pair of .prototxt and .caffemodel")
    return OnnxSide(model)


def _best(files: CaffeFiles, *, needs_caffe: bool) -> tuple[str, str]:
    """Returns the runtime of an unmarked Caffe model, and what to say about it."""
    if find_caffe() is None:
        if needs_caffe:
            raise RuntimeMissingError(
                "real Caffe is not installed, so there is nothing to compare onnxruntime with; `nuqconv doctor` says how to get it, "
                "or choose the runtimes opencv or caffe2onnx"
            )
        return (
            "onnxruntime",
            "real Caffe is not installed; the first model runs in onnxruntime through this package's own ONNX",
        )
    with CaffeProcess() as process:
        known = set(process.versions.layer_types)
    types = {node.origin.layer_type for node in files.graph.nodes if node.origin is not None}
    if known and not types <= known:
        missing = ", ".join(sorted(types - known))
        if needs_caffe:
            raise RuntimeMissingError(
                f"the Caffe that was found lacks {missing}; choose the runtimes opencv or caffe2onnx"
            )
        return (
            "onnxruntime",
            f"real Caffe lacks {missing}; the first model runs in onnxruntime through this package's own ONNX",
        )
    return "caffe", ""


class _Comparison:
    def __init__(self, one: Side, two: Side, inputs: dict[str, Array], tolerance: Tolerance) -> None:
        self.one, self.two = one, two
        self.inputs = inputs
        self.tolerance = tolerance
        self.notes = [*one.notes, *two.notes]
        # Names, places and order come from a Caffe model where there is one.
        self.guide = one if one.graph is not None or two.graph is None else two

    def report(self, source: str, blobs: Sequence[str] | None) -> CompareReport:
        one, two = self.one, self.two
        feeds = self._feeds_of_second()
        check_inputs(one, self.inputs)
        check_inputs(two, feeds)
        names = self._common(blobs)
        if not names:
            raise ModelError(
                "the two models have no blob in common, so there is nothing to compare",
                [f"{side.label}: {', '.join(side.names[:8])}, ... ({len(side.names)})" for side in (one, two)],
            )
        self.feeds = feeds
        values = one.run(self.inputs, names), two.run(feeds, names)
        found = {name: self._compared(name, values[0][name], values[1][name]) for name in names}
        first = None
        for name in names:
            if not found[name].agrees:
                found[name] = self._rechecked(name, values, found[name])
            if not found[name].agrees:
                first = self._diverged(name, values, found)
                break
        missing = {
            name: self._why_not(name)
            for name in (one.outputs if blobs is None else blobs)
            if name not in found and name not in self.inputs
        }
        order = [name for name in self._order() if name in found]
        return CompareReport(
            (one.label, two.label),
            {name: tuple(array.shape) for name, array in self.inputs.items()},
            source,
            self.tolerance.rtol,
            self.tolerance.atol,
            tuple(found[name] for name in order),
            first,
            missing,
            tuple(self.notes),
        )

    def _feeds_of_second(self) -> dict[str, Array]:
        """Inputs by the second model's names; other names are matched by position where shapes allow only that."""
        two = self.two
        if set(self.inputs) == set(two.inputs) or len(self.inputs) != len(two.inputs):
            return self.inputs
        feeds = dict(zip(two.inputs, self.inputs.values(), strict=True))
        pairs = ", ".join(f"'{ours}' is '{theirs}'" for ours, theirs in zip(self.inputs, two.inputs, strict=True))
        self.notes.append(f"inputs are called otherwise on the second side and are matched by position: {pairs}")
        return feeds

    def _order(self) -> tuple[str, ...]:
        graph = self.guide.graph
        return self.guide.names if graph is None else tuple(name for node in graph.nodes for name in node.outputs)

    def _common(self, blobs: Sequence[str] | None) -> list[str]:
        wanted = None if blobs is None else set(blobs)
        theirs = set(self.two.names) & set(self.one.names)
        return [name for name in self._order() if name in theirs and (wanted is None or name in wanted)]

    def _why_not(self, name: str) -> str:
        for side in (self.one, self.two):
            if not side.has(name):
                return f"{side.label} does not give it"
        return "it is made by no layer"

    def _compared(self, name: str, a: Array, b: Array) -> BlobComparison:
        layer, kind = self.guide.layer(name)
        return compare_blob(name, layer, kind, a, b, self.tolerance)

    def _rechecked(
        self, name: str, values: tuple[dict[str, Array], dict[str, Array]], before: BlobComparison
    ) -> BlobComparison:
        """Takes the value from the moment at which its layer has run, where a runtime overwrites memory later."""
        changed = False
        for side, feeds, own in ((self.one, self.inputs, values[0]), (self.two, self.feeds, values[1])):
            exact = side.exact(feeds, name)
            if exact is not None and not np.array_equal(exact, own[name], equal_nan=True):
                own[name], changed = exact, True
        if changed:
            self.notes.append(f"blob '{name}' is overwritten in memory that it shares; compared is what its layer made")
            return self._compared(name, values[0][name], values[1][name])
        return before

    def _diverged(
        self, name: str, values: tuple[dict[str, Array], dict[str, Array]], found: dict[str, BlobComparison]
    ) -> Divergence:
        """Narrows the difference down to one layer, among those that write the blob in place, and explains it."""
        graph = self.guide.graph
        states = [] if graph is None else [state for state, blob in graph.storage.items() if blob == name]
        states = [state for state in states if state not in found and self.one.has(state) and self.two.has(state)]
        if states:
            values[0].update(self.one.run(self.inputs, states))
            values[1].update(self.two.run(self.feeds, states))
        for state in states:
            found[state] = self._compared(state, values[0][state], values[1][state])
        culprit = next((item for item in (*states, name) if not found[item].agrees), name)
        item = found[culprit]
        a, b = values[0][culprit], values[1][culprit]
        at = worst(a, b)
        evidence = self._evidence(culprit, values)
        node = evidence.node
        return Divergence(
            item.layer,
            item.layer_type,
            culprit,
            str(node.origin) if node is not None and node.origin is not None else f"{self.guide.label}: '{item.layer}'",
            node.op.describe() if node is not None else "",
            None if at is None else at[0],
            None if at is None else at[1],
            likely_causes(evidence),
            self._suspects(culprit, found),
        )

    def _evidence(self, name: str, values: tuple[dict[str, Array], dict[str, Array]]) -> Evidence:
        graph = self.guide.graph
        node = None if graph is None else graph.producer.get(name)
        layer, kind = self.guide.layer(name)
        other = self.two.graph if self.guide is self.one else self.one.graph
        inputs: tuple[list[Array | None], list[Array | None]] = ([], [])
        states: dict[str, Array] = {}
        if graph is not None and node is not None:
            for number, (side, feeds) in enumerate(((self.one, self.inputs), (self.two, self.feeds))):
                inputs[number].extend(self._value(side, feeds, item, values[number]) for item in node.inputs)
            blob = graph.storage_name(name)
            for state in (state for state, stored in graph.storage.items() if stored == blob and state != name):
                for side, feeds, own in ((self.one, self.inputs, values[0]), (self.two, self.feeds, values[1])):
                    value = self._value(side, feeds, state, own)
                    if value is not None:
                        states.setdefault(graph.producer[state].name if state in graph.producer else "input", value)
        return Evidence(
            node,
            kind,
            values[0][name],
            values[1][name],
            None if other is None or other is graph else other.node.get(layer),
            *inputs,
            self.one.parameters(layer),
            self.two.parameters(layer),
            states,
            self.tolerance,
        )

    @staticmethod
    def _value(side: Side, feeds: Mapping[str, Array], name: str, known: Mapping[str, Array]) -> Array | None:
        if name in known:
            return known[name]
        graph = side.graph
        fed = name if graph is None else graph.storage_name(name)
        if name not in side.names and fed in feeds and (graph is None or name not in graph.producer):
            return feeds[fed]
        return side.run(feeds, [name])[name] if side.has(name) else None

    def _suspects(self, name: str, found: Mapping[str, BlobComparison]) -> tuple[str, ...]:
        """Layers before a value that no comparison stands between."""
        graph = self.guide.graph
        if graph is None or name not in graph.producer:
            return ()
        waiting, seen = list(graph.producer[name].inputs), set[str]()
        while waiting:
            value = waiting.pop()
            maker = graph.producer.get(value)
            if maker is None or value in found or maker.name in seen:
                continue
            seen.add(maker.name)
            waiting.extend(maker.inputs)
        return tuple(node.name for node in graph.nodes if node.name in seen)
