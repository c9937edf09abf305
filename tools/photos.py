"""Real photographs, cut and scaled for a net; they come with scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage import io, transform
from skimage.data import data_dir

# Nothing that calibrates is used to evaluate.
CALIBRATION = ("astronaut.png", "coffee.png", "motorcycle_left.png", "retina.jpg")
EVALUATION = ("chelsea.png", "rocket.jpg", "ihc.png", "hubble_deep_field.jpg")


def photos(names: tuple[str, ...], size: int, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Returns ``count`` square cuts of photographs, in turn from each.

    Args:
        names: Files of scikit-image's data folder.
        size: Width and height of a cut after scaling.
        count: Number of cuts.
        seed: Seed of their places.

    Returns:
        RGB, 0 to 255, float32 (count, 3, size, size).
    """
    rng = np.random.default_rng(seed)
    images = [io.imread(f"{data_dir}/{name}")[..., :3] for name in names]
    cuts = np.empty((count, 3, size, size), np.float32)
    for number in range(count):
        image = images[number % len(images)]
        side = int(rng.uniform(0.5, 1.0) * min(image.shape[:2]))
        top, left = (int(rng.integers(0, extent - side + 1)) for extent in image.shape[:2])
        cut = transform.resize(
            image[top : top + side, left : left + side], (size, size), preserve_range=True, anti_aliasing=True
        )
        cuts[number] = cut.transpose(2, 0, 1)
    return cuts
