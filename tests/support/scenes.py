"""Photographs of known objects, moved about on a grey ground, with annotations as PASCAL VOC has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
CLASSES = _CLASSES.split()

OBJECTS = {
    "cat": (skimage.data.chelsea, (0.0, 0.0, 0.95, 1.0)),
    "person": (skimage.data.astronaut, (0.04, 0.0, 0.72, 1.0)),
    "motorbike": (lambda: skimage.data.stereo_motorcycle()[0], (0.14, 0.12, 0.92, 0.9)),
}
"""What makes the photograph, and where in it the object is by eye: xmin, ymin, xmax, ymax as parts."""

XML = """<annotation>
<size><width>{size}</width><height>{size}</height><depth>3</depth></size>
<object><name>{name}</name><difficult>0</difficult><bndbox>
<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>
</annotation>
"""


def write_scenes(folder: Path, count: int, size: int = 300) -> tuple[Path, Path]:
    """Writes pictures with one object each.

    Returns:
        A list file with a picture and its annotation on each line, and the file with the names of the classes.
    """
    random = np.random.default_rng(0)
    lines = []
    for number in range(count):
        name = list(OBJECTS)[number % len(OBJECTS)]
        make, part = OBJECTS[name]
        photo = Image.fromarray(make())
        wide = int(random.uniform(0.6, 0.95) * size)
        high = min(size, round(wide * photo.height / photo.width))
        left, top = int(random.integers(0, size - wide + 1)), int(random.integers(0, size - high + 1))
        scene = Image.new("RGB", (size, size), (110, 110, 110))
        scene.paste(photo.resize((wide, high), Image.Resampling.BILINEAR), (left, top))
        box = [
            round(left + wide * part[0]),
            round(top + high * part[1]),
            round(left + wide * part[2]),
            round(top + high * part[3]),
        ]
        if random.random() < 0.5:
            scene = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            box[0], box[2] = size - box[2], size - box[0]
        scene.save(folder / f"{number:03}.png")
        (folder / f"{number:03}.xml").write_text(XML.format(size=size, name=name, box=box))
        lines.append(f"{number:03}.png {number:03}.xml\n")
    (folder / "list.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder / "list.txt", folder / "classes.txt"
