"""Stands for pycaffe in a process that a program with `nuqconv.pycaffe.install` has started, such as a worker of multiprocessing."""

from __future__ import annotations

from nuqconv.pycaffe import install

install()
