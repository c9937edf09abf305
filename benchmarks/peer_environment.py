"""An environment of its own for the tools that nuqconv is measured next to, and runs of scripts in it.

They need torch and a Python that their wheels are made for, and none of that belongs beside nuqconv. torch is installed without what its builds
for CUDA need, so it must be one for processors.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["ENVIRONMENT", "MissingPeerError", "made_environment", "run_script"]

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".venv-peers"
_STAMP = ENVIRONMENT / "requirements.json"
_LOG = ENVIRONMENT / "last.log"
"""What the last child has said, also while it runs."""
_TORCH = ("torch==2.13.0",)
_NEEDED = (
    *(
        "numpy",
        "scipy",
        "scikit-learn",
        "pandas",
        "tqdm",
        "psutil",
        "PyYAML",
        "Jinja2",
        "jsonschema",
        "pybind11",
        "osqp",
    ),
    *("onnx", "onnx_ir>=0.1.16", "onnxscript>=0.4.0", "onnxruntime>=1.19", "bokeh>=3.3.0", "hvplot>=0.10.0"),
    *("filelock", "typing-extensions", "sympy", "networkx", "fsspec", "setuptools>=77", "pillow", "coremltools>=9"),
)
# What it needs is above, but for torch with CUDA, and onnx2torch, which what is used here does not import.
_WITHOUT_ITS_NEEDS = ("aimet-onnx==2.42.0",)
_CHECK = "import aimet_onnx, coremltools"


class MissingPeerError(Exception):
    """A tool cannot be had or has failed; the message says why in one line."""


def made_environment() -> Path:
    """Makes the environment unless it is there with the same requirements, and returns its interpreter.

    Raises:
        MissingPeerError: A package cannot be installed or imported.
    """
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = json.dumps([_TORCH, _NEEDED, _WITHOUT_ITS_NEEDS])
    if _STAMP.is_file() and _STAMP.read_text(encoding="utf-8") == wanted:
        return python
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    _run([*pip, "--no-deps", *_TORCH])
    _run([*pip, *_NEEDED])
    _run([*pip, "--no-deps", *_WITHOUT_ITS_NEEDS])
    _run([str(python), "-c", _CHECK])
    _STAMP.write_text(wanted, encoding="utf-8")
    return python


def run_script(name: str, *arguments: str) -> None:
    """Runs a script of this folder in the environment, with one thread for matrix products.

    Raises:
        MissingPeerError: The environment cannot be made, or the script failed.
    """
    _run([str(made_environment()), str(Path(__file__).with_name(name)), *arguments])


def _run(command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with _LOG.open("w", encoding="utf-8") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        said = [
            line.strip() for line in _LOG.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        print("\n".join(said[-40:]), file=sys.stderr, flush=True)
        raise MissingPeerError(f"exit code {done.returncode}: {said[-1][:200] if said else 'nothing was said'}")
