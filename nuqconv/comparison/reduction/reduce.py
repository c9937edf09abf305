"""The smallest part of a model that still shows a fault: what one attaches to a bug report."""

from __future__ import annotations

import logging
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from nuqconv.comparison.inputs import given_inputs, inputs_in_words
from nuqconv.comparison.reduction.cut import Cuttable
from nuqconv.comparison.reduction.pieces import Cut, PartFiles, Pieces, cuttable, made_up_inputs, samples_of
from nuqconv.comparison.reduction.question import Answer, Command, Difference, Question
from nuqconv.comparison.reduction.recorder import Recorder
from nuqconv.comparison.reduction.result import Attempt, Reduced
from nuqconv.comparison.reduction.search import Part, smallest_part, without_pieces
from nuqconv.comparison.sides import best_runtime
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError, ModelError, NothingToReduceError, NuqconvError
from nuqconv.formats import Model, ModelFiles, ReadOptions, in_files, open_model
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape
from nuqconv.runtimes.base import in_one_line
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.table import AUTO, DEFAULT, RUNTIMES

__all__ = ["MAX_RUNS", "reduce"]

_LOG = logging.getLogger(__name__)

MAX_RUNS = 200
"""Parts that are looked at, at most."""


def reduce(
    model: Model,
    other: Model | None = None,
    *,
    command: str | None = None,
    exit_code: int | None = None,
    text: str | None = None,
    timeout: float = 600.0,
    inputs: Mapping[str, Array] | DataSet | None = None,
    runtimes: tuple[str, str] = (AUTO, AUTO),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    rtol: float = 1e-3,
    atol: float = 1e-5,
    process: CaffeProcess | None = None,
    read_options: ReadOptions | None = None,
    max_runs: int = MAX_RUNS,
    tool: str = "nuqconv",
    on_attempt: Callable[[Attempt], None] | None = None,
) -> Reduced:
    """Finds the smallest part of a model, with inputs, that still differs in two runtimes or from another model, or with which a command still fails.

    A part is some of the layers. What others made in the whole model becomes an input, with the values that it had there. Every part is written to
    files, and these are what is looked at. The search bisects and then drops pieces (Zeller and Hildebrandt 2002, "Simplifying and isolating
    failure-inducing input"): about 2 log2(layers) runs where one layer is to blame.

    Args:
        model: The model.
        other: A second one, which is cut at the values that have the same names; without it the first one in two runtimes, or with ``command``.
        command: A command line with ``{model}`` in it, and ``{weights}`` and ``{inputs}`` where it needs them, which fails.
        exit_code: How the command ends when it fails; by default with any code but 0, and with the same one for every part.
        text: What its output has in it when it fails.
        timeout: Seconds that the command may take; it does not count as failing after that.
        inputs: An array for each input, or a data set, of which the first samples are taken; by default random numbers.
        runtimes: The runtime of each side, as in `nuqconv.compare`.
        input_shapes: Shapes of random inputs, where others than the model's are wanted.
        seed: Of the random inputs.
        rtol: Relative tolerance of a difference.
        atol: Absolute tolerance, as in `nuqconv.compare`.
        process: A living process of real Caffe to use.
        read_options: How the models' files are read.
        max_runs: Most parts that are looked at; the smallest one so far is the result then.
        tool: How nuqconv is called in the command line that the result tells.
        on_attempt: Told of each part that was looked at.

    Returns:
        The part; ``save`` writes it.

    Raises:
        NothingToReduceError: The model does not differ or fail to begin with, or no part of it does.
        ConfigError: Arguments do not go together.
        RuntimeMissingError: A runtime is not installed.
        FormatError, ModelError, UnsupportedError, CaffeProcessError: A model cannot be read or run.
    """
    _check(command, other, exit_code, text, inputs, input_shapes, max_runs)
    options = read_options or ReadOptions()
    with ExitStack() as stack:
        models = [
            stack.enter_context(in_files(open_model(item, None, read_options)))
            for item in (model, other)
            if item is not None
        ]
        given = given_inputs(inputs, models[0], read_options)
        shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
        if given is not None:
            shapes = {name: tuple(array.shape) for name, array in given.items()}
        question: Question
        if command is None:
            runtimes = _chosen(models, runtimes, shapes, process)
            question = Difference(runtimes, rtol, atol, process, options)
            recording = list(runtimes[: 3 - len(models)])
        else:
            question = Command(command, exit_code, text, timeout)
            own = [name for name, item in RUNTIMES.items() if models[0].format.name in item.own_of]
            recording = [DEFAULT, *own]
        pieces = Pieces([cuttable(item, shapes) for item in models])
        source = f"random numbers of seed {seed}" if inputs is None else inputs_in_words(inputs)
        feeds = made_up_inputs(pieces.models[0], shapes, seed) if given is None else given
        _check_names(feeds, pieces.models[0])
        stack.enter_context(question)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nuqconv-")))
        reduction = _Reduction(models, pieces, question, recording, feeds, folder, max_runs, on_attempt, stack)
        return reduction.run().result(reduction, source, tool)


def _check(
    command: str | None,
    other: Model | None,
    exit_code: int | None,
    text: str | None,
    inputs: object,
    input_shapes: object,
    max_runs: int,
) -> None:
    if command is not None and other is not None:
        raise ConfigError("a command is asked of one model; two models are given")
    if command is None and not (exit_code is None and text is None):
        raise ConfigError("exit_code and text say how a command fails; there is no command")
    if inputs is not None and input_shapes:
        raise ConfigError("input_shapes are for random inputs; given inputs have their own")
    if max_runs < 1:
        raise ConfigError(f"max_runs is {max_runs}; it must be at least 1")


def _check_names(feeds: Mapping[str, Array], model: Cuttable) -> None:
    keys = [model.key(value) for value in model.inputs]
    problems = [f"input '{name}' is missing" for name in keys if name not in feeds]
    problems += [f"'{name}' is no input" for name in feeds if name not in keys]
    if problems:
        raise ModelError(f"the inputs do not fit; the model needs {', '.join(keys) or 'none'}", problems)


def _chosen(
    models: Sequence[ModelFiles],
    runtimes: tuple[str, str],
    shapes: Mapping[str, Shape],
    process: CaffeProcess | None,
) -> tuple[str, str]:
    """Returns the runtimes that "auto" stands for with the whole models: a part might have others."""
    one, two = runtimes
    if one == AUTO:
        one = best_runtime(models[0], shapes, process)
        if len(models) == 1 and one == DEFAULT and two in (AUTO, DEFAULT):
            # Why there is nothing to compare with, `compare` says.
            return runtimes
    if two == AUTO and len(models) == 1:
        two = DEFAULT
    elif two == AUTO:
        two = one if models[0].format is models[1].format else best_runtime(models[1], shapes, process)
    return one, two


@dataclass
class _Found:
    """A part that shows it."""

    cut: Cut
    files: PartFiles
    answer: Answer
    folder: Path

    def result(self, reduction: _Reduction, source: str, tool: str) -> Reduced:
        first = reduction.pieces.models[0]
        paths = [path for model in self.files.models for path in model]
        makers = {
            key: first.steps[first.maker[value]].name
            for key, value in self.files.values.items()
            if value in first.maker
        }
        begins = self.answer.first
        return Reduced(
            layers=tuple((step.name, step.kind) for step in self.cut.layers),
            total=len(first.layers()),
            files={path.name: path.read_bytes() for path in paths},
            inputs=dict(self.files.inputs),
            made_by=makers,
            attempts=tuple(reduction.attempts),
            seen=reduction.words(self),
            place="" if begins is None else f"layer '{begins.layer}' ({begins.layer_type})",
            causes=() if begins is None else begins.causes,
            command=reduction.question.how([[path.name for path in model] for model in self.files.models], tool),
            versions=reduction.versions(),
            source=source,
        )


class _Reduction:
    def __init__(
        self,
        sources: Sequence[ModelFiles],
        pieces: Pieces,
        question: Question,
        recording: Sequence[str],
        feeds: Mapping[str, Array],
        folder: Path,
        max_runs: int,
        on_attempt: Callable[[Attempt], None] | None,
        stack: ExitStack,
    ) -> None:
        self.sources, self.pieces, self.question = sources, pieces, question
        self.attempts: list[Attempt] = []
        self._recording = recording
        self._feeds = feeds
        self._folder = folder
        self._max_runs = max_runs
        self._on_attempt = on_attempt
        self._stack = stack
        self._best: _Found | None = None

    def run(self) -> _Found:
        answer = self._whole_as_given()
        base = self._one_sample(answer)
        first = self.pieces.models[0]
        if base is None:
            self._recorder = self._stack.enter_context(Recorder(self.sources[0], self._recording, self._feeds))
            values = {first.key(value): value for value in first.inputs}
            self._inputs = {values[key]: array for key, array in self._feeds.items()}
        else:
            opened = open_model(base.files.models[0])
            self._recorder = self._stack.enter_context(Recorder(opened, self._recording, base.files.inputs))
            self._inputs = {value: base.files.inputs[key] for key, value in base.files.values.items()}
            answer = base.answer
        self._best = None
        suspect = self.pieces.element(answer.blob) if answer.blob else None
        smallest_part(len(self.pieces), self._test, self.pieces.needs(), () if suspect is None else (suspect,))
        found = self._best or base
        if found is None:
            raise NothingToReduceError(
                f"no part of the model shows it: {answer.words}; {len(self.attempts)} runs. It may lie in how the whole is built or in its files"
            )
        return self._fewer_samples(found)

    def words(self, found: _Found) -> str:
        """Says what was seen, without the places of files that are gone."""
        if not isinstance(self.question, Difference):
            return found.answer.words
        one, two = self.question.runtimes
        first = found.answer.first
        values = (
            "" if first is None or first.values is None else f": {first.values[0]:.7g} against {first.values[1]:.7g}"
        )
        sides = f"{one} and {two}" if len(self.sources) == 1 else f"model in {one} and other in {two}"
        blob = f" in blob '{found.answer.blob}'" if found.answer.blob else ""
        return f"{sides} differ{blob}{values}"

    def versions(self) -> dict[str, str]:
        """Returns the versions of what took part."""
        found = {"nuqconv": metadata.version("nuqconv"), "Python": platform.python_version(), "numpy": np.__version__}
        if isinstance(self.question, Difference):
            for name in dict.fromkeys(self.question.runtimes):
                # Where it is on this machine is nobody's business.
                found[name] = RUNTIMES[name].version().partition(" (")[0]
        return found

    def _whole_as_given(self) -> Answer:
        answer = self.question.ask(self.sources, self._feeds, self._folder)
        self._tell(len(self.pieces.models[0].layers()), samples_of(self._feeds), answer.fails, answer.words)
        if not answer.fails:
            raise NothingToReduceError(f"there is nothing to reduce: {answer.words}")
        return answer

    def _one_sample(self, answer: Answer) -> _Found | None:
        """Tries the whole with one sample, on which all that follows is faster."""
        count = samples_of(self._feeds)
        if count is None or count == 1:
            return None
        number = _sample(answer, count)
        first = self.pieces.models[0]
        values = {first.key(value): value for value in first.inputs}
        fed = {values[key]: array[number : number + 1] for key, array in self._feeds.items() if key in values}
        self._look(self.pieces.whole(), fed)
        return self._best

    def _test(self, part: Part) -> bool | None:
        cut = self.pieces.cut(part)
        makers = self.pieces.models[0].maker
        made = self._recorder.values([value for value in cut.fed if value not in self._inputs])
        if made is None or any(value not in makers and value not in self._inputs for value in cut.fed):
            _LOG.info("a part of %d layers cannot be fed: a value on its way cannot be recorded", cut.size)
            return False
        return self._look(cut, {value: {**self._inputs, **made}[value] for value in cut.fed})

    def _look(self, cut: Cut, fed: Mapping[str, Array]) -> bool | None:
        """Writes a part and asks; returns whether it shows it, or None if there may be no further run."""
        if len(self.attempts) >= self._max_runs:
            return None
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        files, answer = None, None
        try:
            files = self.pieces.write(cut, fed, folder)
            answer = self.question.ask([open_model(paths) for paths in files.models], files.inputs, folder)
            words = answer.words
        except NuqconvError as error:
            words = f"cannot be {'written' if files is None else 'run'}: {in_one_line(error)}"
        except Exception as error:  # noqa: BLE001
            # A runtime of the user's can raise anything over a part that means nothing.
            words = f"cannot be run: {type(error).__name__}: {in_one_line(error)}"
        fails = None if answer is None else answer.fails
        words = words.replace(f"{folder}/", "")
        self._tell(cut.size, samples_of(fed), fails, words)
        if files is None or answer is None or not answer.fails or not self._is_better(cut, fed):
            shutil.rmtree(folder)
            return bool(fails)
        if self._best is not None:
            shutil.rmtree(self._best.folder, ignore_errors=True)
        self._best = _Found(cut, files, answer, folder)
        return True

    def _is_better(self, cut: Cut, fed: Mapping[str, Array]) -> bool:
        if self._best is None:
            return True
        best = self._best
        sizes = [sum(array.size for array in arrays.values()) for arrays in (fed, best.files.inputs)]
        return (cut.size, sizes[0]) < (best.cut.size, sizes[1])

    def _fewer_samples(self, found: _Found) -> _Found:
        """Leaves out samples of the inputs of the smallest part."""
        self._best = found
        values = {value: found.files.inputs[key] for key, value in found.files.values.items()}
        count = samples_of(values)
        if count is None or count == 1:
            return found

        def fails(samples: Part) -> bool:
            fed = {value: np.ascontiguousarray(array[list(samples)]) for value, array in values.items()}
            return bool(self._look(found.cut, fed))

        if not fails((_sample(found.answer, count),)):
            without_pieces(tuple(range(count)), fails)
        return self._best

    def _tell(self, layers: int, samples: int | None, fails: bool | None, words: str) -> None:
        attempt = Attempt(len(self.attempts) + 1, layers, samples, fails, words)
        self.attempts.append(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)


def _sample(answer: Answer, count: int) -> int:
    """Returns the sample with the largest difference, where that is known."""
    index = None if answer.first is None else answer.first.index
    return index[0] if index and index[0] < count else 0
