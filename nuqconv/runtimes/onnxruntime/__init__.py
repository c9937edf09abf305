"""onnxruntime, in this process or in a child process."""

from __future__ import annotations

from nuqconv.runtimes.onnxruntime.session import INEXACT_OPTIMIZERS, OnnxSession, SessionMaker

__all__ = ["INEXACT_OPTIMIZERS", "OnnxSession", "SessionMaker"]
