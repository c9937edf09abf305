"""The same inputs through several runtimes or models, every common blob compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from nuqconv.comparison.columns import Held, in_order
from nuqconv.comparison.inputs import given_inputs, inputs_in_words, random_inputs
from nuqconv.comparison.judge import Judge
from nuqconv.comparison.kept import KeptSide, ResultsFile, saving
from nuqconv.comparison.options import CompareOptions
from nuqconv.comparison.quantization import looks_quantized
from nuqconv.comparison.report import Column, CompareReport, Verdict
from nuqconv.comparison.sides import CANNOT_RUN, Failed, Model, Placed, Sides
from nuqconv.comparison.taken import Taken, all_names, groups
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError
from nuqconv.ir import Array
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.loaded import Side, check_inputs
from nuqconv.runtimes.table import AUTO

__all__ = ["CompareOptions", "CompareReport", "Model", "compare"]

_HINT = (
    "one of the models is a quantized one, so that it differs by design; nuqconv.compare_quantized(original, quantized, data=...), or "
    "`nuqconv compare` without --exact, --runtime and --outputs, says where the quantization hurts"
)

_Result = TypeVar("_Result")


def compare(
    a: Model,
    b: Model | None = None,
    *,
    inputs: Mapping[str, Array] | DataSet | None = None,
    runtimes: Sequence[str] = (AUTO, AUTO),
    options: CompareOptions | None = None,
    process: CaffeProcess | None = None,
) -> CompareReport:
    """Runs two models, or one model in several runtimes, on the same inputs and compares every common blob.

    Runtimes of a Caffe model are ``"caffe"`` (real Caffe in a child process), ``"onnxruntime"`` (through this package's ONNX), ``"opencv"``,
    ``"caffe2onnx"`` (that converter's ONNX in onnxruntime) and what `nuqconv.runtimes.register` was given. ``"auto"`` takes real Caffe for the
    first side if it is there and has all layers, else onnxruntime, and for the second side the first side's if both are of one format. Everything
    else runs in onnxruntime.

    The first model in the first runtime is the reference; every other side is a column of the report. Of a side that differs, all layers are named
    that do so for a reason of their own: whose inputs agree, or that differ also when they are fed the reference's inputs.

    Args:
        a: The first model.
        b: The second; it runs in all runtimes but the first. Without it the first one runs in all of them.
        inputs: An array for each input blob, or a `nuqconv.data.DataSet`, of which the first samples are taken; by default random numbers.
        runtimes: The runtime of each side.
        options: What else may be said; see `CompareOptions`.
        process: A living process of real Caffe to use; by default one is started where it is needed.

    Returns:
        The report; ``report.agrees`` says whether all is equal, and ``report.verdict`` also whether that proves anything.

    Raises:
        ConfigError: Arguments do not go together.
        RuntimeMissingError: A runtime is not installed.
        FormatError, ModelError, UnsupportedError, CaffeProcessError: A model cannot be read or run, the inputs do not fit, or there is nothing
            to compare. Of more than two sides those that run are compared all the same.
        OutputError: The results cannot be saved.
    """
    options = options or CompareOptions()
    kept = None if options.against is None else KeptSide(Path(options.against))
    if kept is not None and (inputs is not None or options.input_shapes or options.save is not None):
        raise ConfigError(
            "results that were saved bring their own inputs; inputs, input_shapes and save do not go with them"
        )
    if inputs is not None and options.input_shapes:
        raise ConfigError("input_shapes are for random inputs; given inputs have their own")
    given = kept.given if kept is not None else given_inputs(inputs, a, options.read)
    shapes = options.shapes if given is None else {name: array.shape for name, array in given.items()}
    with ExitStack() as stack:
        sides = Sides(stack, process, shapes, options.read)
        if kept is None:
            one, others = sides.make(a, b, runtimes)
            source = inputs_in_words(inputs) if inputs is not None else f"random numbers of seed {options.seed}"
        else:
            others = sides.make_against(a, b, tuple(dict.fromkeys(runtimes)), kept.runtime)
            one, source = Placed(kept, None, None, kept.runtime), kept.source
            if not any(
                isinstance(item, Placed) and item.model is not None and kept.knows(item.model) for item in others
            ):
                sides.notes.append("the results that were saved are not of this model's files")
        feeds = random_inputs(one.side, shapes, options.seed) if given is None else given
        file = None if options.save is None else stack.enter_context(saving(Path(options.save)))
        return _Comparison(one, others, feeds, options, sides.notes).report(source, file)


class _Comparison:
    """The reference, and all that is held against it.

    Args:
        one: The reference.
        others: The other sides.
        feeds: The inputs by the reference's names.
        options: The options.
        notes: What is known already.
    """

    def __init__(
        self,
        one: Placed,
        others: Sequence[Placed | Failed],
        feeds: Mapping[str, Array],
        options: CompareOptions,
        notes: Sequence[str],
    ) -> None:
        self.options, self.others = options, others
        placed = [item for item in others if isinstance(item, Placed)]
        # Names, places and order come from a Caffe model where there is one.
        guide = next((item.side for item in (one, *placed) if item.side.graph is not None), one.side)
        self.judge = Judge(guide, options.all_tolerances, options.function)
        self.reference = Taken(one, feeds, self.judge, options.memory)
        self.notes = dict.fromkeys((*notes, *one.side.notes))
        check_inputs(one.side, feeds)

    def report(self, source: str, file: ResultsFile | None) -> CompareReport:
        """Runs all sides, group by group of blobs."""
        if file is not None:
            file.describe(self.reference.placed, self.reference.feeds, source)
        started = [self._started(item) for item in self.others]
        names = [item.names for item in started if isinstance(item, Held)]
        if names:
            self.judge.tolerances.check({name for found in names for name in found})
        held = self._run(started, file)
        columns = [item if isinstance(item, Column) else self._attempt(item.other.placed, item.column) for item in held]
        for item in held:
            if isinstance(item, Held):
                self.notes.update(dict.fromkeys(item.notes))
        self._hint(columns)
        return CompareReport(
            self.reference.side.label,
            tuple(columns),
            {name: tuple(array.shape) for name, array in self.reference.feeds.items()},
            source,
            self.options.tolerance,
            tuple(self.notes),
        )

    def _run(self, held: Sequence[Held | Column], file: ResultsFile | None) -> list[Held | Column]:
        """Runs the sides for one group of blobs after the other."""
        now = list(held)
        wanted = {name for item in now if isinstance(item, Held) for name in item.names}
        side = self.reference.side
        names = [name for name in in_order(self.judge.guide, side) if name in wanted]
        if file is not None:
            names = all_names(side)
        for group in groups(names, self._sizes(), self.options.memory):
            if file is None:
                self.reference.run(group)
            else:
                file.add(self.reference.exact(group))
            for place, item in enumerate(now):
                if isinstance(item, Held):
                    failed = self._attempt(item.other.placed, partial(item.add, group))
                    now[place] = failed or item
        return now

    def _sizes(self) -> Mapping[str, int]:
        """Returns the bytes of values, as a side with a graph knows them, or else as the reference finds out."""
        guide = self.judge.guide
        return (
            guide.sizes(self.reference.feeds)
            if guide.graph is not None
            else self.reference.side.sizes(self.reference.feeds)
        )

    def _started(self, item: Placed | Failed) -> Held | Column:
        if isinstance(item, Failed):
            return Column(item.label, item.name, failure=item.why)
        return self._attempt(item, partial(self._hold, item))

    def _hold(self, item: Placed) -> Held:
        self.notes.update(dict.fromkeys(item.side.notes))
        feeds = self._feeds(item.side)
        check_inputs(item.side, feeds)
        other = Taken(item, feeds, self.judge, self.options.memory)
        return Held(self.reference, other, self.judge, self.options)

    def _feeds(self, side: Side) -> Mapping[str, Array]:
        """Inputs by a side's names; other names are matched by position where shapes allow only that."""
        inputs = self.reference.feeds
        if set(inputs) == set(side.inputs) or len(inputs) != len(side.inputs):
            return inputs
        pairs = ", ".join(f"'{ours}' is '{theirs}'" for ours, theirs in zip(inputs, side.inputs, strict=True))
        note = f"inputs are called otherwise on the second side and are matched by position: {pairs}"
        self.notes[note] = None
        return dict(zip(side.inputs, inputs.values(), strict=True))

    def _attempt(self, placed: Placed, call: Callable[[], _Result]) -> _Result | Column:
        """Returns what a side gives; of several sides one that cannot run is a column that says so."""
        if len(self.others) == 1:
            return call()
        try:
            return call()
        except CANNOT_RUN as error:
            return Column(placed.side.label, placed.name, failure=str(error))

    def _hint(self, columns: Sequence[Column]) -> None:
        """Says where one model is the other one quantized, which is another question."""
        one = self.reference.placed
        for item, column in zip(self.others, columns, strict=True):
            if column.verdict is not Verdict.DIFFER or not isinstance(item, Placed) or item.model is one.model:
                continue
            models = [model for model in (one.model, item.model) if model is not None]
            quantized = [looks_quantized(model.files, partial(getattr, model, "graph")) for model in models]
            if len(models) == 2 and quantized[0] != quantized[1]:
                self.notes[_HINT] = None
