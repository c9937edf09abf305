"""Small data sets in the forms that strangers have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
from PIL import Image

from nuqconv.frontends.caffe.schema import BlobProto, message_class

Datum: Any = message_class("Datum")
AnnotatedDatum: Any = message_class("AnnotatedDatum")


def picture(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth picture with noise, (height, width, channels), uint8."""
    coarse = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    noisy = np.stack(planes, axis=-1) + rng.normal(0, 6, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def image(pixels: np.ndarray) -> Image.Image:
    """A picture of an array (H, W, C)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def raw_datum(values: np.ndarray, label: int | None = None) -> Any:
    """A record of numbers (C, H, W)."""
    datum = Datum(channels=values.shape[0], height=values.shape[1], width=values.shape[2])
    if values.dtype == np.uint8:
        datum.data = values.tobytes()
    else:
        datum.float_data.extend(values.ravel().tolist())
    if label is not None:
        datum.label = label
    return datum


def encoded_datum(data: bytes, label: int | None = None) -> Any:
    """A record of an encoded picture."""
    datum = Datum(data=data, encoded=True)
    if label is not None:
        datum.label = label
    return datum


def write_lmdb(path: Path, records: list[Any]) -> Path:
    """A database of messages (or bytes), with keys as Caffe's tools write them."""
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for number, record in enumerate(records):
            value = record if isinstance(record, bytes) else record.SerializeToString()
            transaction.put(f"{number:08d}".encode(), value)
    return path


def write_mean(path: Path, values: np.ndarray) -> Path:
    """A mean (C, H, W) as a .binaryproto."""
    blob = BlobProto(num=1, channels=values.shape[0], height=values.shape[1], width=values.shape[2])
    blob.data.append(np.asarray(values, "<f4").tobytes())
    path.write_bytes(blob.SerializeToString())
    return path


def write_h5(path: Path, **arrays: np.ndarray) -> Path:
    """An HDF5 file."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path
