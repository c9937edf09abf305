"""Reading pictures: resizing next to OpenCV in the same run, and the memory that reading many takes next to few.

    python benchmarks/pictures.py

Prints the times of one 1080p picture to 224x224, ours and OpenCV's on one thread, and the peak memory of a process that reads 10,000 small
pictures over that of one that reads 100.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console

from convert import PEAK
from nuqconv.data.resize import Window, resize

_READ = f"""{PEAK}
from nuqconv.data import Images
count = 0
for batch in Images(sys.argv[1], "bgr, resize 32x32, mean 104").batches(32, int(sys.argv[2])):
    count += len(batch)
assert count == int(sys.argv[2])
print(peak())
"""
FLAGS = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA}


def best(run: Callable[[], object], times: int = 20) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def resizing(console: Console) -> dict[str, float]:
    """Milliseconds and ratios of one picture."""
    picture = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    cv2.setNumThreads(1)
    cases = {"224x224": (224, 224, None), "short 256, crop 224": (256, 455, Window(16, 115, 224, 224))}
    result = {}
    for name, (height, width, window) in cases.items():
        for method, flag in FLAGS.items():
            ours = best(lambda: resize(picture, height, width, method, window))  # noqa: B023  (run at once)
            theirs = best(lambda: cv2.resize(picture, (width, height), interpolation=flag))  # noqa: B023
            result[f"{name} {method}, ms"] = 1e3 * ours
            result[f"{name} {method}, times OpenCV"] = ours / theirs
            console.print(
                f"1080p to {name}, {method}: {1e3 * ours:.2f} ms, {ours / theirs:.1f} times OpenCV's {1e3 * theirs:.2f} ms"
            )
    return result


def peaks(folder: Path, few: int = 100, many: int = 10_000) -> tuple[int, int]:
    """KiB that reading few and many pictures takes at most, each in a process of its own."""
    rng = np.random.default_rng(1)
    found = []
    for count in (few, many):
        place = folder / str(count)
        place.mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place / f"{number:05}.png")
        run = [sys.executable, "-c", _READ, place, str(count)]
        found.append(int(subprocess.run(run, capture_output=True, text=True, check=True).stdout))
    return found[0], found[1]


def measure(console: Console) -> dict[str, float]:
    """Runs both."""
    result = resizing(console)
    with tempfile.TemporaryDirectory() as name:
        few, many = peaks(Path(name))
    result["peak of 10,000 pictures over that of 100"] = many / few
    console.print(f"peak memory of 100 pictures {few >> 10} MiB, of 10,000 {many >> 10} MiB: {many / few:.3f} times")
    return result


if __name__ == "__main__":
    measure(Console(width=170))
