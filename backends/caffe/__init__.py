"""Writes Caffe models and runs real Caffe in a child process."""

from __future__ import annotations

from nuqconv.backends.caffe.emit import Style, emit
from nuqconv.backends.caffe.writer import save_caffe, write_caffe

__all__ = ["Style", "emit", "save_caffe", "write_caffe"]
