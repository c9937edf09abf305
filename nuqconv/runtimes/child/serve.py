"""The child's side of a `ChildProcess`: one file that needs the standard library only and runs on Python 3.6 and later.

It is started by path, as ``python serve.py LIFELINE_FD SERVER [MEMORY_LIMIT]``, and answers one request after another on the pipes that it
finds as file descriptors 0 and 1. SERVER is a Python file; its ``start`` returns an object with ``numpy``, the names of its ``OPERATIONS``,
and a method for each: it takes the header and the arrays of a request and returns those of the answer. A frame, in both directions, is::

    b"NQC1"  uint32 little-endian: length of the header  header: JSON, UTF-8  bytes of the arrays, one after another

``header["arrays"]`` lists ``[name, shape]`` of each array, which is little-endian float32, or ``[name, shape, dtype]``. All are C-ordered.
A request has ``op`` and that operation's fields. An answer has ``ok``; when it is false, ``error``, ``message`` and ``traceback`` say which
Python exception was raised.
"""

import fcntl
import importlib.util
import json
import os
import resource
import struct
import sys
import traceback
from typing import Any, Dict, List, NamedTuple, Tuple

MAGIC = b"NQC1"
FLOAT = "<f4"
Header = Dict[str, Any]
Arrays = List[Tuple[str, Any]]


class Channel(NamedTuple):
    """The two protocol descriptors, moved out of the way of everything else in the process."""

    read_fd: int
    write_fd: int

    def read_exactly(self, count: int) -> bytearray:
        """Read ``count`` bytes; end of file means that the parent is gone, and so this process ends."""
        buffer = bytearray(count)
        view = memoryview(buffer)
        while view:
            got = os.readv(self.read_fd, [view])
            if not got:
                os._exit(0)
            view = view[got:]
        return buffer

    def receive(self, numpy: Any) -> Tuple[Header, Arrays]:
        """Read one frame."""
        head = self.read_exactly(8)
        if bytes(head[:4]) != MAGIC:
            raise RuntimeError("the request does not start with %r but with %r" % (MAGIC, bytes(head[:4])))
        header = json.loads(self.read_exactly(struct.unpack("<I", bytes(head[4:]))[0]).decode("utf-8"))
        arrays = []
        for name, shape, *given in header["arrays"]:
            dtype = numpy.dtype(given[0] if given else FLOAT)
            size = dtype.itemsize
            for dimension in shape:
                size *= dimension
            arrays.append((name, numpy.frombuffer(self.read_exactly(size), dtype).reshape(shape)))
        return header, arrays

    def send(self, header: Header, arrays: Arrays) -> None:
        """Write one frame."""
        announced = [
            [name, list(array.shape)] + [array.dtype.str] * (array.dtype.str != FLOAT) for name, array in arrays
        ]
        header = dict(header, arrays=announced)
        text = json.dumps(header).encode("utf-8")
        self.write_all(memoryview(MAGIC + struct.pack("<I", len(text)) + text))
        for _name, array in arrays:
            if array.size:
                self.write_all(memoryview(array.reshape(-1).view("u1")))

    def write_all(self, view: memoryview) -> None:
        """Write all bytes of ``view``."""
        try:
            while view:
                view = view[os.write(self.write_fd, view) :]
        except BrokenPipeError:
            os._exit(0)


def take_over_channel(lifeline_fd: int) -> Channel:
    """Move the protocol away from fds 0 and 1, so that prints of Caffe or of user layers go to stderr and reads find nothing."""
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # A crash is reported in words; nobody asked for a core file of the size of a net.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Nothing is ever written to the lifeline. When the parent dies its end closes and the kernel sends SIGIO, whose default action
    # ends this process even in the middle of a long forward pass, where no Python code of ours would get to run.
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | fcntl.FASYNC)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    # The folder of this file holds modules whose names could hide those of the server or of a user's Python layers.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != here]
    return channel


def failure(error: BaseException) -> Header:
    """Describe an exception for the parent."""
    return {
        "ok": False,
        "error": type(error).__name__,
        "message": str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error),
        "traceback": traceback.format_exc(),
    }


def limit_memory(limit: int) -> None:
    """Let the process have so many bytes of its own; files that are mapped and code do not count, where the system tells them apart."""
    kind = resource.RLIMIT_DATA if sys.platform.startswith("linux") else resource.RLIMIT_AS
    resource.setrlimit(kind, (limit, limit))


def load(path: str) -> Any:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location("nuqconv_server", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    channel = take_over_channel(int(sys.argv[1]))
    try:
        if len(sys.argv) > 3:
            limit_memory(int(sys.argv[3]))
        # Only now: the prints of what it imports cannot reach the protocol any more.
        server = load(sys.argv[2]).start()
    except BaseException as error:
        channel.send(failure(error), [])
        sys.exit(1)
    channel.send({"ok": True}, [])
    while True:
        header, arrays = channel.receive(server.numpy)
        try:
            if header["op"] not in server.OPERATIONS:
                raise ValueError("unknown operation %r" % header["op"])
            answer, results = getattr(server, header["op"])(header, arrays)
        # Also SystemExit: a Python layer that calls sys.exit() is a failure of that request, not the end of the process.
        except BaseException as error:
            channel.send(failure(error), [])
        else:
            channel.send(dict(answer, ok=True), results)
            del answer, results
        del header, arrays


if __name__ == "__main__":
    main()
