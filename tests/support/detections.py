"""OpenCV's detections in Caffe's order."""

from __future__ import annotations

import numpy as np


def in_caffes_order(detections):
    """Detections (1, 1, N, 7) by image, label and falling confidence, as Caffe's layer lists them.

    OpenCV lists them by confidence, and fills the rows up to keep_top_k for each image with zeros, which are left out here.
    """
    rows = detections.reshape(-1, 7)
    rows = rows[rows.any(axis=1)]
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))][np.newaxis, np.newaxis]
