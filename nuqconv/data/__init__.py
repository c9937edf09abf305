"""Data sets: samples, labels and what is done with them before the net sees them, read batch by batch."""

from __future__ import annotations

from nuqconv.data.arrays import Arrays
from nuqconv.data.base import Batch, DataSet
from nuqconv.data.database import Lmdb
from nuqconv.data.files import ImageList, Images
from nuqconv.data.hdf5 import Hdf5
from nuqconv.data.preparation import Preparation
from nuqconv.data.sources import open_data
from nuqconv.data.streams import Batches

__all__ = ["Arrays", "Batch", "Batches", "DataSet", "Hdf5", "ImageList", "Images", "Lmdb", "Preparation", "open_data"]
