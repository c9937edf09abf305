"""The evaluator on its way to a worker process: pickled once here, unpickled once there.

This is the only place that unpickles anything, and only what this process, or the one that submitted the task, has pickled itself.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nuqconv.errors import EvaluatorError

__all__ = ["Parcel", "pack", "unpack"]

_REMEDY = (
    "Let __getstate__ leave such things out and eval_model make them again when they are missing, "
    "or evaluate in threads: executor=ThreadPoolExecutor(n)"
)


@dataclass(frozen=True)
class Parcel:
    """A pickled evaluator.

    Attributes:
        digest: SHA-256 of the bytes in hexadecimal, by which workers know it again.
        content: The bytes, or the file that holds them where the worker sees the same files.
    """

    digest: str
    content: bytes | Path


def pack(evaluator: object) -> tuple[str, bytes]:
    """Returns an evaluator's digest and its pickled bytes.

    cloudpickle is used where it is installed: it also takes classes of scripts and notebooks, functions within functions and lambdas.

    Raises:
        EvaluatorError: It cannot be pickled; the message names the attributes that are to blame, where it is an attribute.
    """
    dumps, by_value = _dumps()
    try:
        data = dumps(evaluator)
    except Exception as error:
        name = type(evaluator).__name__
        culprits = _culprits(evaluator, dumps)
        advice = "" if by_value else ". Or install cloudpickle (pip install 'nuqconv[parallel]'), which takes more"
        raise EvaluatorError(
            f"the evaluator {name} cannot be sent to worker processes: {type(error).__name__}: {error}. {_REMEDY}{advice}",
            culprits,
        ) from error
    return hashlib.sha256(data).hexdigest(), data


def unpack(parcel: Parcel) -> object:
    """Returns the evaluator; the opposite of `pack`."""
    data = parcel.content if isinstance(parcel.content, bytes) else parcel.content.read_bytes()
    return pickle.loads(data)  # noqa: S301  (pickled by `pack` in the process that submitted the task)


def _dumps() -> tuple[Callable[[object], bytes], bool]:
    """Returns what pickles, and whether it pickles the code of what no worker can import."""
    try:
        import cloudpickle  # noqa: PLC0415  (an extra)
    except ImportError:
        return _plain_dumps, False
    return cloudpickle.dumps, True


def _plain_dumps(value: object) -> bytes:
    return pickle.dumps(value, protocol=5)


def _culprits(evaluator: object, dumps: Callable[[object], bytes]) -> list[str]:
    """Returns a line for each attribute that cannot be pickled by itself."""
    lines = []
    for name, value in getattr(evaluator, "__dict__", {}).items():
        try:
            dumps(value)
        except Exception as error:  # noqa: BLE001  (whatever an object's own pickling raises)
            lines.append(f"attribute {name!r} ({type(value).__name__}): {error}")
    return lines
