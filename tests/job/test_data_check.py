"""On five models with one seeded mistake in the preparation, the check names it first; without a mistake it suspects nothing."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from nuqconv.data import Arrays, DataSet, Images
from nuqconv.formats import ReadOptions, open_model
from nuqconv.job.data_check import DataCheck, Evidence, check_data
from nuqconv.job.training_statistics import Moments, TrainingStatistics
from nuqconv.search.metrics import parse_metric
from real_models import PackageUnavailableError, model_files, onnx_file
from tests.support.auto import LENET
from tests.support.datasets import image
from tests.support.labelled import WORDS, cuts, line_of_text

PHOTOS = ("chelsea.png", "rocket.jpg", "coffee.png", "motorcycle_left.png", "astronaut.png")


def from_a_package(name):
    """The files of a model of a published package."""
    try:
        return onnx_file(name) if name.startswith("ocr") else model_files(name)
    except PackageUnavailableError as error:
        if os.environ.get("NUQCONV_REQUIRE_PACKAGES") == "1":
            raise
        pytest.skip(str(error))


def checked(files, data: DataSet, samples: int, metric: str | None = None) -> DataCheck:
    model = open_model(files)
    named = data.for_net(model.inputs())
    options = ReadOptions()
    if model.format.open_sizes:
        options = ReadOptions({name: (8, *shape) for name, shape in named.shapes().items()})
    graph = model.read(options).graph
    return check_data(graph, named, metric=None if metric is None else parse_metric(metric), samples=samples)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for number, cut in enumerate(cuts(PHOTOS, 12, 0)):
        cut.save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clothes")
    with np.load(LENET / "test_set.npz") as whole:
        for number, (pixels, label) in enumerate(zip(whole["data"][:64], whole["label"], strict=False)):
            path = folder / str(label) / f"{number:02}.png"
            path.parent.mkdir(exist_ok=True)
            image(pixels.transpose(1, 2, 0)).save(path)
    return folder


@cache
def letters(path: Path) -> dict[str, int]:
    """The class of each letter of the net that reads text; 0 is the blank, the last class a space."""
    properties = {item.key: item.value for item in onnx.load(path, load_external_data=False).metadata_props}
    alphabet = properties["character"].split("\n")
    return {letter: place for place, letter in enumerate(alphabet, 1)} | {" ": len(alphabet) + 1}


READ = ("on", "v2", "it", "int8", "max", "ip1", "2048", "Net", *WORDS[:8])


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Lines of text of various lengths, none wider than 320 pixels at the net's height."""
    folder = tmp_path_factory.mktemp("lines")
    rng = np.random.default_rng(0)
    for number, word in enumerate(READ):
        line_of_text(word, rng).save(folder / f"{number:02}.png")
    return folder


SEEDED = {
    "nsfw": [
        ("bgr, resize 224x224, mean 104 117 123", None),
        ("rgb, resize 224x224, mean 104 117 123", "BGR for RGB"),
        ("bgr, resize 224x224", "mean 104 117 123"),
        ("bgr, resize 224x224, 0..1, mean 104 117 123", "0..255 for 0..1"),
    ],
    "face": [
        ("bgr, resize 300x300, mean 104 117 123", None),
        ("bgr, resize 300x300", "mean 104 117 123"),
        ("rgb, resize 300x300, mean 104 117 123", "BGR for RGB"),
    ],
    "mobilenet_ssd": [
        ("bgr, resize 300x300, mean 127.5, scale 0.007843", None),
        ("bgr, resize 300x300", "pixels -1..1"),
        ("rgb, resize 300x300, mean 127.5, scale 0.007843", "BGR for RGB"),
    ],
}


@pytest.mark.package
@pytest.mark.parametrize(
    ("model", "prep", "mistake"), [(model, *case) for model, cases in SEEDED.items() for case in cases]
)
def test_what_the_net_keeps_of_its_training_names_the_mistake(photographs, model, prep, mistake):
    found = checked(from_a_package(model), Images(photographs, prep), 12)
    assert found.evidence is Evidence.TRAINING
    if mistake is None:
        assert found.suspect is None
    else:
        assert found.variants[0].name == mistake
        assert found.suspect is found.variants[0]


@pytest.mark.parametrize(
    ("prep", "mistakes"),
    [
        ("gray, scale 0.00390625", ()),
        # 1/255 and 1/256 of the pixels are one preparation to this net.
        ("gray", ("0..1 for 0..255", "pixels 0..1")),
        ("gray, scale 0.00001531863", ("pixels 0..1",)),
    ],
)
def test_labels_name_the_mistake_for_lenet(clothes, prep, mistakes):
    found = checked((LENET / "deploy.prototxt", LENET / "lenet.caffemodel"), Images(clothes, prep), 64)
    assert found.evidence is Evidence.LABELS
    assert (found.suspect.name if found.suspect else None) in (mistakes or (None,))
    if mistakes:
        assert found.variants[0].name in mistakes
    assert 0 < found.int8 < 0.05


@pytest.mark.package
@pytest.mark.parametrize(
    ("prep", "mistakes", "clear"),
    [
        ("bgr, resize pad 48x320, 0..1", (), False),
        # One text more of sixteen is too little to be sure, but it is named first.
        ("bgr, resize 48x320, 0..1", ("whole in 48x320 with a border",), False),
        ("bgr, resize pad 48x320", ("pixels 0..1", "0..1 for 0..255"), True),
    ],
)
def test_labels_name_the_mistake_for_a_net_that_reads_text(lines, prep, mistakes, clear):
    path = from_a_package("ocr_rec")
    numbers = letters(path)
    labels = [np.array([numbers[letter] for letter in word]) for word in READ]
    found = checked(path, Images(lines, prep, labels=labels), len(READ), "ctc:layout=ntc")
    assert (found.suspect is not None) == clear
    if mistakes:
        assert found.variants[0].name in mistakes
        assert found.variants[0].score > found.declared.score


def test_labels_of_one_class_prove_nothing(clothes):
    data = Images(clothes / "3", "gray, scale 0.00390625", labels=[3] * len(list((clothes / "3").iterdir())))
    found = checked((LENET / "deploy.prototxt", LENET / "lenet.caffemodel"), data, 64)
    assert found.evidence is Evidence.NONE
    assert found.notes == ("all samples have one label, which tells little of how they should be prepared",)


def test_arrays_are_checked_as_far_as_they_can():
    with np.load(LENET / "test_set.npz") as whole:
        images, labels = whole["data"][:64], whole["label"][:64]
    wrong = Arrays({"data": images.astype(np.float32)}, labels)
    found = checked((LENET / "deploy.prototxt", LENET / "lenet.caffemodel"), wrong, 64)
    assert found.variants[0].name == "0..1 for 0..255"
    assert found.suspect is found.variants[0]


def test_the_distance_is_the_divergence_of_normal_distributions():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (40, 2, 50, 50))
    moments = Moments.joined([Moments.of(values[:15]), Moments.of(values[15:])])
    one = TrainingStatistics.__new__(TrainingStatistics)
    one.mean, one.variance, one.eps = np.array([3.0, 1.0]), np.array([4.0, 9.0]), 0.0
    # KL(N(3, 4) || N(1, 9)) = ln(3/2) + (4 + 4) / 18 - 1/2
    wanted = (0 + np.log(1.5) + 8 / 18 - 0.5) / 2
    assert abs(one.distance(moments) - wanted) < 0.01
