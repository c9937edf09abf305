"""Detection by classifying windows of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nuqconv.errors import UnsupportedError
from nuqconv.pycaffe import io
from nuqconv.pycaffe.classifier import transformer_for
from nuqconv.pycaffe.memory import Floats
from nuqconv.pycaffe.net import TEST, Net

__all__ = ["Detector"]


class Detector(Net):
    """A net that classifies windows.

    Args:
        model_file: The .prototxt.
        pretrained_file: The .caffemodel.
        mean: See `io.Transformer.set_mean`.
        input_scale: See `io.Transformer.set_input_scale`.
        raw_scale: See `io.Transformer.set_raw_scale`.
        channel_swap: See `io.Transformer.set_channel_swap`.
        context_pad: How much of the net's input on each side is the window's surroundings.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Any = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = transformer_for(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Sequence[Any]]]) -> list[dict[str, Any]]:
        """Classifies windows.

        Args:
            images_windows: For each image file its windows: ymin, xmin, ymax, xmax.

        Returns:
            For each window a dict with ``window``, ``prediction`` and ``filename``.
        """
        pairs = [(name, list(windows)) for name, windows in images_windows]
        crops = []
        for name, windows in pairs:
            image = io.load_image(name).astype(np.float32)
            crops += [self.crop(image, window) for window in windows]
        blob = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(blob, crop) for crop in crops])
        predictions = iter(self.forward_all(**{blob: batch})[self.outputs[0]])
        return [
            {"window": window, "prediction": next(predictions), "filename": name}
            for name, windows in pairs
            for window in windows
        ]

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """Refused: the windows come from a package that needs MATLAB.

        Raises:
            UnsupportedError: Always.
        """
        del image_fnames
        raise UnsupportedError(
            "detect_selective_search needs the package selective_search_ijcv_with_python and MATLAB; give windows to detect_windows"
        )

    def crop(self, im: Floats, window: Any) -> Floats:
        """Cuts a window out of an image, with its surroundings if ``context_pad`` is set.

        Args:
            im: The image, (H, W, K).
            window: ymin, xmin, ymax, xmax; an array of integers.

        Returns:
            The window as it stands in the image; with surroundings, resized to the net's input, with the mean outside of the image.
        """
        if not self.context_pad:
            return im[window[0] : window[2], window[1] : window[3]]
        size = self.blobs[self.inputs[0]].width
        scale = size / (size - self.context_pad * 2.0)
        half = np.array([window[2] - window[0] + 1, window[3] - window[1] + 1]) / 2.0
        centre = np.array([window[0], window[1]]) + half
        box = np.round(np.tile(centre, 2) + scale * np.concatenate([-half, half]))
        scales = size / (box[2:] - box[:2] + 1)
        pad = [round(max(0, -box[axis]) * scales[axis]) for axis in range(2)]
        limits = np.array(im.shape[:2])
        box = np.clip(box, 0.0, np.tile(limits, 2))
        sizes = [round((box[axis + 2] - box[axis] + 1) * scales[axis]) for axis in range(2)]
        sizes = [min(one, size - offset) for one, offset in zip(sizes, pad, strict=True)]
        top, left, bottom, right = box.astype(int)
        found = np.ones(self.crop_dims, np.float32) * self.crop_mean
        part = io.resize_image(im[top:bottom, left:right], sizes)
        found[pad[0] : pad[0] + sizes[0], pad[1] : pad[1] + sizes[1]] = part
        return found

    def configure_crop(self, context_pad: int | None) -> None:
        """Sets how much surroundings there are, and what stands outside of the image: the mean in the image's own units."""
        name = self.inputs[0]
        order = self.transformer.transpose[name]
        inverse = [order[axis] for axis in order]
        self.crop_dims = np.array(self.blobs[name].shape[1:])[inverse]
        self.context_pad = context_pad
        if not context_pad:
            return
        mean = self.transformer.mean.get(name)
        if mean is None:
            self.crop_mean = np.zeros(self.crop_dims, np.float32)
            return
        found = mean.copy().transpose(inverse)
        swap = self.transformer.channel_swap.get(name)
        if swap is not None:
            found = found[:, :, [list(swap).index(channel) for channel in range(found.shape[2])]]
        if self.transformer.raw_scale.get(name) is not None:
            found = found / self.transformer.raw_scale[name]
        self.crop_mean = found
