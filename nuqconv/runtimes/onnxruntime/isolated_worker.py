"""The server in the onnxruntime process; see ``nuqconv/runtimes/child/serve.py``. It needs numpy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Arrays = list[tuple[str, Any]]
Answer = tuple[dict[str, Any], Arrays]


class Server:
    """Holds the sessions and carries the operations out; each method named in ``OPERATIONS`` is one."""

    OPERATIONS = ("load", "run")

    def __init__(self, numpy: Any, onnxruntime: Any) -> None:
        self.numpy = numpy
        self.onnxruntime = onnxruntime
        self.sessions: dict[int, Any] = {}
        self.inputs: dict[int, dict[str, Any]] = {}
        self.loaded = 0

    def load(self, header: Mapping[str, Any], arrays: Arrays) -> Answer:
        """Make a session of the bytes of a model, and describe it."""
        self.forget(header)
        ((_, model),) = arrays
        options = self.onnxruntime.SessionOptions()
        options.log_severity_level = header["log_severity"]
        if header["threads"] is not None:
            options.intra_op_num_threads = header["threads"]
        session = self.onnxruntime.InferenceSession(
            model.tobytes(),
            options,
            providers=header["providers"],
            disabled_optimizers=header["disabled_optimizers"],
        )
        self.loaded += 1
        self.sessions[self.loaded], self.inputs[self.loaded] = session, {}
        return {
            "session": self.loaded,
            "providers": session.get_providers(),
            "inputs": [[item.name, item.type, list(item.shape)] for item in session.get_inputs()],
            "outputs": [[item.name, item.type, list(item.shape)] for item in session.get_outputs()],
        }, []

    def run(self, header: Mapping[str, Any], arrays: Arrays) -> Answer:
        """Run a session; the arrays are its inputs, and those that are missing stay as they were."""
        self.forget(header)
        session = self.sessions[header["session"]]
        inputs = self.inputs[header["session"]]
        inputs.update(arrays)
        found = session.run(header["outputs"], inputs)
        return {}, [
            (name, self.numpy.asarray(array, order="C")) for name, array in zip(header["outputs"], found, strict=True)
        ]

    def forget(self, header: Mapping[str, Any]) -> None:
        """Free the sessions that nobody has any more."""
        for session in header["forget"]:
            del self.sessions[session], self.inputs[session]


def start() -> Server:
    """Import onnxruntime and return what answers requests."""
    import numpy as np  # noqa: PLC0415  (after the memory limit is set)
    import onnxruntime  # noqa: PLC0415

    return Server(np, onnxruntime)
