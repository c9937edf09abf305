"""Finds an interpreter that has real Caffe.

The places, in this order:

1. the environment variable ``NUQCONV_CAFFE_PYTHON``; where it is set, nothing else is tried;
2. the interpreter that runs this;
3. the project's own environment: ``.venv-caffe`` in the checkout, which ``make caffe`` creates. An installation that is no checkout has
   none and uses the first way.

Each is really run, and must import Caffe and numpy.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from nuqconv.errors import RuntimeMissingError
from nuqconv.runtimes.caffe.interpreters import CAFFE_REQUIREMENTS, CaffeInstall, probe_caffe

__all__ = ["PYTHON_VARIABLE", "CaffeInstall", "find_caffe", "project_environment", "require_caffe"]

PYTHON_VARIABLE = "NUQCONV_CAFFE_PYTHON"


def find_caffe() -> CaffeInstall | None:
    """Find an interpreter with Caffe; the answer is kept for the life of this process.

    Returns:
        What was found, or None if there is no Caffe.

    Raises:
        RuntimeMissingError: If ``NUQCONV_CAFFE_PYTHON`` is set and has no working Caffe.
    """
    explicit = os.environ.get(PYTHON_VARIABLE)
    found, tried = _search(explicit, os.environ.get("PYTHONPATH"), sys.executable, project_environment())
    if found is None and explicit:
        raise RuntimeMissingError(
            f"{PYTHON_VARIABLE} names an interpreter in which real Caffe does not work; correct it or unset it",
            [*tried, _how_to_get()],
        )
    return found


def require_caffe() -> CaffeInstall:
    """Find an interpreter with Caffe.

    Raises:
        RuntimeMissingError: If there is none; it lists what was tried, why that failed, and how to get Caffe.
    """
    found = find_caffe()
    if found is None:
        _, tried = _search(None, os.environ.get("PYTHONPATH"), sys.executable, project_environment())
        raise RuntimeMissingError("no Python interpreter with real Caffe was found", [*tried, _how_to_get()])
    return found


def project_environment() -> Path | None:
    """Returns the checkout's folder for Caffe's environment, whether or not it exists; None outside of a checkout."""
    root = Path(__file__).resolve().parents[3]
    return root / ".venv-caffe" if (root / "pyproject.toml").is_file() else None


def _how_to_get() -> str:
    pip = " ".join(f'"{requirement}"' for requirement in CAFFE_REQUIREMENTS)
    return (
        "to get it: run `make caffe` in a checkout of nuqconv, or make a virtual environment of CPython 3.6 to 3.9, "
        f"run `pip install {pip}` in it and name its interpreter in {PYTHON_VARIABLE}"
    )


@functools.cache
def _search(
    explicit: str | None, _python_path: str | None, executable: str, environment: Path | None
) -> tuple[CaffeInstall | None, tuple[str, ...]]:
    """Try one interpreter after another; the arguments are all that the result depends on."""
    if explicit:
        candidates = [(explicit, PYTHON_VARIABLE)]
    else:
        candidates = [(executable, "the current interpreter")]
        if environment is not None:
            candidates.append((str(environment / "bin" / "python"), "the project's environment"))
    tried: list[str] = []
    for python, source in candidates:
        found = probe_caffe(python, source)
        if isinstance(found, CaffeInstall):
            return found, tuple(tried)
        tried.append(f"{source}, {found}")
    return None, tuple(tried)
