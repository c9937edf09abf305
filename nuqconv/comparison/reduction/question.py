"""What a part has to show: two sides that differ, or a command that fails."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from nuqconv.comparison.compare import CompareOptions, compare
from nuqconv.comparison.report import Divergence
from nuqconv.comparison.tolerance import Tolerance
from nuqconv.errors import ConfigError
from nuqconv.formats import ModelFiles, ReadOptions
from nuqconv.ir import Array
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.caffe.runtime import Caffe
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["INPUTS", "Answer", "Command", "Difference", "Question"]

INPUTS = "inputs.npz"
_KEPT_OUTPUT = 1 << 20
_PLACE = re.compile(r"\{(model|weights|inputs)\}")


@dataclass(frozen=True)
class Answer:
    """What was seen with a model or a part of it.

    Attributes:
        fails: Whether it shows what is looked for.
        words: What was seen.
        first: Where two sides begin to differ and why, if that was looked at and is known.
        blob: The first blob that differs, or an empty text.
    """

    fails: bool
    words: str
    first: Divergence | None = None
    blob: str = ""


class Question(ABC):
    """Asked of every part; a context manager."""

    @abstractmethod
    def ask(self, models: Sequence[ModelFiles], inputs: Mapping[str, Array], folder: Path) -> Answer:
        """Looks at one or two models.

        Args:
            models: The models.
            inputs: Arrays for their inputs.
            folder: Where files may be put.

        Raises:
            NuqconvError: The models cannot be run.
        """

    @abstractmethod
    def how(self, models: Sequence[Sequence[str]], tool: str) -> str:
        """Returns the command line that shows the same.

        Args:
            models: Names of the files of each model.
            tool: How nuqconv is called.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Difference(Question):
    """Whether two sides differ.

    Args:
        runtimes: The runtime of each side.
        rtol: Relative tolerance, as in `compare`.
        atol: Absolute tolerance.
        process: A living process of real Caffe; by default one is started where it is needed.
        read_options: How the files of the whole models are read.
    """

    def __init__(
        self,
        runtimes: tuple[str, str],
        rtol: float,
        atol: float,
        process: CaffeProcess | None = None,
        read_options: ReadOptions | None = None,
    ) -> None:
        self.runtimes = runtimes
        self.tolerance = Tolerance(rtol, atol)
        self._given = process
        self._options = read_options
        self._own = ExitStack()
        self._process: CaffeProcess | None = None

    def ask(self, models: Sequence[ModelFiles], inputs: Mapping[str, Array], folder: Path) -> Answer:
        """Compares all common blobs."""
        del folder
        report = compare(
            *models,
            inputs=inputs,
            runtimes=self.runtimes,
            options=CompareOptions(tolerance=self.tolerance, read=self._options, all_roots=False),
            process=self._living(),
        )
        bad = sum(item.differs for item in report.blobs)
        within = f"rtol {self.tolerance.rtol:g}, atol {self.tolerance.atol:g}"
        words = f"{bad} of {len(report.blobs)} common blobs differ ({within})"
        blob = (
            next((item.name for item in report.blobs if item.differs), "")
            if report.first is None
            else report.first.blob
        )
        return Answer(bad > 0, words, report.first, blob)

    def how(self, models: Sequence[Sequence[str]], tool: str) -> str:
        """``nuqconv compare``."""
        runtimes = ["--runtime", ",".join(self.runtimes)]
        tolerances = ["--rtol", f"{self.tolerance.rtol:g}", "--atol", f"{self.tolerance.atol:g}"]
        options = self._options or ReadOptions()
        reading = [word for stage in sorted(options.stages) for word in ("--stage", stage)]
        reading += ["--level", str(options.level)] if options.level else []
        reading += ["--allow-unknown-fields"] if options.allow_unknown_fields else []
        reading += ["--exact-sizes"] if options.exact_sizes else []
        providers = getattr(RUNTIMES[DEFAULT], "providers", ())
        reading += ["--provider", ",".join(providers)] if providers else []
        files = [name for model in models for name in model]
        return f"{tool} {shlex.join(['compare', *files, '--data', INPUTS, *runtimes, *tolerances, *reading])}"

    def close(self) -> None:
        """Ends the process of real Caffe, if it was started here."""
        self._own.close()

    def _living(self) -> CaffeProcess | None:
        """Returns one process for all parts; a part can have ended the last one."""
        if Caffe.name not in self.runtimes:
            return None
        if self._given is not None and self._given.alive:
            return self._given
        if self._process is None or not self._process.alive:
            self._own.close()
            self._process = self._own.enter_context(CaffeProcess())
        return self._process


class Command(Question):
    """Whether a command ends as it did with the whole model.

    Args:
        line: The command; ``{model}``, ``{weights}`` and ``{inputs}`` in it stand for the files of a part.
        code: The exit code that is looked for; None takes any but 0 at the first time, and the same one from then on.
        text: A text that must be in what the command prints, if given.
        timeout: Seconds after which a command is ended; it does not count as failing then.

    Raises:
        ConfigError: The command is none, or names no file of the model.
    """

    def __init__(self, line: str, code: int | None = None, text: str | None = None, timeout: float = 600.0) -> None:
        try:
            self.words = shlex.split(line)
        except ValueError as error:
            raise ConfigError(f"the command '{line}' cannot be split into words: {error}") from error
        if not any("{model}" in word for word in self.words):
            raise ConfigError(
                f"the command '{line}' does not say where the model goes: write {{model}} for the .prototxt or .onnx file, {{weights}} for "
                "the .caffemodel and {inputs} for the .npz with the inputs"
            )
        self.code, self.text, self.timeout = code, text, timeout

    def ask(self, models: Sequence[ModelFiles], inputs: Mapping[str, Array], folder: Path) -> Answer:
        """Runs the command."""
        (model,) = models
        given = folder / INPUTS
        np.savez(given, **inputs)  # type: ignore[arg-type]
        code, output = self._run(self._filled([str(path.absolute()) for path in model.paths], str(given.absolute())))
        if code is None:
            return Answer(False, f"the command ran for more than {self.timeout:g} seconds")
        if self.code is None:
            if code == 0 and self.text is None:
                return Answer(False, "the command succeeds (exit code 0)")
            self.code = code
        there = self.text is None or self.text.encode() in output
        words = f"the command ends with exit code {code}"
        words += "" if self.text is None else f", its output has {'' if there else 'not '}'{self.text}'"
        return Answer(code == self.code and there, words)

    def how(self, models: Sequence[Sequence[str]], tool: str) -> str:
        """The command."""
        del tool
        return shlex.join(self._filled(models[0], INPUTS))

    def _filled(self, files: Sequence[str], inputs: str) -> list[str]:
        places = {"model": files[0], "weights": files[-1], "inputs": inputs}
        return [_PLACE.sub(lambda found: places[found[1]], word) for word in self.words]

    def _run(self, words: Sequence[str]) -> tuple[int | None, bytes]:
        """Runs the command in a group of its own, so that nothing that it has started is left."""
        with TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                raise ConfigError(f"the command cannot be started: {words[0]}: {error.strerror or error}") from error
            try:
                code: int | None = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - _KEPT_OUTPUT))
            return code, output.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
