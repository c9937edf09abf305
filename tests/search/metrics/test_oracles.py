"""Metrics against scikit-learn, scikit-image and published rules in plain loops."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, jaccard_score, top_k_accuracy_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import KFold

from nuqconv.search.metrics import Tally, parse_metric

EXACT = {"rel": 1e-12, "abs": 1e-12}


def measured(text, outputs, truths=None, reference=None, batch=7):
    """The metric, batch by batch; arrays have samples first."""
    metric = parse_metric(text)
    tally = Tally(metric)
    for start in range(0, len(outputs), batch):
        part = slice(start, start + batch)
        kept = None if reference is None else metric.keep({"out": reference[part]}, len(reference[part]))
        tally.update({"out": outputs[part]}, None if truths is None else truths[part], kept)
    assert tally.samples == len(outputs)
    return tally.value()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k):
    random = np.random.default_rng(k)
    scores, labels = random.normal(size=(90, 11)).astype(np.float32), random.integers(0, 11, 90)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(11))
    assert measured(f"top{k}", scores, labels) == pytest.approx(expected, **EXACT)


def test_agreement():
    random = np.random.default_rng(0)
    one = random.normal(size=(60, 7, 1, 1)).astype(np.float32)
    two = one + random.normal(size=one.shape) / 2
    expected = accuracy_score(one.argmax(axis=1).ravel(), two.argmax(axis=1).ravel())
    assert 0.3 < expected < 0.95
    assert measured("agreement", two, reference=one) == pytest.approx(expected, **EXACT)
    maps = [random.normal(size=(5, 4, 6, 3)) for _ in range(2)]
    expected = accuracy_score(*(array.argmax(axis=1).ravel() for array in maps))
    assert measured("agreement", maps[0], reference=maps[1], batch=2) == pytest.approx(expected, **EXACT)


def test_cosine_and_output_error():
    random = np.random.default_rng(1)
    one = random.normal(size=(20, 3, 4)).astype(np.float32)
    two = (one + random.normal(size=one.shape) / 10).astype(np.float32)
    flat = [array.reshape(20, -1).astype(np.float64) for array in (one, two)]
    expected = cosine_similarity(*flat).diagonal().mean()
    assert measured("cosine", two, reference=one) == pytest.approx(expected, **EXACT)
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert measured("output_error", two, reference=one) == pytest.approx(expected, **EXACT)
    assert measured("output_error", one, reference=one) == 0


@pytest.mark.parametrize("seed", range(5))
def test_mean_iou(seed):
    """Class 5 neither occurs nor is called; class 4 is called only."""
    random = np.random.default_rng(seed)
    truths = random.integers(0, 4, (9, 8, 6))
    truths[random.random(truths.shape) < 0.1] = 255
    scores = random.normal(size=(9, 6, 8, 6)).astype(np.float32)
    scores[:, 5] = -9
    for label in range(4):
        scores[:, label] += 2 * (truths == label)
    called, counted = scores.argmax(axis=1), truths != 255
    expected = jaccard_score(truths[counted], called[counted], average="macro")
    assert measured("miou", scores, truths, batch=4) == pytest.approx(expected, **EXACT)
    assert measured("miou", scores, tuple(truths), batch=4) == pytest.approx(expected, **EXACT)
    assert measured("miou:classes=6", called.astype(np.float32), truths) == pytest.approx(expected, **EXACT)
    truths[truths == 255] = 0
    expected = jaccard_score(truths.ravel(), called.ravel(), average="macro")
    assert measured("miou:ignore=-1", scores, truths[:, np.newaxis]) == pytest.approx(expected, **EXACT)


def pictures(seed, channels, size=(29, 24)):
    random = np.random.default_rng(seed)
    truths = np.stack([random.integers(0, 256, (channels, *size)), np.full((channels, *size), 77)]).astype(np.float64)
    return truths, np.clip(truths + random.normal(size=truths.shape) * 9, 0, 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [0, 4])
def test_psnr_and_ssim(channels, border):
    """A picture of noise and a flat one."""
    truths, outputs = pictures(channels, channels)
    end = -border or None
    pairs = [[picture[:, border:end, border:end] for picture in pair] for pair in zip(truths, outputs, strict=True)]
    psnr = np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in pairs])
    ssim = np.mean(
        [
            structural_similarity(
                *pair, data_range=255, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for pair in pairs
        ]
    )
    assert measured(f"psnr:border={border}", outputs, truths) == pytest.approx(psnr, **EXACT)
    assert measured(f"ssim:border={border}", outputs, truths, batch=1) == pytest.approx(ssim, **EXACT)
    for name, value in (("psnr", psnr), ("ssim", ssim)):
        assert measured(f"{name}:border={border},range=1", outputs / 255, truths / 255) == pytest.approx(
            value, rel=1e-12
        )
        assert measured(f"{name}:border={border},against=float", outputs, reference=truths) == pytest.approx(
            value, **EXACT
        )


def test_luma_is_that_of_bt_601():
    """As scikit-image's rgb2ycbcr has it: 16 to 235 for values from 0 to 1."""
    from skimage.color import rgb2ycbcr  # noqa: PLC0415

    truths, outputs = pictures(5, 3)
    lumas = [[rgb2ycbcr(picture / 255, channel_axis=0)[0] for picture in array] for array in (truths, outputs)]
    expected = np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in zip(*lumas, strict=True)])
    assert measured("psnr:y", outputs, truths) == pytest.approx(expected, rel=1e-12)
    assert measured("psnr:y,bgr", outputs[:, ::-1], truths[:, ::-1]) == pytest.approx(expected, rel=1e-12)
    assert measured("psnr:y,range=1", outputs / 255, truths / 255) == pytest.approx(expected, rel=1e-12)
    assert abs(measured("psnr:y,bgr", outputs, truths) - expected) > 1e-3


def test_equal_pictures_count_100_db():
    truths, _ = pictures(0, 1)
    assert measured("psnr", truths, truths) == 100
    assert measured("ssim", truths, truths) == 1


def read(scores, blank):
    """Best path decoding, by the book: (times, classes) -> classes."""
    return [label for label, _ in groupby(scores.argmax(axis=1).tolist()) if label != blank]


@pytest.mark.parametrize(("blank", "layout"), [(0, "tnc"), (-1, "ntc"), (2, "nct")])
def test_ctc(blank, layout):
    random = np.random.default_rng(3)
    scores = random.normal(size=(40, 5, 6)).astype(np.float32)
    scores[:, :, blank] += 1
    texts = [read(sample, blank % 6) for sample in scores]
    assert {len(text) for text in texts} >= {1, 2, 3, 4}
    letters = [letter for place, letter in enumerate("abcdef") if place != blank % 6]
    names = dict(zip([label for label in range(6) if label != blank % 6], letters, strict=True))
    words = ["".join(names[label] for label in text) for text in texts]
    wrong = random.random(40) < 0.4
    words = [
        word + "a" * int(bad and blank != 0) + "b" * int(bad and blank == 0)
        for word, bad in zip(words, wrong, strict=True)
    ]
    classes = {letter: label for label, letter in names.items()}
    ended = np.full((40, 8), -1.0)
    for row, word in zip(ended, words, strict=True):
        row[: len(word)] = [classes[letter] for letter in word]
    options = f"layout={layout}" + f",blank={blank}"
    tallies = []
    for truths, text in ((tuple(words), f"ctc:{options},alphabet={''.join(letters)}"), (ended, f"ctc:{options}")):
        tally = Tally(parse_metric(text))
        for start in range(0, 40, 16):
            batch = scores[start : start + 16]
            axes = {"tnc": (1, 0, 2), "ntc": (0, 1, 2), "nct": (0, 2, 1)}[layout]
            tally.update({"out": batch.transpose(axes)}, truths[start : start + 16])
        tallies.append(tally.value())
    assert tallies == [np.mean(~wrong)] * 2
    assert 0.3 < tallies[0] < 0.9


def test_ctc_output_with_axes_of_length_one():
    """As of a convolutional net: samples, classes, 1, times."""
    scores = np.zeros((2, 3, 1, 4), np.float32)
    for sample, labels in enumerate(([1, 1, 0, 1], [2, 0, 0, 1])):
        scores[sample, labels, 0, range(4)] = 1
    assert measured("ctc:layout=nct", scores, np.array([[1, 1], [2, 2]])) == 0.5


def by_lfws_rule(vectors, labels, folds):
    """Ten folds in order; the limit that is best on the other nine."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = [float(((a - b) ** 2).sum()) for a, b in zip(vectors[0::2], vectors[1::2], strict=True)]
    same = [a == b for a, b in zip(labels[0::2], labels[1::2], strict=True)]

    def right(limit, places):
        return sum((distances[place] < limit) == same[place] for place in places)

    shares = []
    for others, own in KFold(folds, shuffle=False).split(distances):
        best = max(range(400), key=lambda number: (right(number / 100, others), -number))
        shares.append(right(best / 100, own) / len(own))
    return float(np.mean(shares))


@pytest.mark.parametrize(("folds", "pairs"), [(10, 47), (2, 12)])
def test_verification(folds, pairs):
    """Batches of 7 end amid a pair."""
    random = np.random.default_rng(folds)
    people = random.normal(size=(5, 8))
    labels = np.stack([random.integers(0, 5, pairs), random.integers(0, 5, pairs)], axis=1)
    labels[::2, 1] = labels[::2, 0]
    labels = labels.ravel()
    vectors = (people[labels] + random.normal(size=(2 * pairs, 8))).astype(np.float32)
    expected = by_lfws_rule(vectors.astype(np.float64), labels, folds)
    assert 0.55 < expected < 0.95
    assert measured(f"verification:folds={folds}", vectors, labels) == pytest.approx(expected, **EXACT)
