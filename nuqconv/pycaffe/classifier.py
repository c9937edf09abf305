"""Image classification with a net, over several crops of each image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from nuqconv.pycaffe import io
from nuqconv.pycaffe.memory import Floats
from nuqconv.pycaffe.net import TEST, Net

__all__ = ["Classifier", "transformer_for"]


def transformer_for(
    net: Net,
    mean: Any = None,
    input_scale: float | None = None,
    raw_scale: float | None = None,
    channel_swap: Any = None,
) -> io.Transformer:
    """Returns a transformer of images (H, W, K) for a net's first input."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


class Classifier(Net):
    """A net that classifies images.

    Args:
        model_file: The .prototxt.
        pretrained_file: The .caffemodel.
        image_dims: Height and width to which images are resized before they are cropped; by default those of the input.
        mean: See `io.Transformer.set_mean`.
        input_scale: See `io.Transformer.set_input_scale`.
        raw_scale: See `io.Transformer.set_raw_scale`.
        channel_swap: See `io.Transformer.set_channel_swap`.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        image_dims: Sequence[int] | None = None,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Any = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = transformer_for(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims: Any = image_dims or self.crop_dims

    def predict(self, inputs: Sequence[Any], oversample: bool = True) -> Floats:
        """Returns the probabilities of images.

        Args:
            inputs: Images (H, W, K).
            oversample: Whether to average over ten crops (`io.oversample`) instead of taking the centre.

        Returns:
            (N, classes).
        """
        resized = np.stack([io.resize_image(image, self.image_dims) for image in inputs])
        if oversample:
            crops = io.oversample(resized, self.crop_dims.tolist())
        else:
            top, left = (int(size / 2 - crop / 2) for size, crop in zip(self.image_dims, self.crop_dims, strict=True))
            height, width = self.crop_dims
            crops = resized[:, top : top + height, left : left + width]
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        found = self.forward_all(**{name: batch})[self.outputs[0]]
        return found.reshape(len(found) // 10, 10, -1).mean(1) if oversample else found
