"""The server of the onnxruntime process, which harms itself as a file beside the model says: ``OPERATION HOW AFTER``, where AFTER counts calls."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from nuqconv.runtimes.onnxruntime import isolated_worker


class Server(isolated_worker.Server):
    def __init__(self, *modules):
        super().__init__(*modules)
        self.orders = Path(os.environ["NUQCONV_TEST_ORDERS"])

    def load(self, header, arrays):
        self.obey("load")
        return super().load(header, arrays)

    def run(self, header, arrays):
        self.obey("run")
        answer = super().run(header, arrays)
        self.obey("ran")
        return answer

    def obey(self, operation):
        text = self.orders.read_text() if self.orders.exists() else ""
        if not text:
            return
        wanted, how, after, times = text.split()
        if wanted != operation:
            return
        if int(after) > 0:
            self.orders.write_text(f"{wanted} {how} {int(after) - 1} {times}")
            return
        # Each order is carried out so many times, in whichever process.
        self.orders.write_text(f"{wanted} {how} 0 {int(times) - 1}" if int(times) > 1 else "")
        HOW[how]()


def kill(name):
    return lambda: os.kill(os.getpid(), getattr(signal, name))


def kill_soon(name):
    return lambda: threading.Timer(0.05, kill(name)).start()


def garbage():
    # The answer goes to the descriptor behind the standard ones and the lifeline.
    for descriptor in range(3, 20):
        try:
            if "pipe" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                os.write(descriptor, b"this is no frame, but a print of somebody's library\n")
        except OSError:
            continue


def eat_memory():
    kept = []
    while True:
        kept.append(bytearray(64 << 20))


def abort_in_native_code():
    sys.stderr.write("terminate called after throwing an instance of 'std::runtime_error'\n")
    sys.stderr.flush()
    ctypes.CDLL(None).abort()


def segfault_in_native_code():
    ctypes.string_at(8)


HOW = {
    **{name: kill(name) for name in ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGSTOP")},
    **{f"{name}-soon": kill_soon(name) for name in ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGSTOP")},
    "garbage": garbage,
    "memory": eat_memory,
    "abort": abort_in_native_code,
    "segfault": segfault_in_native_code,
    "hang": lambda: time.sleep(600),
    "exit": lambda: os._exit(3),
}


def start():
    server = isolated_worker.start()
    return Server(server.numpy, server.onnxruntime)
