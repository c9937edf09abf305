"""The sides of a comparison: models, each in a runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from onnx import ModelProto

from nuqconv.errors import ConfigError, RuntimeMissingError
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

__all__ = ["Model", "Sides"]

StrPath = str | os.PathLike[str]
Model = tuple[StrPath, StrPath] | StrPath | Graph | ModelProto | ModelFiles
"""A Caffe model as (.prototxt, .caffemodel), the path of an .onnx file, a graph, an ONNX model, or what was opened before."""


class Sides:
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
        """Returns both sides.

        Raises:
            ConfigError, RuntimeMissingError: Models and runtimes do not go together, or a runtime is not there.
        """
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
        """Returns a model in a runtime."""
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
