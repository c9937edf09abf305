"""The Caffe process is killed or stopped while it loads, computes or is in the middle of a transfer."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import CaffeProcessError, EvaluatorError
from nuqconv.evaluators import CaffeEvaluator
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.child.process import ChildProcess
from tests.support.auto import Job, batches, contents
from tests.support.leaks import nothing_left

from .runtime_nets import PYTHON_LAYER, PYTHON_NET, write

pytestmark = pytest.mark.caffe

SIGNALS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGSTOP")
TIMEOUT = 1.0
# Seconds for a layer whose products take much longer than the time after which the signal comes.
LARGE_NET = """
name: "large"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 64 dim: 512 dim: 512 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 512 kernel_size: 7 } }
"""
# One weight for each of 4 million inputs: 16 MB that go each way.
WIDE_NET = """
name: "wide"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 64 dim: 256 dim: 256 } } }
layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { scale: 2 } }
"""


def said(name: str) -> str:
    return f"gave no answer .* within {TIMEOUT:g} s and was killed" if name == "SIGSTOP" else f"was killed by {name}"


def signalling_net(folder: Path, moment: str, name: str) -> Path:
    """A net with a Python layer that sends its process a signal: when the net is built, or runs."""
    order = f"os.kill(os.getpid(), signal.{name})"
    text = PYTHON_LAYER.format(imports="import os, signal", body=order if moment == "forward" else "")
    if moment == "load":
        text = text.replace(
            "    def setup(self, bottom, top):\n        pass", f"    def setup(self, bottom, top):\n        {order}"
        )
    (folder / "user_layer.py").write_text(text)
    return write(folder, PYTHON_NET.format(module="user_layer", param=""))


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("moment", ["load", "forward"])
def test_inside_of_caffe(
    caffe_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str
) -> None:
    path = signalling_net(tmp_path, moment, name)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with CaffeProcess(caffe_python) as process:
            pids.add(process.pid)
            process.timeout = TIMEOUT
            begun = time.monotonic()
            with pytest.raises(CaffeProcessError, match=said(name)) as caught:
                Net(path, process=process, pythonpath=[tmp_path]).forward(data=np.zeros((1, 4)))
            assert time.monotonic() - begun < 3 * TIMEOUT
            assert str(caught.value).startswith(f"{path}: ")
            assert f"'{moment}'" in str(caught.value)
            assert caught.value.ended
        del process, caught


@pytest.mark.parametrize("name", SIGNALS)
def test_from_outside_in_the_middle_of_a_product(
    caffe_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write(tmp_path, LARGE_NET)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with Net(path, python=caffe_python) as net:
            pids.add(net.process.pid)
            net.process.timeout = TIMEOUT
            timer = threading.Timer(0.3, os.kill, [net.process.pid, getattr(signal, name)])
            timer.start()
            with pytest.raises(CaffeProcessError, match=said(name)):
                net.run({}, ["conv"])
            timer.join()
        del net, timer


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("way", ["to the child", "from the child"])
def test_in_the_middle_of_a_transfer(
    caffe_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    """The arrays do not fit into a pipe, so the other side waits in the middle of them."""
    path = write(tmp_path, WIDE_NET)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with Net(path, python=caffe_python) as net:
            pids.add(net.process.pid)
            net.process.timeout = TIMEOUT
            part = "_send" if way == "to the child" else "_receive"
            moved = getattr(ChildProcess, part)

            def interrupted(self: ChildProcess, view: memoryview, deadline: float) -> None:
                half = len(view) // 2
                if half > 100_000:
                    moved(self, view[:half], deadline)
                    os.kill(self.pid, getattr(signal, name))
                    view = view[half:]
                moved(self, view, deadline)

            monkeypatch.setattr(ChildProcess, part, interrupted)
            with pytest.raises(CaffeProcessError, match=said(name)):
                net.forward(data=np.ones((1, 64, 256, 256), np.float32))
        del net


@pytest.mark.usefixtures("caffe_python")
@pytest.mark.parametrize(("name", "workers"), [*((name, None) for name in SIGNALS), ("SIGKILL", 1), ("SIGSTOP", 1)])
def test_a_search_names_the_trial_or_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, workers: int | None
) -> None:
    """Here the search stops and can be gone on with; a worker does the trial again in a new child."""
    job = Job(tmp_path / "job")
    data = np.concatenate([batch["data"] for batch in batches()])
    flag = tmp_path / "killed"
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        evaluator = Harmed(
            {"data": data},
            metric="output_error",
            max_error=0.05,
            batch_size=4,
            flag=flag,
            how=name,
            pids=tmp_path / "pids",
        )
        with evaluator:
            if workers is None:
                with pytest.raises(EvaluatorError, match=rf"(?s)^trial 2 \(.*{said(name)}"):
                    job.run(evaluator, journal=True, max_evaluations=4)
                assert set(contents(job.out)) == {"net_trials.sqlite"}
            found = job.run(evaluator, journal=True, max_evaluations=4, workers=workers)
        pids.update(map(int, (tmp_path / "pids").read_text().split()))
        del evaluator
    assert len(found.trials) == 4
    assert found.metric <= 0.05
    assert len(set((tmp_path / "pids").read_text().split())) > 1


class Harmed(CaffeEvaluator):
    """Sends its child a signal at the third quantized model, once."""

    def __init__(self, *arguments: object, flag: Path, how: str, pids: Path, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.flag, self.how, self.pids = flag, how, pids

    def run(self, model_file, weights_file, batches):  # type: ignore[no-untyped-def]
        for number, outputs in enumerate(super().run(model_file, weights_file, batches)):
            (child,) = self._models._busy
            with self.pids.open("a") as file:
                file.write(f"{child.process.pid} ")
            if "fake_quant" in model_file and number == 0:
                with self.flag.open("a") as file:
                    file.write("x")
                if self.flag.stat().st_size == 2:
                    child.process.timeout = TIMEOUT
                    os.kill(child.process.pid, getattr(signal, self.how))
            yield outputs
