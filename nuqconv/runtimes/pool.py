"""Child processes of an evaluator: one for each thread that evaluates, kept from one model to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

__all__ = ["ChildPool", "KeptChild"]


class KeptChild(Protocol):
    """A child process with a model."""

    @property
    def alive(self) -> bool:
        """Whether it still runs."""

    @property
    def text(self) -> bytes:
        """The .prototxt of the model that it holds."""

    def forget(self) -> None:
        """Frees the model."""

    def close(self) -> None:
        """Ends the child, also while another thread waits for it."""


K = TypeVar("K", bound=KeptChild)


class ChildPool(Generic[K]):
    """Children that live until `end`; may be used from several threads.

    Args:
        make: Starts a child.
    """

    def __init__(self, make: Callable[[], K]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._busy: list[K] = []
        self._closings = 0
        self.idle: list[K] = []

    @contextmanager
    def child(self, text: bytes) -> Iterator[K]:
        """Takes an idle child, best one whose model has this text, or starts one; it is idle again afterwards if it still lives."""
        with self._lock:
            closings = self._closings
            idle = [child for child in self.idle if child.alive]
            dead = [child for child in self.idle if not child.alive]
            child = next((one for one in idle if one.text == text), idle[-1] if idle else None)
            self.idle = [one for one in idle if one is not child]
        for one in dead:
            one.close()
        if child is None:
            child = self._make()
        with self._lock:
            self._busy.append(child)
        try:
            yield child
        except Exception:
            child.forget()
            raise
        finally:
            with self._lock:
                self._busy = [one for one in self._busy if one is not child]
                keep = child.alive and closings == self._closings
                if keep:
                    self.idle.append(child)
            if not keep:
                child.close()

    def end(self, *, busy: bool = False) -> None:
        """Ends the children; one that is busy ends after its work, or at once with ``busy``."""
        with self._lock:
            ending, self.idle = self.idle + (self._busy if busy else []), []
            self._closings += 1
        for child in ending:
            child.close()
