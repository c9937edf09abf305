"""The sides of a comparison: models, each in a runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from nuqconv.errors import (
    CaffeProcessError,
    ConfigError,
    ModelError,
    RuntimeMissingError,
    UnsupportedError,
)
from nuqconv.formats import CAFFE, ONNX, ModelFiles, ReadOptions, open_model
from nuqconv.formats.table import format_of
from nuqconv.frontends.options import AS_THEY_ARE
from nuqconv.ir import Graph
from nuqconv.ir.ops import Shape
from nuqconv.runtimes.base import Runtime
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import AUTO, DEFAULT, RUNTIMES

__all__ = ["CANNOT_RUN", "Failed", "Model", "Placed", "Sides", "best_runtime", "runnable"]

StrPath = str | os.PathLike[str]
Model = tuple[StrPath, StrPath] | StrPath | Graph | ModelProto | ModelFiles
"""A Caffe model as (.prototxt, .caffemodel), the path of an .onnx file, a graph, an ONNX model, or what was opened before."""

CANNOT_RUN = (CaffeProcessError, ModelError, UnsupportedError)
"""What a runtime raises that cannot run a model; of several runtimes the others are compared all the same."""


@dataclass(frozen=True)
class Placed:
    """A model in a runtime.

    Attributes:
        side: Both together, as it is asked for blobs.
        runtime: The runtime; None where results come from a file.
        model: The model, likewise.
        name: The runtime's name.
    """

    side: Side
    runtime: Runtime | None
    model: Runnable | None
    name: str


@dataclass(frozen=True)
class Failed:
    """A model that does not run in a runtime.

    Attributes:
        label: What was to run where.
        name: The runtime's name.
        why: What it said.
    """

    label: str
    name: str
    why: str


class Sides:
    """Makes all sides; what they start ends with the stack.

    Args:
        stack: Ends what is started.
        process: A process of real Caffe to use.
        shapes: Shapes of inputs, where they are not the model's.
        options: How files are read.
    """

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
        self.notes: list[str] = []
        # Runtimes that have something running for several sides.
        self.shared: dict[str, Runtime] = {} if process is None else {Caffe.name: Caffe(process)}

    def make(self, a: Model, b: Model | None, runtimes: Sequence[str]) -> tuple[Placed, list[Placed | Failed]]:
        """Returns the reference, which is the first model in the first runtime, and the other sides.

        Raises:
            ConfigError, RuntimeMissingError: Models and runtimes do not go together, or a runtime is not there.
            FormatError, ModelError, UnsupportedError, CaffeProcessError: The reference cannot be run, or the only other side.
        """
        names = self._checked(runtimes)
        names += [AUTO] * (2 - len(names))
        first = self.model(a)
        second = first if b is None else self.model(b)
        single = b is None
        if single and first.format != "caffe" and set(names) <= {AUTO, DEFAULT}:
            raise ConfigError(
                "a single model must be a Caffe model (.prototxt and .caffemodel), to run in two runtimes; "
                f"{first.label} runs in {DEFAULT} only, unless another one is chosen"
            )
        if names[0] == AUTO:
            names[0], note = self.best(first, needs_own=single and set(names[1:]) <= {AUTO, DEFAULT})
            self.notes += [note] if note else []
        names[1:] = [self._other(name, names[0], first, second, single=single) for name in names[1:]]
        ours = names if single else names[1:]
        again = [name for place, name in enumerate(ours) if name in ours[:place]]
        if again:
            raise ConfigError(f"one model in one runtime ({again[0]}) is compared with itself; choose another runtime")
        self.notes[:0] = dict.fromkeys((*first.notes, *second.notes))
        one = self.placed(first, names[0])
        if len(names) == 2:
            return one, [self.placed(second, names[1])]
        return one, [self._placed_or_not(second, name) for name in names[1:]]

    def make_against(self, a: Model, b: Model | None, runtimes: Sequence[str], saved: str) -> list[Placed | Failed]:
        """Returns the sides that are held against results that were saved.

        Args:
            a: The first model.
            b: The second, or None; it runs in all runtimes but the first.
            runtimes: The runtimes.
            saved: The runtime in which the results were made.
        """
        names = self._checked(runtimes)
        if b is not None:
            names += [AUTO] * (2 - len(names))
        first = self.model(a)
        second = first if b is None else self.model(b)
        self.notes += dict.fromkeys((*first.notes, *second.notes))
        models = [first if place == 0 else second for place in range(len(names))]
        names = [
            (DEFAULT if saved != DEFAULT else self.best(model)[0]) if name == AUTO else name
            for name, model in zip(names, models, strict=True)
        ]
        if len(names) == 1:
            return [self.placed(first, names[0])]
        return [self._placed_or_not(model, name) for model, name in zip(models, names, strict=True)]

    @staticmethod
    def _checked(runtimes: Sequence[str]) -> list[str]:
        unknown = [name for name in runtimes if name not in (AUTO, *RUNTIMES)]
        if unknown:
            raise ConfigError(f"runtime {', '.join(map(repr, unknown))} is not known; known are {', '.join(RUNTIMES)}")
        return [*runtimes] or [AUTO]

    def _other(self, name: str, first_name: str, first: Runnable, second: Runnable, *, single: bool) -> str:
        if name != AUTO:
            return name
        if single:
            return DEFAULT
        return first_name if first.format == second.format else self.best(second)[0]

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

    def placed(self, model: Runnable, name: str) -> Placed:
        """Returns a model in a runtime.

        Raises:
            ConfigError: The runtime does not take models of this format.
            RuntimeMissingError: It is not there.
            FormatError, ModelError, UnsupportedError, CaffeProcessError: It cannot run the model.
        """
        runtime = self.shared.get(name) or RUNTIMES[name]
        if runtime.refusal(model):
            wanted = " or ".join(f"a {model.words[item]}" for item in sorted(runtime.takes))
            raise ConfigError(f"runtime '{name}' needs {wanted}; {model.label} runs in {DEFAULT}")
        if name not in self.shared and runtime.is_there():
            runtime = self.shared[name] = runtime.shared(self.stack)
        # onnxruntime takes an ONNX model as it is; whoever takes its graph needs the sizes that it leaves open.
        shaped = model if name == DEFAULT else model.with_shapes(self.shapes)
        return Placed(self.stack.enter_context(runtime.side(shaped)), runtime, shaped, name)

    def _placed_or_not(self, model: Runnable, name: str) -> Placed | Failed:
        try:
            return self.placed(model, name)
        except CANNOT_RUN as error:
            return Failed(f"{RUNTIMES[name].title}: {model.label}", name, str(error))

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


def runnable(model: ModelFiles, shapes: Mapping[str, Shape], stack: ExitStack) -> Runnable:
    """Returns a model as runtimes take it; a Caffe net for training is cut for inference.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        stack: Removes what is written for the run.
    """
    if model.format.runs_in_caffe and model.paths:
        return Runnable.cut_for_inference(model, shapes, stack)
    return Runnable.of(model)


def best_runtime(model: ModelFiles, shapes: Mapping[str, Shape], process: CaffeProcess | None = None) -> str:
    """Returns the name of the runtime that ``"auto"`` stands for: the format's own where that is there and has all layers, else onnxruntime.

    Args:
        model: The model.
        shapes: Shapes of its inputs, where they are not the file's.
        process: A living process of real Caffe to ask.
    """
    with ExitStack() as stack:
        sides = Sides(stack, process, shapes, None)
        return sides.best(sides.model(model))[0]
