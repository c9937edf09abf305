"""Blobs held against those of real Caffe's own Data, ImageData and HDF5Data layers."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nuqconv.data import open_data
from nuqconv.errors import FormatError
from tests.support.datasets import encoded_datum, image, picture, raw_datum, write_h5, write_lmdb, write_mean

RUNNER = Path(__file__).parent.parent / "support" / "caffe_layers.py"


@dataclass
class Cases:
    """Nets with one data layer each."""

    folder: Path
    jobs: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, layer: str, batches: int) -> None:
        path = self.folder / f"{len(self.jobs)}.prototxt"
        path.write_text(layer)
        self.jobs.append((str(path), batches, str(path.with_suffix(".npz"))))

    def run(self, python: str) -> None:
        jobs = self.folder / "jobs.json"
        jobs.write_text(json.dumps(self.jobs))
        done = subprocess.run(
            [python, str(RUNNER), str(jobs)],
            cwd=self.folder,
            env={**os.environ, "GLOG_minloglevel": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def check(self, size: int) -> None:
        """Every blob of every batch has the same bits; Caffe goes round, so only whole batches are looked at."""
        for prototxt, batches, output in self.jobs:
            wanted = np.load(output)
            found = list(open_data(prototxt).batches(size))
            assert len(found) == batches
            for number, batch in enumerate(found):
                for name, array in batch.inputs.items():
                    text = Path(prototxt).read_text()
                    np.testing.assert_array_equal(array, wanted[f"{name}/{number}"], err_msg=text, strict=True)
                np.testing.assert_array_equal(batch.labels, wanted[f"label/{number}"])


def transform(rng, folder: Path, shape: tuple[int, int, int], *, colours: bool) -> str:
    """Some transform_param for pictures of a shape (C, H, W); ``colours`` says whether colours may be forced."""
    channels, height, width = shape
    words = []
    if colours and rng.random() < 0.5:
        force = rng.choice(["force_color", "force_gray"])
        channels = 3 if force == "force_color" else 1
        words.append(f"{force}: true")
    if rng.random() < 0.6:
        words.append(f"crop_size: {rng.integers(1, min(height, width) + 1)}")
    if rng.random() < 0.5:
        words.append(f"scale: {rng.choice([0.00390625, 0.017, 1.5, -0.3])}")
    mean = rng.integers(4)
    if mean == 1:
        words.append(f"mean_value: {rng.normal(100, 20):.3f}")
    elif mean == 2:
        words += [f"mean_value: {value:.3f}" for value in rng.normal(100, 20, channels)]
    elif mean == 3:
        path = folder / f"mean{len(list(folder.glob('mean*')))}.binaryproto"
        write_mean(path, rng.uniform(0, 255, (channels, height, width)).astype(np.float32))
        words.append(f'mean_file: "{path.name}"')
    return f"transform_param {{ {' '.join(words)} }}" if words else ""


def test_databases_of_100_random_kinds(tmp_path, caffe_python, monkeypatch):
    rng = np.random.default_rng(1)
    cases = Cases(tmp_path)
    for number in range(100):
        channels, height, width = int(rng.choice([1, 3])), int(rng.integers(2, 30)), int(rng.integers(2, 30))
        kind = rng.choice(["bytes", "floats", "png", "bmp", "rgba", "mixed"])
        channels = 4 if kind == "rgba" else channels
        records = []
        for label in range(4):
            pixels = picture(rng, height, width, channels)
            path = tmp_path / f"picture.{'bmp' if kind == 'bmp' else 'png'}"
            image(pixels).save(path)
            if kind == "floats":
                records.append(raw_datum(rng.normal(0, 50, (channels, height, width)).astype(np.float32), label))
            elif kind == "bytes" or (kind == "mixed" and label % 2):
                records.append(raw_datum(np.ascontiguousarray(pixels.transpose(2, 0, 1)), label * 7))
            else:
                records.append(encoded_datum(path.read_bytes(), label))
        write_lmdb(tmp_path / f"base{number}", records)
        colours = kind in ("png", "bmp", "rgba")
        words = transform(rng, tmp_path, (channels, height, width), colours=colours)
        param = f'data_param {{ source: "base{number}" backend: LMDB batch_size: 2 }}'
        cases.add(f'layer {{ name: "d" type: "Data" top: "data" top: "label" {param} {words} }}', 2)
    cases.run(caffe_python)
    monkeypatch.chdir(tmp_path)
    cases.check(2)


def test_lists_of_100_random_kinds(tmp_path, caffe_python, monkeypatch):
    rng = np.random.default_rng(2)
    cases = Cases(tmp_path)
    for number in range(100):
        resized = rng.random() < 0.6
        height, width = int(rng.integers(3, 40)), int(rng.integers(3, 40))
        folder = tmp_path / f"the pictures {number}"
        folder.mkdir()
        lines = []
        for label in range(4):
            sizes = (int(rng.integers(3, 60)), int(rng.integers(3, 60))) if resized else (height, width)
            name = f"a picture {label}.{rng.choice(['png', 'bmp'])}"
            image(picture(rng, *sizes, int(rng.choice([1, 3])))).save(folder / name)
            lines.append(f"{name} {label * 3}\n")
        (tmp_path / f"list{number}.txt").write_text("".join(lines))
        colour = bool(rng.random() < 0.7)
        words = transform(rng, tmp_path, (3 if colour else 1, height, width), colours=False)
        own = f'source: "list{number}.txt" batch_size: 2 root_folder: "the pictures {number}/" is_color: {str(colour).lower()}'
        own += f" new_height: {height} new_width: {width}" if resized else ""
        cases.add(
            f'layer {{ name: "d" type: "ImageData" top: "data" top: "label" image_data_param {{ {own} }} {words} }}', 2
        )
    cases.run(caffe_python)
    monkeypatch.chdir(tmp_path)
    cases.check(2)


def test_hdf5_of_several_files_and_shapes(tmp_path, caffe_python, monkeypatch):
    rng = np.random.default_rng(3)
    cases = Cases(tmp_path)
    for number in range(20):
        shape = tuple(rng.integers(1, 6, rng.integers(0, 4)))
        files = []
        for part in range(2):
            name = f"part{number}_{part}.h5"
            write_h5(
                tmp_path / name,
                data=rng.normal(size=(3 + part, *shape)).astype(rng.choice(["f4", "f8"])),
                label=np.arange(3 + part, dtype="f4"),
            )
            files.append(f"{name}\n")
        (tmp_path / f"files{number}.txt").write_text("".join(files))
        param = f'hdf5_data_param {{ source: "files{number}.txt" batch_size: 7 }}'
        cases.add(f'layer {{ name: "d" type: "HDF5Data" top: "data" top: "label" {param} }}', 1)
    cases.run(caffe_python)
    monkeypatch.chdir(tmp_path)
    cases.check(7)


def test_what_caffe_refuses_is_refused(tmp_path):
    rng = np.random.default_rng(4)
    small, large = (raw_datum(rng.integers(0, 256, (3, size, size), dtype=np.uint8), 0) for size in (4, 8))
    write_lmdb(tmp_path / "base", [large, small])
    net = tmp_path / "net.prototxt"
    layer = 'layer {{ name: "d" type: "Data" top: "data" data_param {{ source: "{}" backend: LMDB }} transform_param {{ {} }} }}'
    net.write_text(layer.format(tmp_path / "base", "crop_size: 6"))
    with pytest.raises(FormatError, match="00000001: the picture is 4x4, too small for 'crop 6x6'"):
        list(open_data(net).batches(1))
    write_mean(tmp_path / "mean.binaryproto", np.zeros((3, 5, 5)))
    net.write_text(layer.format(tmp_path / "base", f'mean_file: "{tmp_path / "mean.binaryproto"}"'))
    with pytest.raises(FormatError, match="the mean image is 3x5x5, the picture before its crop 3x8x8"):
        list(open_data(net).batches(1))
