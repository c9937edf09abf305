"""Writes Caffe models and runs real Caffe in a child process."""

from __future__ import annotations

from nuqconv.backends.caffe.emit import Style, emit
from nuqconv.backends.caffe.writer import CaffeWriter, save_caffe, write_caffe

__all__ = ["CaffeWriter", "Style", "emit", "save_caffe", "write_caffe"]
