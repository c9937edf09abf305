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


def assert_same_detections(found, expected, rtol=1e-3, atol=1e-4):
    """Asserts that images, labels and confidences agree row by row, and boxes too up to the order of nearly equal confidences."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., :3], expected[..., :3], rtol=rtol, atol=atol)
    left = list(expected[0, 0])
    for row in found[0, 0]:
        match = next((n for n, other in enumerate(left) if np.allclose(row, other, rtol=rtol, atol=atol)), None)
        assert match is not None, row
        del left[match]
