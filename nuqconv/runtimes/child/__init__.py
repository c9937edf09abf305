"""Native code in a child process: whatever becomes of it there is an ordinary error here.

Frames of JSON and raw arrays go through pipes; nothing that comes back is unpickled. `ChildProcess` is the parent's side, ``serve.py`` the
child's, which runs a server such as ``nuqconv/runtimes/caffe/worker.py``.
"""

from __future__ import annotations

from nuqconv.runtimes.child.kind import ChildKind
from nuqconv.runtimes.child.process import DEFAULT_TIMEOUT, ChildProcess, Reply

__all__ = ["DEFAULT_TIMEOUT", "ChildKind", "ChildProcess", "Reply"]
