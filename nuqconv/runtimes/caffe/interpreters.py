"""Looks at Python interpreters by running them: which has Caffe, and which can hold an environment for it.

Needs the standard library only and imports nothing of this package, so that ``tools/setup_caffe.py`` can load it by path before anything
is installed. Interpreters are run to see, because a version manager's shim may be on PATH and still refuse to start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "BUILD_VERSIONS",
    "CAFFE_REQUIREMENTS",
    "PROBE_TIMEOUT",
    "BuildPython",
    "CaffeInstall",
    "Refusal",
    "find_build_python",
    "probe_caffe",
]

CAFFE_REQUIREMENTS = ("kendryte-caffe==1.0.0.20210829", "numpy<2", "protobuf<3.21", "scikit-image<0.20")
BUILD_VERSIONS = ((3, 9), (3, 8), (3, 7), (3, 6))
PROBE_TIMEOUT = 60.0

_MARK = "nuqconv-probe:"
# Entries of sys.path that mean the working directory go first: a folder named "caffe" there is not Caffe.
_CAFFE_PROBE = f"""
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import json, numpy, caffe
caffe.Net
print("{_MARK}" + json.dumps({{
    "python_version": "%d.%d.%d" % sys.version_info[:3],
    "numpy_version": numpy.__version__,
    "caffe_version": getattr(caffe, "__version__", "unknown"),
    "caffe_file": caffe.__file__,
}}))
"""
_BUILD_PROBE = f"""
import sys, json, venv, ensurepip
print("{_MARK}" + json.dumps({{
    "version": sys.version_info[:3], "implementation": sys.implementation.name, "bits": sys.maxsize.bit_length() + 1,
}}))
"""


@dataclass(frozen=True)
class CaffeInstall:
    """An interpreter that has real Caffe.

    Attributes:
        python: Path of the interpreter.
        source: How it was found.
        python_version: Its version.
        numpy_version: Version of numpy in it.
        caffe_version: What Caffe calls itself.
        caffe_file: Where Caffe's Python package is.
    """

    python: str
    source: str
    python_version: str
    numpy_version: str
    caffe_version: str
    caffe_file: str


@dataclass(frozen=True)
class BuildPython:
    """An interpreter in which an environment with Caffe can be made."""

    python: str
    version: tuple[int, int, int]


@dataclass(frozen=True)
class Refusal:
    """Why an interpreter will not do."""

    python: str
    reason: str

    def __str__(self) -> str:
        return f"{self.python}: {self.reason}"


def probe_caffe(python: str, source: str, timeout: float = PROBE_TIMEOUT) -> CaffeInstall | Refusal:
    """Run an interpreter and let it import Caffe."""
    told = _run_probe(python, _CAFFE_PROBE, timeout)
    return told if isinstance(told, Refusal) else CaffeInstall(python=python, source=source, **told)


def find_build_python(
    versions: Sequence[tuple[int, int]] = BUILD_VERSIONS,
) -> tuple[BuildPython | None, list[Refusal]]:
    """Find a CPython with ``venv`` and ``pip``: on PATH, in pyenv or in uv.

    Args:
        versions: Those that will do, the best one first; by default the ones that have wheels of Caffe.

    Returns:
        The interpreter or None, and why the others that were looked at will not do.
    """
    refusals: list[Refusal] = []
    seen: set[str] = set()
    for wanted in versions:
        for python in _candidates(wanted):
            if python in seen:
                continue
            seen.add(python)
            found = _probe_build(python, wanted)
            if isinstance(found, BuildPython):
                return found, refusals
            refusals.append(found)
    return None, refusals


def _candidates(version: tuple[int, int]) -> list[str]:
    """Paths at which an interpreter of this version may be."""
    dotted = f"{version[0]}.{version[1]}"
    found = []
    # All folders of PATH: a shim that does not start may come before an interpreter that does.
    for folder in os.get_exec_path():
        python = shutil.which(f"python{dotted}", path=folder)
        if python is not None:
            found.append(python)
    versions = _pyenv_root() / "versions"
    if versions.is_dir():
        installed = sorted(versions.glob(f"{dotted}.*"), key=lambda folder: _patch_number(folder.name), reverse=True)
        found += [str(folder / "bin" / "python") for folder in installed]
    uv = shutil.which("uv")
    if uv is not None:
        told = _run([uv, "python", "find", "--no-python-downloads", dotted], PROBE_TIMEOUT)
        if isinstance(told, str) and told.strip():
            found.append(told.strip())
    return found


def _pyenv_root() -> Path:
    pyenv = shutil.which("pyenv")
    told = _run([pyenv, "root"], PROBE_TIMEOUT) if pyenv is not None and "PYENV_ROOT" not in os.environ else None
    if isinstance(told, str) and told.strip():
        return Path(told.strip())
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def _patch_number(name: str) -> int:
    last = name.rsplit(".", 1)[-1]
    return int(last) if last.isdigit() else -1


def _probe_build(python: str, wanted: tuple[int, int]) -> BuildPython | Refusal:
    told = _run_probe(python, _BUILD_PROBE, PROBE_TIMEOUT)
    if isinstance(told, Refusal):
        return told
    major, minor, micro = told["version"]
    if (major, minor) != wanted:
        return Refusal(python, f"is Python {major}.{minor}.{micro}, not {wanted[0]}.{wanted[1]}")
    if told["implementation"] != "cpython" or told["bits"] != 64:
        return Refusal(
            python, f"is a {told['bits']}-bit {told['implementation']}; Caffe's wheels are for 64-bit CPython"
        )
    return BuildPython(python, (major, minor, micro))


def _run_probe(python: str, code: str, timeout: float) -> dict[str, Any] | Refusal:
    """Run ``code``, which prints one marked line of JSON, and return that JSON."""
    told = _run([python, "-c", code], timeout)
    if isinstance(told, Refusal):
        return told
    for line in told.splitlines():
        if line.startswith(_MARK):
            answer: dict[str, Any] = json.loads(line[len(_MARK) :])
            return answer
    return Refusal(python, "ran, but is no Python: it printed no answer")


def _run(command: list[str], timeout: float) -> str | Refusal:
    """Run a command; return its stdout, or why there is none."""
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Refusal(command[0], f"gave no answer within {timeout:g} s")
    except OSError as error:
        return Refusal(command[0], f"cannot be started: {error.strerror or error}")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        # The last line of a traceback names the error; other programs say it first.
        reason = (said[-1] if said and said[0].startswith("Traceback") else said[0]) if said else "no message"
        return Refusal(command[0], f"failed with exit code {done.returncode}: {reason.strip()}")
    return done.stdout
