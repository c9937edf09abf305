"""Makes ``import caffe`` mean this package."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from nuqconv.errors import ConfigError

__all__ = ["install", "run_as_program", "run_script"]

_MODULES = {
    "caffe": "",
    "caffe._caffe": "",
    "caffe.classifier": ".classifier",
    "caffe.coord_map": ".coord_map",
    "caffe.detector": ".detector",
    "caffe.draw": ".draw",
    "caffe.io": ".io",
    "caffe.net_spec": ".net_spec",
    "caffe.proto": ".proto",
    "caffe.proto.caffe_pb2": ".proto.caffe_pb2",
    "caffe.pycaffe": ".net",
}
_ON_PATH = str(Path(__file__).resolve().with_name("on_path"))


def install() -> None:
    """Makes ``import caffe``, and of its parts, mean this package: in this process, and in those that multiprocessing starts from it.

    Real Caffe that was imported before is no longer found under that name.
    """
    for name, part in _MODULES.items():
        sys.modules[name] = importlib.import_module(f"nuqconv.pycaffe{part}")
    # A process that is spawned gets this one's search path.
    if _ON_PATH not in sys.path:
        sys.path.insert(min(1, len(sys.path)), _ON_PATH)


def run_script(script: str | os.PathLike[str], args: Sequence[str] = ()) -> None:
    """Runs a script that was written for pycaffe, as ``python script.py args`` would.

    Args:
        script: The script.
        args: Its arguments.

    Raises:
        ConfigError: There is no such file.
    """
    path = os.fspath(script)
    if not Path(path).is_file():
        raise ConfigError(f"{path}: there is no such script")
    install()
    sys.argv[:] = [path, *args]
    # As Python does it: the script's own folder comes first.
    sys.path.insert(0, str(Path(path).resolve().parent))
    runpy.run_path(path, run_name="__main__")


def run_as_program(script: str | os.PathLike[str], args: Sequence[str] = ()) -> int:
    """Does what `run_script` does, and prints what the script raises as Python does.

    Returns:
        The exit code: 0, or 1 if the script raised something.
    """
    try:
        run_script(script, args)
    except Exception as error:  # noqa: BLE001 - whatever the script raises ends it
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != os.fspath(script):
            trace = trace.tb_next
        sys.excepthook(type(error), error, trace or error.__traceback__)
        return 1
    return 0
