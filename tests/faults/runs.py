"""Whole runs with one operation on files spoiled: what they start from, what they do, and what must be there afterwards.

Each run is a process of its own, forked from one that has imported everything. It works on a copy of what an earlier run has left, so that there
is an old set of files and a new one. All points of a run are the operations on files of Python (`Injector`) and of SQLite (`sqlite_points`).
"""

from __future__ import annotations

import json
import logging
import os
import resource
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import nuqconv
from nuqconv.cli import app
from nuqconv.errors import NuqconvError
from nuqconv.frontends.caffe import load_graph
from tests.faults.injector import Injector
from tests.faults.sqlite_calls import reachable, sqlite_points
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, OUTPUTS, batches
from tests.support.forks import forking

__all__ = ["RUNS", "Ended", "Run", "start"]

_PATIENCE = 600.0
_LARGE = (str(LENET_MODEL), str(LENET_WEIGHTS))
_VALID = Path(__file__).parents[1] / "corpus" / "valid"
# A search has the same operations on files whatever the net; of a small one it takes a fifth of the time.
_SMALL = (str(_VALID / "model.prototxt"), str(_VALID / "model.caffemodel"))
_JOURNAL = "net_trials.sqlite"


@dataclass(frozen=True)
class Run:
    """One kind of run.

    Attributes:
        before: Makes what is there before, in an empty folder: the old set.
        run: Makes the new set.
        files: The files that must be of one set.
        alone: Files that are written by themselves, before or after the set: each must be whole, and old or new.
        load: Loads the set; raises if it is not whole.
        leaves: What else is there after a run that ended well.
    """

    before: Callable[[Path], None]
    run: Callable[[Path], None]
    files: tuple[str, ...]
    load: Callable[[Path], None]
    alone: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        how: "done", "refused" (an error of this package), "failed" (any other), or "killed".
        message: The error's message.
        calls: The operations that were counted.
        fired: Whether one was spoiled.
        log: What was logged.
    """

    how: str
    message: str = ""
    calls: tuple[str, ...] = ()
    fired: bool = True
    log: str = ""


def start(
    run: Callable[[Path], None],
    folder: Path,
    number: int = 0,
    mode: str = "EIO",
    *,
    forever: bool = False,
    largest: int | None = None,
) -> Ended:
    """Does a run in a process of its own with the working directory outside of ``folder``.

    Args:
        run: What to do with the folder.
        folder: Operations below it count.
        number: Which operation to spoil, from 1; 0 spoils none.
        mode: How; see `Injector`.
        forever: Whether all operations from there on fail.
        largest: The size in bytes above which the system itself lets no file grow.
    """
    context = forking()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(run, folder, number, mode, forever, largest, there))
    process.start()
    there.close()
    try:
        if not here.poll(_PATIENCE):
            process.kill()
            raise RuntimeError(f"operation {number} with {mode}: the run does not end")
        try:
            how, message, calls, fired, log = here.recv()
        except EOFError:
            process.join(_PATIENCE)
            if process.exitcode != -9:
                raise RuntimeError(f"operation {number} with {mode}: ended with {process.exitcode}") from None
            return Ended("killed")
        process.join(_PATIENCE)
        return Ended(how, message, tuple(calls), fired, log)
    finally:
        here.close()


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _child(
    run: Callable[[Path], None],
    folder: Path,
    number: int,
    mode: str,
    forever: bool,
    largest: int | None,
    report: Connection,
) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    log = _Log()
    logging.getLogger("nuqconv").addHandler(log)
    how, message = "done", ""
    if largest is not None:
        # Python ignores the signal that comes with it, so that writes fail.
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with ExitStack() as stack:
        injector = stack.enter_context(Injector(folder, number, mode, forever=forever))
        if reachable():
            stack.enter_context(sqlite_points(injector))
        try:
            run(folder)
        except NuqconvError as error:
            how, message = "refused", str(error)
        except BaseException:  # noqa: BLE001  (reported to the test)
            how, message = "failed", traceback.format_exc()
        report.send((how, message, injector.calls, injector.fired, "\n".join(log.lines)))
        report.close()
        # Whatever ends only with the interpreter must not be needed.
        os._exit(0)


def _command(*arguments: object) -> None:
    """Calls the command line; its errors come as they are."""
    app([str(argument) for argument in arguments], standalone_mode=False)


def _evaluator(max_error: float) -> nuqconv.OnnxRuntimeEvaluator:
    return nuqconv.OnnxRuntimeEvaluator(_data(), metric="output_error", max_error=max_error, threads=1)


def _data() -> dict[str, Any]:
    return {"data": np.concatenate([batch["data"] for batch in batches()])}


def _auto(folder: Path, batch_num: int, max_error: float, **options: Any) -> None:
    """The whole job on a small net, with weights on the nearest levels."""
    config = folder.with_name(f"{folder.name}-config-{batch_num}.json")
    nuqconv.create_quant_config(config, *_SMALL, batch_num=batch_num)
    nuqconv.auto_nuq(
        *_SMALL,
        _evaluator(max_error),
        config,
        folder / "record.txt",
        folder / "net",
        weight_method=None,
        max_evaluations=3,
        progress=False,
        **options,
    )


def _auto_fresh(folder: Path) -> None:
    _auto(folder, 1, 0.05)


def _auto_restart(folder: Path) -> None:
    _auto(folder, 2, 0.5, on_mismatch="restart")


def _auto_command(folder: Path, max_error: float) -> None:
    npz = folder.with_name(f"{folder.name}-data.npz")
    np.savez(npz, **_data())
    config = folder.with_name(f"{folder.name}-config-1.json")
    nuqconv.create_quant_config(config, *_SMALL, batch_num=1)
    _command(
        "auto", *_SMALL, "--data", npz, "--metric", "output_error", "--max-error", max_error, "--config", config,
        "--save", folder / "net", "--record", folder / "record.txt", "--max-evaluations", 3, "--report", folder / "report.json",
    )  # fmt: skip


def _load_auto(folder: Path) -> None:
    for kind, weights in (("fake_quant_model", "fake_quant_weights"), ("deploy_model", "deploy_weights")):
        load_graph(folder / f"net_{kind}.prototxt", folder / f"net_{weights}.caffemodel")
    json.loads((folder / "net_quant.json").read_text())


def _nothing(folder: Path) -> None:
    del folder


def _onnx(folder: Path, opset: int) -> None:
    _command("convert", *_LARGE, folder / "net.onnx", "--opset", opset, "--json", folder / "summary.json")


def _caffe(folder: Path, size: int) -> None:
    _command("convert", *_LARGE, folder / "net.prototxt", "--input-shape", f"data:{size},1,28,28")


def _config(folder: Path, batches: int) -> None:
    _command("config", *_LARGE, "--output", folder / "config.json", "--batch-num", batches)


def _load_onnx(folder: Path) -> None:
    onnx.checker.check_model(onnx.load(folder / "net.onnx"), full_check=True)


def _load_caffe(folder: Path) -> None:
    load_graph(folder / "net.prototxt", folder / "net.caffemodel")


def _load_config(folder: Path) -> None:
    json.loads((folder / "config.json").read_text())


RUNS = {
    "auto": Run(_nothing, _auto_fresh, OUTPUTS, _load_auto, leaves=(_JOURNAL,)),
    "auto again": Run(
        partial(_auto_command, max_error=0.03),
        partial(_auto_command, max_error=0.5),
        OUTPUTS,
        _load_auto,
        alone=("report.json",),
        leaves=("report.json", _JOURNAL),
    ),
    "auto restart": Run(_auto_fresh, _auto_restart, OUTPUTS, _load_auto, leaves=(_JOURNAL, f"{_JOURNAL}.1")),
    "convert to ONNX": Run(
        partial(_onnx, opset=17),
        partial(_onnx, opset=18),
        ("net.onnx",),
        _load_onnx,
        ("summary.json",),
        ("summary.json",),
    ),
    "convert to Caffe": Run(
        partial(_caffe, size=2), partial(_caffe, size=3), ("net.caffemodel", "net.prototxt"), _load_caffe
    ),
    "config": Run(partial(_config, batches=2), partial(_config, batches=3), ("config.json",), _load_config),
    "config, new": Run(_nothing, partial(_config, batches=3), ("config.json",), _load_config),
}
"""What `make faults` spoils, by name."""
