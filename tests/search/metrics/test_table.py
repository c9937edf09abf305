"""What every metric of the table does: texts, batches, parts, weights, intervals, refusals."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.stats import bootstrap

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics import (
    METRICS,
    FunctionTally,
    Interval,
    Tally,
    Terms,
    difference_interval,
    metric_names,
    parse_metric,
    value_interval,
)
from tests.support.pictures import as_output, random_set


class Case:
    """Some samples for a metric: outputs of two nets, and what is known of the samples."""

    def __init__(self, text, one, two, truths=None, joined=np.stack):
        self.text, self.one, self.two, self.truths, self.joined = text, one, two, truths, joined

    def __repr__(self):
        return self.text

    def tally(self, places, batch=4, outputs=None):
        """The second net's samples at some places."""
        metric = parse_metric(self.text)
        tally = Tally(metric)
        outputs = self.two if outputs is None else outputs
        for start in range(0, len(places), batch):
            part = places[start : start + batch]
            answers = {"out": self.joined([outputs[place] for place in part])}
            original = {"out": self.joined([self.one[place] for place in part])}
            truths = None if self.truths is None else tuple(self.truths[place] for place in part)
            kept = metric.keep(original, len(part)) if metric.against_float else None
            tally.update(answers, truths, kept, count=len(part))
        return tally


def _cases():
    random = np.random.default_rng(0)
    scores = [random.normal(size=(24, 6)).astype(np.float32) for _ in range(2)]
    scores[1] = scores[0] + scores[1] / 2
    labels = random.integers(0, 6, 24)
    maps = [random.normal(size=(24, 4, 5, 3)).astype(np.float32) for _ in range(2)]
    pictures = random.uniform(0, 255, (24, 1, 14, 13))
    noisy = [pictures + random.normal(size=pictures.shape) * size for size in (5, 8)]
    times = [random.normal(size=(24, 7, 4)).astype(np.float32) for _ in range(2)]
    truths, rows = random_set(4, pictures=24)
    for table in rows:
        # No two scores are equal: of equal ones the order counts, and repeating pictures changes it.
        table[:, 2] += random.uniform(0, 0.1, len(table))
    fewer = [table[random.random(len(table)) < 0.8] for table in rows]
    people = np.repeat(labels[:12], 2) + np.tile([0, 0, 0, 1], 6)
    yield Case("top1", *scores, labels)
    yield Case("top3", *scores, labels)
    yield Case("agreement", *scores)
    yield Case("output_error", *scores)
    yield Case("cosine", *scores)
    yield Case("detections", rows, fewer, joined=as_output)
    for text in ("voc_map", "voc_map:points=11", "coco_ap", "coco_ap:iou=0.75"):
        yield Case(text, rows, fewer, truths, as_output)
    yield Case("miou", *maps, random.integers(0, 4, (24, 5, 3)))
    yield Case("psnr", *noisy, pictures)
    yield Case("psnr:against=float", *noisy)
    yield Case("ssim", *noisy, pictures)
    yield Case("ctc:layout=ntc", *times, [np.arange(1, 4)[: int(n)] for n in random.integers(0, 4, 24)])
    yield Case("verification:folds=3", *scores, people)


CASES = list(_cases())
pytestmark = pytest.mark.filterwarnings("error")


def test_every_metric_has_a_case():
    assert {type(parse_metric(case.text)) for case in CASES} == set(METRICS)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_batches_parts_and_pickling_change_nothing(case):
    everything = range(24)
    whole = case.tally(everything, 24)
    value = whole.value()
    assert np.isfinite(value)
    for batch in (1, 5, 8):
        assert case.tally(everything, batch).value() == pytest.approx(value, rel=1e-13)
    first, second = case.tally(range(10), 3), pickle.loads(pickle.dumps(case.tally(range(10, 24), 5)))
    first.merge(second)
    assert first.samples == 24
    assert first.value() == pytest.approx(value, rel=1e-13)
    assert not whole.metric.differing(whole.terms, first.terms).any()


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_weights_are_repetitions_of_samples(case):
    """Each unit as often as its weight says; among them 0. Of pairs and folds the order counts, so that they are repeated in place."""
    metric = parse_metric(case.text)
    whole = case.tally(range(24), 24)
    random = np.random.default_rng(1)
    for _ in range(4):
        weights = random.integers(0, 3, whole.terms.units)
        group = metric.group
        units = np.repeat(np.arange(len(weights)), weights)
        if case.text.startswith("verification"):
            continue
        places = (units[:, np.newaxis] * group + np.arange(group)).ravel()
        (found,) = metric.values(whole.terms, weights[np.newaxis].astype(np.float64))
        assert found == pytest.approx(case.tally(places).value(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_who_differs(case):
    metric = parse_metric(case.text)
    two = case.tally(range(24)).terms
    mixed = [case.two[place] if place != 5 else case.one[place] for place in range(24)]
    other = case.tally(range(24), outputs=mixed).terms
    found = metric.differing(two, other)
    assert found.shape == (two.units,)
    assert set(np.flatnonzero(found)) <= {5 // metric.group}
    if not metric.share or case.text in ("cosine", "ssim"):
        assert found[5 // metric.group]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_intervals(case):
    metric = parse_metric(case.text)
    one, two = (case.tally(range(24), outputs=outputs).terms for outputs in (case.one, case.two))
    found = difference_interval(metric, one, two)
    assert found == difference_interval(metric, one, two)
    assert found.estimate == pytest.approx(metric.value(two) - metric.value(one))
    assert found.low <= found.estimate <= found.high
    assert (found.confidence, found.units) == (0.95, two.units)
    same = difference_interval(metric, two, two)
    assert (same.estimate, same.low, same.high, same.settled) == (0, 0, 0, False)
    alone = value_interval(metric, two, confidence=0.5)
    assert alone.low <= alone.estimate <= alone.high


def test_intervals_are_scipys():
    """Percentile intervals of a mean and of a paired difference; they are drawn otherwise, so that ends differ by chance."""
    random = np.random.default_rng(0)
    scores = [random.normal(size=(400, 10)) for _ in range(2)]
    labels = random.integers(0, 10, 400)
    scores[0][np.arange(400), labels] += 2
    scores[1] = scores[0] + scores[1]
    metric, terms = parse_metric("top1"), []
    for array in scores:
        tally = Tally(parse_metric("top1"))
        tally.update({"out": array}, labels)
        terms.append(tally.terms)
    hits = [(array.argmax(axis=1) == labels).astype(float) for array in scores]
    expected = bootstrap(
        hits, lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis), paired=True, vectorized=True, n_resamples=9999,
        method="percentile", rng=1,
    ).confidence_interval  # fmt: skip
    found = difference_interval(metric, *terms, draws=9999)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.settled
    unpaired = bootstrap(hits[:1], np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    alone = value_interval(metric, terms[0], draws=9999)
    assert (alone.low, alone.high) == pytest.approx((unpaired.low, unpaired.high), abs=0.004)
    # Pairing takes out what the samples have in common.
    assert found.high - found.low < 1.2 * (alone.high - alone.low)


def test_an_interval_needs_little_memory():
    terms = Terms(10_000, np.random.default_rng(0).integers(0, 2, (10_000, 2)).astype(np.float64))
    tracemalloc.start()
    value_interval(parse_metric("top1"), terms)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_draw_that_holds_nothing_to_measure_does_not_count():
    case = next(case for case in CASES if case.text == "voc_map")
    rows = [table if place == 3 else np.zeros((0, 7), np.float32) for place, table in enumerate(case.two)]
    truths = [truth if place == 3 else type(truth)([], []) for place, truth in enumerate(case.truths)]
    assert len(truths[3]) > 0
    lonely = Case("voc_map", rows, rows, truths, as_output)
    found = value_interval(parse_metric("voc_map"), lonely.tally(range(24)).terms)
    assert found.low == found.high == found.estimate
    assert isinstance(found, Interval)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("top5", "top5"),
        (" psnr : border = 4 , y", "psnr:border=4,y"),
        ("psnr:border=0,range=255", "psnr"),
        ("ssim:range=1", "ssim:range=1"),
        ("voc_map:points=11,iou=0.75", "voc_map:points=11,iou=0.75"),
        ("ctc:blank=-1,alphabet=abc", "ctc:blank=-1,alphabet=abc"),
        ("output_error", "output_error"),
    ],
)
def test_texts(text, again):
    metric = parse_metric(text)
    assert metric.text == again
    assert parse_metric(again) == metric
    assert pickle.loads(pickle.dumps(metric)) == metric


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy", "metric 'accuracy' is not known; these are: top1, top5 (any number), agreement, output_error,"),
        ("top0", "'top0' is not known"),
        ("top", "'top' is not known"),
        ("top5:k=3", "'k' is no parameter; there are none"),
        ("psnr:edge=4", "'edge' is no parameter; border, range, y, bgr, against"),
        ("psnr:border=x", "'border=x': expected a whole number"),
        ("psnr:range=x", "'range=x': expected a number"),
        ("psnr:y=1", "'y=1': 'y' stands alone"),
        ("psnr:border=1,border=2", "'border' is given twice"),
        ("psnr:border=-1,range=0,against=me,bgr", "border is -1.*range is 0.*against is 'me'.*bgr says"),
        ("voc_map:points=10", "points is 10"),
        ("coco_ap:iou=1.5", "iou is 1.5"),
        ("coco_ap:most=0", "most is 0"),
        ("detections:iou=0", "iou is 0"),
        ("miou:classes=-1", "classes is -1"),
        ("ctc:layout=cnt,blank=-2,alphabet=aa", "blank is -2.*layout is 'cnt'.*a letter twice"),
        ("verification:folds=1", "folds is 1"),
    ],
)
def test_wrong_texts(text, words):
    with pytest.raises(EvaluatorError, match=f"(?s){words.replace('(', '[(]').replace(')', '[)]')}"):
        parse_metric(text)


def test_facts_of_the_table():
    names = [name for kind in METRICS for name in kind.names]
    assert len(set(names)) == len(names)
    assert "top1, top5 (any number)" in metric_names()
    for kind in METRICS:
        assert kind.definition
        assert kind.source
    assert [kind.names[0] for kind in METRICS if not kind.higher_is_better] == ["output_error"]


@pytest.mark.parametrize(
    ("text", "outputs", "truths", "words"),
    [
        ("top1", np.zeros((3, 4)), None, "needs labels: the number of its class of each sample"),
        ("top1", np.zeros((3, 4)), np.zeros(2, int), r"expected 2 labels|there are 2 labels|3 labels"),
        ("agreement", np.zeros((3, 4)), None, "needs the outputs of the original net"),
        ("miou", np.zeros((2, 3, 4, 4)), np.zeros((2, 5, 5), int), "sample 0: the label has 5x5 pixels, the output 4x4"),
        ("miou", np.zeros((2, 3, 4, 4)), np.full((2, 4, 4), 3), "labels from 0 to 2, or 255.*found 3"),
        ("miou", np.zeros((2, 1, 4, 4)), np.zeros((2, 4, 4), int), "holds classes, not scores.*miou:classes=21"),
        ("miou:classes=2", np.full((2, 1, 4, 4), 2.0), np.zeros((2, 4, 4), int), "classes from 0 to 1 in the output"),
        ("psnr", np.zeros((1, 1, 9, 9)), np.full((1, 1, 9, 8), 9), "output is .1, 9, 9., the picture it should be .1, 9, 8."),
        ("psnr", np.zeros((1, 1, 9, 9)), np.full((1, 1, 9, 9), 0.5), "write psnr:range=1"),
        ("ssim:range=1", np.zeros((1, 1, 9, 9)), np.arange(81.0).reshape(1, 1, 9, 9), "write ssim:range=255"),
        ("psnr:border=5", np.zeros((1, 1, 9, 9)), np.full((1, 1, 9, 9), 9), "border of 5 leaves nothing"),
        ("psnr:y", np.zeros((1, 1, 9, 9)), np.full((1, 1, 9, 9), 9), "y needs three channels, found 1"),
        ("ssim", np.zeros((1, 1, 9, 9)), np.full((1, 1, 9, 9), 9), "smaller than the window of 11x11"),
        ("ctc", np.zeros((5, 2, 4)), ("ab", "c"), "needs the letters of the 3 classes beside the blank"),
        ("ctc:alphabet=abc", np.zeros((5, 2, 4)), ("ab", "cd"), "sample 1: 'cd' has 'd', which the alphabet has not"),
        ("ctc", np.zeros((5, 2, 4)), np.array([[1], [9]]), "sample 1: the label has class 9, the output 4 classes"),
        ("ctc:layout=ntc", np.zeros((5, 2, 4)), np.array([[1], [2]]), "the axes n, t, c .*n the 2 samples"),
        ("ctc:blank=4", np.zeros((5, 2, 4)), np.array([[1], [2]]), "blank is class 4, the output has 4 classes"),
        ("verification", np.zeros((2, 4)), np.zeros(2, int), "all zeros, and so has no direction"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(text, outputs, truths, words):
    with pytest.raises(EvaluatorError, match=words):
        Tally(parse_metric(text)).update({"out": outputs}, truths)


def test_half_a_pair_and_too_few_pairs():
    tally = Tally(parse_metric("verification"))
    tally.update({"out": np.ones((3, 2))}, np.zeros(3, int))
    with pytest.raises(EvaluatorError, match="judges 2 samples at a time, and 3 are no multiple of that"):
        tally.value()
    with pytest.raises(EvaluatorError, match="judges 2 samples"):
        tally.merge(Tally(parse_metric("verification")))
    tally.update({"out": np.ones((1, 2))}, np.zeros(1, int))
    with pytest.raises(EvaluatorError, match="2 pairs are fewer than 10 folds"):
        tally.value()


def test_numbers_of_samples_in_messages_count_from_the_first_batch():
    tally = Tally(parse_metric("top1"))
    tally.update({"out": np.eye(4)}, np.arange(4))
    with pytest.raises(EvaluatorError, match="found 7 at sample 5"):
        tally.update({"out": np.eye(4)}, np.array([0, 7, 1, 1]))


def test_several_outputs():
    with pytest.raises(EvaluatorError, match="metric 'top1' needs one output, the net has a, b; choose one"):
        Tally(parse_metric("top1")).update({"a": np.eye(2), "b": np.eye(2)}, np.arange(2))
    tally = Tally(parse_metric("output_error"))
    tally.update({"a": np.eye(2), "b": 2 * np.eye(2)}, reference={"a": np.eye(2), "b": np.eye(2)})
    assert tally.value() == 1


def test_a_function_is_given_all_outputs_and_labels():
    tally = FunctionTally(lambda outputs, labels: (outputs["out"].argmax(axis=1) == labels).mean())
    with pytest.raises(EvaluatorError, match="has seen no samples"):
        tally.value()
    reused = np.eye(3)
    tally.update({"out": reused}, np.arange(3))
    reused[:] = np.eye(3)[::-1]
    tally.update({"out": reused}, np.arange(3))
    assert tally.value() == pytest.approx(4 / 6)
    with pytest.raises(EvaluatorError, match="no fixed number of entries"):
        tally.update({"out": np.eye(4)}, np.arange(4))


def test_terms_are_joined_in_order():
    parts = [Terms(2, np.array([[1.0]]), np.array([1])), Terms(1, np.array([[2.0], [3.0]]), np.array([0, 0]))]
    joined = Terms.joined(parts)
    assert (joined.units, joined.owners.tolist(), joined.rows.ravel().tolist()) == (3, [1, 2, 2], [1, 2, 3])
    with pytest.raises(EvaluatorError, match="has seen no samples"):
        Tally(parse_metric("top1")).value()
