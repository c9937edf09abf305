"""The common mistakes in a preparation: the same samples, prepared in one other way each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nuqconv.data.base import Batch, DataSet, Sizes
from nuqconv.data.preparation import Crop, Preparation, Resize
from nuqconv.data.resize import METHODS
from nuqconv.ir import Array

__all__ = ["Variant", "variants"]

_CAFFE = (104.0, 117.0, 123.0)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MIDDLE = 127.5


@dataclass(frozen=True)
class Variant:
    """A data set prepared in another way than it is declared.

    Attributes:
        name: What is done otherwise.
        data: The set.
    """

    name: str
    data: DataSet


def variants(data: DataSet) -> list[Variant]:
    """Returns the set with each of the common mistakes made, or mended if it was made.

    Pictures get another order of channels, no mean or a known one, another range, or another way to their size; arrays, whose pictures are not
    there any more, another order of channels and another range.
    """
    prep = getattr(data, "prep", None)
    again = getattr(data, "with_preparation", None)
    pictures = getattr(data, "has_pictures", None)
    if isinstance(prep, Preparation) and again is not None and pictures is not None and pictures():
        return [Variant(name, again(other)) for name, other in _of_preparation(prep)]
    return [Variant(name, _Changed(data, name, change)) for name, change in _of_arrays(data)]


def _of_preparation(prep: Preparation) -> Iterator[tuple[str, Preparation]]:
    """Yields preparations, each once and none equal to the declared one."""
    seen = [prep]
    for name, other in (*_orders(prep), *_means(prep), *_ranges(prep), *_geometries(prep)):
        if other not in seen:
            seen.append(other)
            yield name, other


def _orders(prep: Preparation) -> Iterator[tuple[str, Preparation]]:
    if prep.channels == 1:
        return
    other, word, now = ("bgr", "BGR", "RGB") if prep.colour == "rgb" else ("rgb", "RGB", "BGR")
    yield f"{word} for {now}", replace(prep, colour=other)
    turned = {name: getattr(prep, name)[::-1] for name in ("mean", "scale", "std")}
    if any(values != getattr(prep, name) for name, values in turned.items()):
        yield f"{word} for {now}, and the numbers of the channels with them", replace(prep, colour=other, **turned)
        yield "the numbers of the channels in the other order", replace(prep, **turned)


def _means(prep: Preparation) -> Iterator[tuple[str, Preparation]]:
    if prep.mean or prep.mean_image is not None:
        yield "no mean", replace(prep, mean=(), mean_image=None)
    if prep.channels == 3 and not prep.unit:
        mean = _CAFFE if prep.colour == "bgr" else _CAFFE[::-1]
        yield f"mean {' '.join(f'{value:g}' for value in mean)}", replace(prep, mean=mean, mean_image=None)
    if not prep.unit:
        yield f"mean {_MIDDLE:g}", replace(prep, mean=(_MIDDLE,), mean_image=None)


def _ranges(prep: Preparation) -> Iterator[tuple[str, Preparation]]:
    bare = replace(prep, unit=False, mean=(), mean_image=None, scale=(), std=())
    yield ("0..255 for 0..1" if prep.unit else "0..1 for 0..255"), replace(prep, unit=not prep.unit)
    if prep.scale or prep.std:
        yield "no scale", replace(prep, scale=(), std=())
    yield "pixels 0..255 as they are", bare
    yield "pixels 0..1", replace(bare, scale=(1 / 255,))
    yield "pixels -1..1", replace(bare, mean=(_MIDDLE,), scale=(1 / _MIDDLE,))
    if prep.channels == 3:
        mean, std = _IMAGENET if prep.colour == "rgb" else (values[::-1] for values in _IMAGENET)
        yield "0..1 with ImageNet's mean and std", replace(bare, unit=True, mean=mean, std=std)


def _geometries(prep: Preparation) -> Iterator[tuple[str, Preparation]]:
    size = prep.resize
    if size is None:
        return
    for method in METHODS:
        yield f"resized by {method}", replace(prep, resize=replace(size, method=method))
    height, width = (prep.crop.height, prep.crop.width) if prep.crop is not None else (size.height, size.width)
    if size.fit != "squash" or prep.crop is not None:
        squashed = Resize(height, width, size.method)
        if size.fit != "short" or prep.crop is not None:
            yield f"squashed to {height}x{width}", replace(prep, resize=squashed, crop=None)
    if size.fit != "pad" and prep.crop is None:
        yield (
            f"whole in {height}x{width} with a border",
            replace(prep, resize=replace(size, height=height, width=width, fit="pad")),
        )
    if size.fit != "short":
        longer = max(height, width)
        cut = replace(prep, resize=Resize(longer, longer, size.method, "short"), crop=Crop(height, width))
        yield f"the middle {height}x{width} of the picture, not squashed", cut
        if prep.crop is None:
            # What most nets for ImageNet were trained with: 256 and the middle 224 of it.
            larger = longer * 8 // 7
            yield (
                f"shorter side {larger} and the middle {height}x{width}",
                replace(cut, resize=Resize(larger, larger, size.method, "short")),
            )


def _of_arrays(data: DataSet) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    if any(len(shape) == 3 and shape[0] == 3 for shape in data.shapes().values()):
        yield "channels in the other order (RGB for BGR)", lambda array: array[:, ::-1]
    mean = np.concatenate([array.ravel() for batch in data.batches(8, 8) for array in batch.inputs.values()]).mean()
    yield "no mean (that of all numbers taken off)", lambda array: array - mean
    yield "0..1 for 0..255", lambda array: array / 255
    yield "0..255 for 0..1", lambda array: array * 255
    yield "-1..1 for 0..1", lambda array: 2 * array - 1
    yield "0..1 for -1..1", lambda array: (array + 1) / 2
    yield "-1..1 for 0..255", lambda array: array / _MIDDLE - 1


class _Changed(DataSet):
    """A set whose inputs go through a function."""

    def __init__(self, data: DataSet, name: str, change: Callable[[Array], Array]) -> None:
        self._data, self._name, self._change = data, name, change

    def __len__(self) -> int:
        return len(self._data)

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yields the samples, changed where they are pictures or there is one input."""
        shapes = self.shapes()
        for batch in self._data.batches(batch_size, limit):
            inputs: Mapping[str, Array] = {
                name: self._changed(array) if len(shapes) == 1 or len(shapes[name]) == 3 else array
                for name, array in batch.inputs.items()
            }
            yield Batch(inputs, batch.labels, batch.ids)

    def shapes(self) -> dict[str, Sizes]:
        """Returns the sizes of a sample, which stay."""
        return self._data.shapes()

    def digest(self) -> str:
        """Returns a hash of the set and of what is changed."""
        return f"{self._data.digest()} {self._name}"

    def describe(self) -> str:
        """Returns what the set is, and what is changed."""
        return f"{self._data.describe()}, {self._name}"

    def _changed(self, array: Array) -> Array:
        return np.ascontiguousarray(self._change(array), np.float32)
