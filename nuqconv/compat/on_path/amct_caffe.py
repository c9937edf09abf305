"""Stands for the original in a process that a program with `nuqconv.compat.install` has started, such as a worker of multiprocessing."""

from __future__ import annotations

from nuqconv.compat import install

install()
