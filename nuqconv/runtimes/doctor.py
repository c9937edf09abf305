"""Which runtimes are there, and how to get the missing ones."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from nuqconv.backends.onnx.opset import newest_opset
from nuqconv.errors import NuqconvError
from nuqconv.runtimes.caffe import find_caffe

__all__ = ["Check", "checks"]


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        ok: Whether it works.
        required: Whether nuqconv cannot do its main job without it.
        found: What was found.
        remedy: How to get it, or an empty text.
    """

    name: str
    ok: bool
    required: bool
    found: str
    remedy: str = ""


def checks() -> tuple[Check, ...]:
    """Looks at every runtime; each is really started, none raises."""
    return tuple(look() for look in (_python, _onnxruntime, _caffe, _opencv))


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "Python",
        sys.version_info >= (3, 10),
        True,
        f"{version} ({sys.executable})",
        "nuqconv needs Python 3.10 or later",
    )


def _onnxruntime() -> Check:
    def look() -> str:
        onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
        return f"{runtime.__version__}, onnx {onnx.__version__}, runs opset {newest_opset()}"

    return _tried("onnxruntime", look, required=True, remedy="pip install --upgrade onnx onnxruntime")


def _caffe() -> Check:
    remedy = (
        "needed only to evaluate in real Caffe. `make caffe` in a checkout builds an environment with it (a Python 3.6 to 3.9 must be there), or set "
        "NUQCONV_CAFFE_PYTHON to an interpreter that can import caffe"
    )

    def look() -> str:
        found = find_caffe()
        if found is None:
            raise NuqconvError("not found")
        return f"{found.caffe_version}, Python {found.python_version} ({found.python})"

    return _tried("real Caffe", look, required=False, remedy=remedy)


def _opencv() -> Check:
    def look() -> str:
        cv2 = importlib.import_module("cv2")
        # OpenCV 5 has no importer for Caffe any more.
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            raise NuqconvError(f"{cv2.__version__}, which cannot read Caffe models")
        return str(cv2.__version__)

    remedy = "optional second oracle for Caffe models: pip install opencv-python-headless==4.10.0.84"
    return _tried("OpenCV", look, required=False, remedy=remedy)


def _tried(name: str, look: Callable[[], str], *, required: bool, remedy: str) -> Check:
    try:
        return Check(name, True, required, look())
    except Exception as error:  # noqa: BLE001
        # A broken native library can raise anything while it is imported; the doctor reports it.
        return Check(name, False, required, _told(error), remedy)


def _told(error: Exception) -> str:
    """Says in one line what was found."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    problems = error.problems if isinstance(error, NuqconvError) else ()
    return f"{first} ({problems[0]})" if problems else first
