"""The same inputs through two runtimes or models, every common blob compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from onnx import ModelProto

from nuqconv.comparison.causes import Evidence, likely_causes
from nuqconv.comparison.measure import Tolerance, compare_blob, detections, worst
from nuqconv.comparison.random_numbers import random_input
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError, ModelError, RuntimeMissingError
from nuqconv.formats import CAFFE, ONNX, ModelFiles, ReadOptions, open_model
from nuqconv.formats.table import format_of
from nuqconv.frontends.options import AS_THEY_ARE
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import DetectionOutput, Quantize, Shape
from nuqconv.runtimes.base import Runtime
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.loaded import Side, check_inputs
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import AUTO, DEFAULT, RUNTIMES

__all__ = ["AUTO", "CompareReport", "Model", "compare", "random_inputs"]

StrPath = str | os.PathLike[str]
Model = tuple[StrPath, StrPath] | StrPath | Graph | ModelProto | ModelFiles
"""A Caffe model as (.prototxt, .caffemodel), the path of an .onnx file, a graph, an ONNX model, or what was opened before."""


SAMPLES = 8
"""Samples of a data set that are compared."""


def compare(
    a: Model,
    b: Model | None = None,
    *,
    inputs: Mapping[str, Array] | DataSet | None = None,
    runtimes: tuple[str, str] = (AUTO, AUTO),
    blobs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    rtol: float = 1e-3,
    atol: float = 1e-5,
    process: CaffeProcess | None = None,
    read_options: ReadOptions | None = None,
) -> CompareReport:
    """Runs two models, or one model in two runtimes, on the same inputs and compares every common blob.

    Runtimes of a Caffe model are ``"caffe"`` (real Caffe in a child process), ``"onnxruntime"`` (through this package's ONNX), ``"opencv"``,
    ``"caffe2onnx"`` (that converter's ONNX in onnxruntime) and what `nuqconv.runtimes.register` was given. ``"auto"`` takes real Caffe for the
    first side if it is there and has all layers, else onnxruntime, and for the second side the first side's if both are of one format. Everything
    else runs in onnxruntime.

    Args:
        a: The first model.
        b: The second; without it the first one in the other runtime (real Caffe against onnxruntime).
        inputs: An array for each input blob, or a `nuqconv.data.DataSet`, of which the first samples are taken; by default random numbers.
        runtimes: The runtime of each side.
        blobs: The blobs to compare; by default all common ones, and all outputs of ``a`` have to be among them.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        rtol: Relative tolerance.
        atol: Absolute tolerance; in a blob with numbers above 1 a multiple of its largest.
        process: A living process of real Caffe to use; by default one is started where it is needed.
        read_options: How the models' files are read: unknown fields, level and stages.

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
    if inputs is not None and input_shapes:
        raise ConfigError("input_shapes are for random inputs; given inputs have their own")
    given = _arrays(inputs, a, read_options)
    if given is None:
        shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    else:
        shapes = {name: array.shape for name, array in given.items()}
    with ExitStack() as stack:
        one, two = _Sides(stack, process, shapes, read_options).make(a, b, runtimes)
        source = _words(inputs) if inputs is not None else f"random numbers of seed {seed}"
        feeds = random_inputs(one, shapes, seed) if given is None else given
        return _Comparison(one, two, feeds, Tolerance(rtol, atol)).report(source, blobs)


def _arrays(
    inputs: Mapping[str, Array] | DataSet | None, model: Model, options: ReadOptions | None
) -> dict[str, Array] | None:
    """Returns inputs as arrays; of a data set the first samples, under the names of the model's inputs."""
    if inputs is None:
        return None
    if not isinstance(inputs, DataSet):
        return {name: np.asarray(array) for name, array in inputs.items()}
    named = inputs if isinstance(model, ModelProto) else inputs.for_net(open_model(model, None, options).inputs())
    return dict(next(iter(named.batches(SAMPLES, SAMPLES))).inputs)


def _words(inputs: Mapping[str, Array] | DataSet) -> str:
    return f"the first samples of {inputs.describe()}" if isinstance(inputs, DataSet) else "given"


def random_inputs(side: Side, shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """Returns normally distributed inputs; for what an Embed layer reads, whole numbers that it knows.

    Args:
        side: The side whose inputs they are for; an open size becomes 1.
        shapes: Other shapes by input.
        seed: The same seed gives the same numbers.

    Raises:
        ConfigError: A shape is given for what is no input.
    """
    wrong = [f"'{name}' is no input; there are {', '.join(side.inputs)}" for name in shapes if name not in side.inputs]
    if wrong:
        raise ConfigError(f"{side.label}: its inputs cannot have these shapes", wrong)
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, own in side.inputs.items():
        shape = shapes.get(name, tuple(1 if size is None else size for size in own))
        readers = () if side.graph is None else side.graph.consumers.get(name, ())
        made[name] = random_input(readers, shape, rng)
    return made


class _Sides:
    """Makes both sides; what they start ends with the stack."""

    def __init__(
        self,
        stack: ExitStack,
        process: CaffeProcess | None,
        shapes: Mapping[str, Shape],
        options: ReadOptions | None,
    ) -> None:
        self.stack = stack
        self.options = options
        self.shapes = shapes
        # Runtimes that have something running for both sides.
        self.shared: dict[str, Runtime] = {} if process is None else {Caffe.name: Caffe(process)}

    def make(self, a: Model, b: Model | None, runtimes: tuple[str, str]) -> tuple[Side, Side]:
        unknown = [name for name in runtimes if name not in (AUTO, *RUNTIMES)]
        if unknown:
            raise ConfigError(f"runtime {', '.join(map(repr, unknown))} is not known; known are {', '.join(RUNTIMES)}")
        first = self.model(a)
        second = first if b is None else self.model(b)
        name, other, note = *runtimes, ""
        if b is None and first.format != "caffe" and {name, other} <= {AUTO, DEFAULT}:
            raise ConfigError(
                "a single model must be a Caffe model (.prototxt and .caffemodel), to run in two runtimes; "
                f"{first.label} runs in {DEFAULT} only, unless another one is chosen"
            )
        if name == AUTO:
            name, note = self.best(first, needs_own=b is None and other in (AUTO, DEFAULT))
        if other == AUTO:
            other = DEFAULT if b is None else name if first.format == second.format else self.best(second)[0]
        if b is None and name == other:
            raise ConfigError(f"one model in one runtime ({name}) is compared with itself; choose another runtime")
        one = self.side(first, name)
        read = dict.fromkeys((*first.notes, *second.notes))
        one.notes = (*read, *one.notes, *([note] if note else ()))
        return one, self.side(second, other)

    def model(self, model: Model) -> Runnable:
        """Returns a model as runtimes are given it; a Caffe model is read."""
        if isinstance(model, Graph):
            return Runnable.of_graph(model)
        if isinstance(model, ModelProto):
            return Runnable.of_proto(model)
        if isinstance(model, tuple | list):
            if len(model) != 2:
                raise ConfigError(f"a Caffe model is a pair (.prototxt, .caffemodel), found {len(model)} parts")
            found = CAFFE.open((Path(model[0]), Path(model[1])), self.options or AS_THEY_ARE)
            return Runnable.cut_for_inference(found, self.shapes, self.stack)
        if not isinstance(model, ModelFiles) and format_of(Path(model)) is not ONNX:
            raise ConfigError(f"{Path(model)}: expected an .onnx file, or a pair of .prototxt and .caffemodel")
        opened = open_model(model, options=self.options)
        if opened.format.runs_in_caffe and opened.paths:
            return Runnable.cut_for_inference(opened, self.shapes, self.stack)
        return Runnable.of(opened)

    def side(self, model: Runnable, name: str) -> Side:
        runtime = self.shared.get(name) or RUNTIMES[name]
        if runtime.refusal(model):
            wanted = " or ".join(f"a {model.words[item]}" for item in sorted(runtime.takes))
            raise ConfigError(f"runtime '{name}' needs {wanted}; {model.label} runs in {DEFAULT}")
        # onnxruntime takes an ONNX model as it is; whoever takes its graph needs the sizes that it leaves open.
        shaped = model if name == DEFAULT else model.with_shapes(self.shapes)
        return self.stack.enter_context(runtime.side(shaped))

    def best(self, model: Runnable, *, needs_own: bool = False) -> tuple[str, str]:
        """Returns the runtime of an unmarked model, and what to say about it: its format's own where that is there and has all layers."""
        runtime = next((item for item in RUNTIMES.values() if model.format in item.own_of), None)
        if runtime is None:
            return DEFAULT, ""
        runtime = self.shared.get(runtime.name, runtime)
        missing = "is not installed"
        if runtime.is_there():
            runtime = self.shared[runtime.name] = runtime.shared(self.stack)
            lacks = runtime.lacks(model)
            if not lacks:
                return runtime.name, ""
            missing = f"lacks {', '.join(lacks)}"
        if needs_own:
            others = [
                name
                for name, item in RUNTIMES.items()
                if model.format in item.takes and name not in (DEFAULT, runtime.name)
            ]
            raise RuntimeMissingError(
                f"{runtime.title} {missing}, so there is nothing to compare {DEFAULT} with; choose the runtimes {' or '.join(others)}, "
                f"or get another {runtime.title} (`nuqconv doctor` says how)"
            )
        return DEFAULT, f"{runtime.title} {missing}; the first model runs in {DEFAULT} through this package's own ONNX"


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
        for own in values:
            own.update({name: self._plain(name, array) for name, array in own.items()})
        self.notes += [
            f"'{name}' is empty on both sides with these inputs, which proves little; give inputs of the kind that the model is for"
            for name in names
            if not values[0][name].size and not values[1][name].size
        ]
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

    def _plain(self, name: str, array: Array) -> Array:
        """Takes out what runtimes write in their own way without meaning anything else by it."""
        node = None if self.guide.graph is None else self.guide.graph.producer.get(name)
        if node is not None and isinstance(node.op, Quantize) and array.dtype == np.uint8:
            return array.astype(np.float32) - (128 + node.op.offset)
        if node is not None and isinstance(node.op, DetectionOutput) and array.shape[-1:] == (7,):
            return detections(array)
        return array

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
