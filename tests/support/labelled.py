"""Pictures with true labels for the models of published packages: photographs, and drawn lines of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.data import data_dir

WORDS = (
    "Quantization", "Convolution", "hello world", "Calibration", "BATCH 2048", "non-uniform", "Codebook", "precision",
    "inner product", "Deploy 312", "network", "histogram", "caffe 1.0", "Accuracy", "embedded", "pictures", "channel 7",
    "gradient", "runtime", "journal",
)  # fmt: skip


def photo(name: str) -> Image.Image:
    """A photograph of scikit-image's."""
    return Image.open(Path(data_dir) / name).convert("RGB")


def cuts(names: tuple[str, ...], count: int, seed: int, least: float = 0.5) -> list[Image.Image]:
    """Cuts of photographs, in turn from each."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        whole = photo(names[number % len(names)])
        width, height = (int(side * rng.uniform(least, 1)) for side in whole.size)
        left, top = int(rng.integers(0, whole.width - width + 1)), int(rng.integers(0, whole.height - height + 1))
        found.append(whole.crop((left, top, left + width, top + height)))
    return found


def line_of_text(text: str, rng: np.random.Generator, height: int = 48) -> Image.Image:
    """A drawn line of dark, coloured text on a light, coloured ground, tightly cut."""
    font = ImageFont.load_default(size=height * 0.7)
    left, top, right, bottom = (int(side) for side in font.getbbox(text))
    ground, ink = (tuple(int(value) for value in rng.integers(low, high, 3)) for low, high in ((170, 256), (0, 110)))
    drawn = Image.new("RGB", (right - left + 12, bottom - top + 10), ground)
    ImageDraw.Draw(drawn).text((6 - left, 5 - top), text, ink, font=font)
    return drawn.resize((max(8, round(drawn.width * height / drawn.height)), height), Image.Resampling.BILINEAR)


def on_a_strip(drawn: Image.Image, width: int) -> Image.Image:
    """A line at the left of a strip of one size, as nets for text are fed."""
    strip = Image.new("RGB", (width, drawn.height))
    strip.paste(drawn.resize((min(width, drawn.width), drawn.height)), (0, 0))
    return strip
