"""The child process: crashes, timeouts, kills, and what is left afterwards."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import CaffeProcessError, RuntimeMissingError
from nuqconv.runtimes.caffe import CaffeProcess, Net
from tests.support.leaks import is_running, wait_until

from .runtime_nets import CONV_NET, open_descriptors, write, write_python_net

pytestmark = pytest.mark.caffe

DATA = np.zeros((1, 4))


def test_versions(caffe_python: str) -> None:
    with CaffeProcess(caffe_python) as process:
        assert process.versions.caffe
        assert {"Convolution", "InnerProduct", "Python"} <= set(process.versions.layer_types)
        assert Path(process.versions.caffe_file).name == "__init__.py"


def test_failed_check_brings_caffes_message(caffe_python: str, tmp_path: Path) -> None:
    path = write(tmp_path, CONV_NET)
    net = Net(path, python=caffe_python)
    net.blobs["data"].reshape(1, 5, 5, 6)
    with pytest.raises(
        CaffeProcessError, match=r"Check failed: .*Input size incompatible with convolution kernel"
    ) as caught:
        net.forward()
    assert str(path) in str(caught.value)
    assert "[base_conv_layer.cpp:" in str(caught.value)
    with pytest.raises(CaffeProcessError, match=r"net\.prototxt: the Caffe process is no longer there.*Check failed"):
        net.forward()
    with pytest.raises(CaffeProcessError, match="no longer there"):
        _ = net.blobs["data"].data
    net.close()


def test_unknown_layer_type(caffe_python: str, tmp_path: Path) -> None:
    path = write(tmp_path, 'layer { name: "x" type: "NoSuchType" top: "x" }')
    with pytest.raises(CaffeProcessError, match="Unknown layer type: NoSuchType"):
        Net(path, python=caffe_python)


def test_prototxt_that_does_not_parse(caffe_python: str, tmp_path: Path) -> None:
    path = write(tmp_path, 'name: "x"\nlayer { nonsense: 1 }\n')
    with pytest.raises(CaffeProcessError, match=r"2:17: Message type \"caffe.LayerParameter\" has no field named"):
        Net(path, python=caffe_python)


def test_weights_that_do_not_fit(caffe_python: str, tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[3] / "examples" / "lenet"
    text = (example / "deploy.prototxt").read_text().replace("num_output: 50", "num_output: 49")
    with pytest.raises(CaffeProcessError, match=r"lenet\.caffemodel: .*Cannot copy param 0 weights from layer 'conv2'"):
        Net(write(tmp_path, text), example / "lenet.caffemodel", python=caffe_python)


def test_crash_takes_all_nets_of_the_process(caffe_python: str, tmp_path: Path) -> None:
    with CaffeProcess(caffe_python) as process:
        first = Net(write(tmp_path, CONV_NET, "first.prototxt"), process=process)
        second = Net(write(tmp_path, CONV_NET, "second.prototxt"), process=process)
        first.blobs["data"].reshape(1, 1)
        with pytest.raises(CaffeProcessError):
            first.forward()
        assert not process.alive
        with pytest.raises(
            CaffeProcessError, match=r"second\.prototxt: the Caffe process is no longer there.*first\.prototxt"
        ):
            second.forward()
        second.close()


def test_close_of_a_net_whose_process_has_died(caffe_python: str, tmp_path: Path) -> None:
    with CaffeProcess(caffe_python) as process:
        net = Net(write(tmp_path, CONV_NET), process=process)
        os.kill(process.pid, signal.SIGKILL)
        net.close()
        assert not process.alive


def test_timeout_kills_the_group(caffe_python: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = "c = subprocess.Popen(['sleep', '100']); open(self.param_str, 'w').write('%d ' % c.pid); time.sleep(100)"
    path = write_python_net(tmp_path, body, imports="import subprocess, time", param=str(pids))
    with CaffeProcess(caffe_python, timeout=600) as process:
        net = Net(path, process=process, pythonpath=[tmp_path])
        process.timeout = 1.5
        began = time.monotonic()
        with pytest.raises(
            CaffeProcessError, match=r"net\.prototxt: .* no answer to 'forward' within 1\.5 s"
        ) as caught:
            net.forward(data=DATA)
        assert time.monotonic() - began < 60
        assert "raise `timeout`" in str(caught.value)
        assert wait_until(lambda: not is_running(process.pid))
        assert wait_until(lambda: not is_running(int(pids.read_text())))


def test_child_that_is_killed_from_outside(caffe_python: str, tmp_path: Path) -> None:
    path = write_python_net(tmp_path, "time.sleep(100)")
    with Net(path, python=caffe_python, pythonpath=[tmp_path]) as net:
        timer = threading.Timer(0.5, os.kill, [net.process.pid, signal.SIGKILL])
        timer.start()
        with pytest.raises(
            CaffeProcessError, match=r"ended in 'forward': the Caffe process was killed by SIGKILL \(from outside"
        ):
            net.forward(data=DATA)
        timer.join()


def test_child_that_is_killed_between_requests(caffe_python: str, tmp_path: Path) -> None:
    with Net(write(tmp_path, CONV_NET), python=caffe_python) as net:
        os.kill(net.process.pid, signal.SIGKILL)
        with pytest.raises(CaffeProcessError, match="was killed by SIGKILL"):
            net.forward(data=np.zeros((1000, 2, 50, 60)))


def test_exit_code_and_last_words(caffe_python: str, tmp_path: Path) -> None:
    path = write_python_net(tmp_path, "sys.stderr.write('last words\\n'); sys.stderr.flush(); os._exit(7)")
    with (
        Net(path, python=caffe_python, pythonpath=[tmp_path]) as net,
        pytest.raises(CaffeProcessError, match=r"(?s)exit code 7; the last it wrote to stderr:.*last words"),
    ):
        net.forward(data=DATA)


def test_much_stderr_neither_blocks_nor_grows(caffe_python: str, tmp_path: Path) -> None:
    path = write_python_net(tmp_path, "sys.stderr.write('x' * 1000000 + 'end'); sys.stderr.flush()")
    with Net(path, python=caffe_python, pythonpath=[tmp_path], timeout=600) as net:
        net.forward(data=DATA)
        net.forward(data=DATA)
        assert len(net.process.stderr_tail) <= 64 * 1024


def test_closed_stderr_does_not_spin(caffe_python: str, tmp_path: Path) -> None:
    path = write_python_net(tmp_path, "os.close(1); os.close(2); time.sleep(1)")
    with Net(path, python=caffe_python, pythonpath=[tmp_path]) as net:
        before = time.process_time()
        net.forward(data=DATA)
        assert time.process_time() - before < 0.5


def test_interrupt_ends_the_process(caffe_python: str, tmp_path: Path) -> None:
    path = write_python_net(tmp_path, "time.sleep(100)")
    with Net(path, python=caffe_python, pythonpath=[tmp_path]) as net:
        timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            net.forward(data=DATA)
        timer.join()
        assert not is_running(net.process.pid)
        with pytest.raises(CaffeProcessError, match="interrupted by KeyboardInterrupt"):
            net.forward(data=DATA)


def test_close_leaves_neither_process_nor_descriptor(caffe_python: str, tmp_path: Path) -> None:
    path = write(tmp_path, CONV_NET)
    gc.collect()
    before = open_descriptors()
    for _ in range(3):
        with Net(path, python=caffe_python) as net:
            pid = net.process.pid
            assert is_running(pid)
        assert not is_running(pid)
        net.close()
        with pytest.raises(CaffeProcessError, match="it was closed"):
            net.forward()
    with pytest.raises(RuntimeMissingError):
        CaffeProcess(tmp_path / "no_python")
    assert open_descriptors() == before


def test_forgotten_net_is_cleaned_up(caffe_python: str, tmp_path: Path) -> None:
    net = Net(write(tmp_path, CONV_NET), python=caffe_python)
    pid = net.process.pid
    del net
    gc.collect()
    assert wait_until(lambda: not is_running(pid))


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_child_ends_with_its_parent(caffe_python: str, tmp_path: Path, busy: bool) -> None:
    path = write_python_net(
        tmp_path, f"open(self.param_str, 'w').close(); time.sleep({100 if busy else 0})", param=str(tmp_path / "in")
    )
    code = (
        "import sys, numpy, time\n"
        "from nuqconv.runtimes.caffe import Net\n"
        f"net = Net({str(path)!r}, python={caffe_python!r}, pythonpath=[{str(tmp_path)!r}])\n"
        "print(net.process.pid, flush=True)\n"
        "net.forward(data=numpy.zeros((1, 4)))\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_until((tmp_path / "in").exists)
        assert is_running(pid)
        parent.kill()
    assert wait_until(lambda: not is_running(pid))


def test_two_threads_take_turns(caffe_python: str, tmp_path: Path) -> None:
    path = write(tmp_path, CONV_NET)
    wrong: list[float] = []
    with CaffeProcess(caffe_python) as process:
        nets = [Net(path, process=process) for _ in range(2)]

        def work(net: Net, value: float) -> None:
            net.set_params("conv", [np.full((3, 2, 3, 3), value), np.zeros(3)])
            for _ in range(50):
                found = net.forward(data=np.ones((1, 2, 5, 6)))["power"].max()
                if found != 2 * 18 * value + 1:
                    wrong.append(found)

        threads = [threading.Thread(target=work, args=(net, index + 1)) for index, net in enumerate(nets)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_interpreter_without_caffe(tmp_path: Path) -> None:
    (tmp_path / "caffe.py").write_text("raise ImportError('no caffe in this one')\n")
    with pytest.raises(RuntimeMissingError, match=r"cannot import Caffe and numpy: ImportError: no caffe in this one"):
        CaffeProcess(sys.executable, env={"PYTHONPATH": str(tmp_path)})


def test_program_that_speaks_another_protocol(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho hello, this is no python\n")
    program.chmod(0o755)
    with pytest.raises(CaffeProcessError, match="no frame of the protocol"):
        CaffeProcess(program)
