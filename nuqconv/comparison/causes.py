"""What is likely to be behind a difference: a table of known causes, each tested on the numbers where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nuqconv.comparison.measure import aligned
from nuqconv.comparison.tolerance import Tolerance
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import Axpy, BatchNorm, DetectionOutput, Op, Pooling, Power, Quantize, ReLU, Softmax
from nuqconv.ir.traits import Jumps, Windowed

__all__ = ["Evidence", "likely_causes"]

# A Power layer with such a shift rounds: fake_quant models have them.
_ROUNDING_SHIFT = 2.0**22


@dataclass(frozen=True)
class Evidence:
    """What is known of the first diverging layer.

    Attributes:
        node: The layer as it was read from Caffe, or None.
        others: The same layer in the other model, where that is a Caffe model of its own.
        layer_type: Its type.
        a: Its result on the first side.
        b: On the second.
        inputs_a: Its inputs on the first side; None for those that are not known.
        inputs_b: On the second.
        params_a: Its weights on the first side, or None where they are not reported.
        params_b: On the second.
        states: Other states of the same blob, by the layer that makes them.
        tolerance: What counts as equal.
        sides: Names for both sides.
        agrees_alone: Whether the layer agrees when it is run alone on the first side's inputs, or None where that is not known.
        same_inputs: Whether the inputs agree to the bit.
    """

    node: Node | None
    layer_type: str
    a: Array
    b: Array
    others: Node | None = None
    inputs_a: Sequence[Array | None] = ()
    inputs_b: Sequence[Array | None] = ()
    params_a: Sequence[Array] | None = None
    params_b: Sequence[Array] | None = None
    states: dict[str, Array] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=Tolerance)
    sides: tuple[str, str] = ("the first side", "the second side")
    agrees_alone: bool | None = None
    same_inputs: bool = False

    @property
    def op(self) -> Op | None:
        """The operator, or None."""
        return None if self.node is None else self.node.op

    def equal(self, a: Array, b: Array) -> bool:
        """Whether two arrays agree within the tolerance."""
        if not aligned(a, b):
            return False
        first, second = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        return not self.tolerance.differs(first, second).any()


_Rule = Callable[[Evidence], str | None]


def likely_causes(evidence: Evidence) -> tuple[str, ...]:
    """Returns what the rules find, the most telling first; never empty."""
    with np.errstate(all="ignore"):
        found = [text for rule in _RULES if (text := rule(evidence)) is not None]
    if found:
        return tuple(found)
    kind = evidence.layer_type or "operator"
    return (f"not known; compare the parameters of this {kind} on both sides",)


def _operator(evidence: Evidence) -> str | None:
    one, two = evidence.op, None if evidence.others is None else evidence.others.op
    if one is None or two is None or one == two:
        return None
    return f"the layer has other parameters: {one.kind} {one.describe()} against {two.kind} {two.describe()}"


def _weights(evidence: Evidence) -> str | None:
    if not evidence.params_a or not evidence.params_b:
        return None
    for number, (one, two) in enumerate(zip(evidence.params_a, evidence.params_b, strict=False)):
        if one.size != two.size:
            return f"its weights differ: blob {number} has {one.size} numbers against {two.size}"
        first, second = np.asarray(one, np.float64).ravel(), np.asarray(two, np.float64).ravel()
        other = np.flatnonzero((first != second) & ~(np.isnan(first) & np.isnan(second)))
        if other.size:
            place = int(other[np.abs(first[other] - second[other]).argmax()])
            index = tuple(int(i) for i in np.unravel_index(place, one.shape))
            return (
                f"its weights differ: {other.size} of {first.size} numbers of blob {number}, "
                f"most at {index}: {first[place]:.6g} against {second[place]:.6g}"
            )
    return None


def _inputs(evidence: Evidence) -> str | None:
    for number, (one, two) in enumerate(zip(evidence.inputs_a, evidence.inputs_b, strict=False)):
        if one is not None and two is not None and not evidence.equal(one, two):
            return f"its input {number} differs already, although the blob agrees at the end: an in-place layer runs at another time"
    return None


def _in_place(evidence: Evidence) -> str | None:
    for layer, state in evidence.states.items():
        for side, value in zip(evidence.sides, (evidence.a, evidence.b), strict=True):
            other = evidence.b if value is evidence.a else evidence.a
            if evidence.equal(value, state) and not evidence.equal(other, state):
                return f"in-place layers: {side} holds the blob as layer '{layer}' leaves it"
    return None


def _pooled_size(evidence: Evidence) -> str | None:
    if not isinstance(evidence.op, Pooling) or aligned(evidence.a, evidence.b):
        return None
    return (
        "pooling rounding: Caffe rounds the number of windows up (round_mode CEIL) and drops a last window that starts in the padding; "
        "one side rounds otherwise"
    )


def _shape(evidence: Evidence) -> str | None:
    if aligned(evidence.a, evidence.b):
        return None
    return f"the shapes differ: {_text(evidence.a.shape)} against {_text(evidence.b.shape)}"


def _batch_norm(evidence: Evidence) -> str | None:
    op, params = evidence.op, evidence.params_a
    x = evidence.inputs_a[0] if evidence.inputs_a else None
    if not isinstance(op, BatchNorm) or params is None or len(params) != 3 or x is None:
        return None
    if x.ndim < 2 or x.shape[1] != params[0].size:
        return None
    mean, variance, count = (np.asarray(item, np.float64).reshape(-1) for item in params)
    factor = 0.0 if count[0] == 0 else 1.0 / count[0]
    variants = {
        "the scale factor (blob 2) is ignored": (1.0, op.eps),
        "mean and variance are multiplied by the scale factor (blob 2), not divided": (float(count[0]), op.eps),
        "eps 1e-5 is used, not the layer's": (factor, 1e-5),
        "eps is ignored": (factor, 0.0),
    }
    shape = (1, -1, *(1,) * (x.ndim - 2))

    def made(scale: float, eps: float) -> Array:
        found: Array = (x - (mean * scale).reshape(shape)) / np.sqrt((variance * scale + eps).reshape(shape))
        return found

    right = made(factor, op.eps)
    for text, (scale, eps) in variants.items():
        wrong = made(scale, eps)
        if evidence.equal(wrong, right):
            continue
        for side, value in _sides(evidence):
            if evidence.equal(value, wrong) and not evidence.equal(_other(evidence, value), wrong):
                return f"BatchNorm: on {side} {text}"
    return None


def _softmax(evidence: Evidence) -> str | None:
    if not isinstance(evidence.op, Softmax) or not aligned(evidence.a, evidence.b):
        return None
    axes = [_unit_axes(value) for value in (evidence.a, evidence.b.reshape(evidence.a.shape))]
    if axes[0] == axes[1]:
        return None
    told = [f"axis {' or '.join(map(str, found))}" if found else "several axes at once" for found in axes]
    return f"softmax axis: {evidence.sides[0]} normalises along {told[0]}, {evidence.sides[1]} along {told[1]}"


def _quantized(evidence: Evidence) -> str | None:
    op = evidence.op
    rounds = isinstance(op, Quantize) or (isinstance(op, Power) and abs(op.shift) >= _ROUNDING_SHIFT)
    if not rounds or not aligned(evidence.a, evidence.b):
        return None
    steps = np.abs(np.asarray(evidence.a, np.float64).ravel() - np.asarray(evidence.b, np.float64).ravel())
    if steps.max() <= 1 and np.isin(steps, (0, 1)).all():
        return (
            f"quantization step boundary: {int(steps.sum())} of {steps.size} inputs lie at the middle of a step, where the last bit of the "
            "layer before decides; a difference of one step is no fault of this layer"
        )
    return "the step size or the offset of the quantization differs"


def _slope(evidence: Evidence) -> str | None:
    x = evidence.inputs_a[0] if evidence.inputs_a else None
    if not isinstance(evidence.op, ReLU) or x is None or not aligned(x, evidence.a) or not aligned(x, evidence.b):
        return None
    below = np.asarray(x).ravel() < 0
    if not below.any():
        return None
    slopes = [
        float(np.median(np.asarray(value, np.float64).ravel()[below] / np.asarray(x, np.float64).ravel()[below]))
        for _, value in _sides(evidence)
    ]
    if np.isclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-6):
        return None
    return f"negative slope: {slopes[0]:.4g} against {slopes[1]:.4g}"


def _border(evidence: Evidence) -> str | None:
    if evidence.op is None or not evidence.op.trait(Windowed) or not aligned(evidence.a, evidence.b):
        return None
    if evidence.a.ndim < 3:
        return None
    second = np.asarray(evidence.b, np.float64).reshape(evidence.a.shape)
    wrong = evidence.tolerance.differs(np.asarray(evidence.a, np.float64), second)
    plane: NDArray[np.bool_] = np.asarray(wrong.any(axis=(0, 1)))
    inner = plane[tuple(slice(1, -1) for _ in plane.shape)]
    if not inner.size or inner.any():
        return None
    if isinstance(evidence.op, Pooling):
        return "padding: only the border differs; Caffe's AVE counts the padding in the divisor, and its last window may be cut"
    return "padding: only the border differs; one side pads more, less, or at the other end"


def _constant_ratio(evidence: Evidence) -> str | None:
    if not aligned(evidence.a, evidence.b):
        return None
    a = np.asarray(evidence.a, np.float64)
    b = np.asarray(evidence.b, np.float64).reshape(a.shape)
    ratio = _one_ratio(a, b)
    if ratio is not None:
        return f"a constant factor: {evidence.sides[0]} is {ratio:.6g} times {evidence.sides[1]} (a scale or coefficient that one side ignores)"
    difference = a - b
    if difference.size > 1 and np.ptp(difference) <= 1e-4 * np.abs(difference).max():
        return f"a constant offset of {float(difference.mean()):.6g} (a shift or bias that one side ignores)"
    if a.ndim > 2 and a.shape[1] > 1:
        ratios = [_one_ratio(a[:, channel], b[:, channel]) for channel in range(a.shape[1])]
        if all(item is not None for item in ratios):
            return "a factor for each channel: a scale that one side ignores or takes from another layer"
        moved = difference - difference.mean(axis=tuple(i for i in range(a.ndim) if i != 1), keepdims=True)
        if np.abs(moved).max() <= 1e-4 * np.abs(difference).max():
            return "an offset for each channel: a bias that one side ignores or takes from another layer"
    return None


def _order(evidence: Evidence) -> str | None:
    if evidence.a.size != evidence.b.size:
        return None
    one, two = np.sort(evidence.a.ravel()), np.sort(evidence.b.ravel())
    if evidence.equal(one, two):
        return "the same numbers in another order: axes, channels or samples are permuted"
    return None


def _flip(evidence: Evidence) -> str | None:
    """Layers that turn a small difference of their input into a large one."""
    # Why a Quantize jumps has words of its own.
    if evidence.op is None or not evidence.op.trait(Jumps) or isinstance(evidence.op, Quantize):
        return None
    pairs = [
        (x, y) for x, y in zip(evidence.inputs_a, evidence.inputs_b, strict=False) if x is not None and y is not None
    ]
    if not pairs or all(np.array_equal(x, y.reshape(x.shape)) for x, y in pairs if aligned(x, y)):
        return None
    return f"{evidence.layer_type} jumps: its inputs agree within the tolerance but not to the bit, and near a tie or threshold that decides"


def _summed_up(evidence: Evidence) -> str | None:
    if not evidence.agrees_alone:
        return None
    if evidence.same_inputs:
        return (
            f"fed the same numbers, the layer alone agrees: in its network {evidence.sides[1]} changes its inputs or its result while it runs, "
            "by memory that is shared or layers that are fused"
        )
    return "fed the same numbers, the layer alone agrees: differences before it, each within the tolerance, add up here"


def _axpy(evidence: Evidence) -> str | None:
    """Tried in OpenCV 4.10: its Axpy is a * third + second."""
    inputs = [item for item in evidence.inputs_a if item is not None]
    if not isinstance(evidence.op, Axpy) or len(inputs) != 3:
        return None
    factor, data, added = (np.asarray(item, np.float64) for item in inputs)
    swapped = factor.reshape(*factor.shape[:2], *(1,) * (data.ndim - 2)) * added + data
    for side, value in _sides(evidence):
        if evidence.equal(value, swapped) and not evidence.equal(_other(evidence, value), swapped):
            return f"Axpy: {side} computes first * third + second, as OpenCV does; it is first * second + third"
    return None


def _detections(evidence: Evidence) -> str | None:
    if not isinstance(evidence.op, DetectionOutput) or evidence.a.shape == evidence.b.shape:
        return None
    counts = [value.size // 7 for _, value in _sides(evidence)]
    if not all(counts):
        return f"{evidence.sides[0]} finds {counts[0]} boxes, {evidence.sides[1]} {counts[1]}"
    many = 0 if counts[0] > counts[1] else 1
    rows = _sides(evidence)[many][1].reshape(-1, 7)[min(counts) :]
    return (
        f"{evidence.sides[many]} finds {len(rows)} boxes more, with scores from {rows[:, 2].min():.4g} to {rows[:, 2].max():.4g}: "
        "near the threshold, near the overlap at which a box is dropped, or where only so many are kept, the last bit decides"
    )


def _rounding(evidence: Evidence) -> str | None:
    if not aligned(evidence.a, evidence.b):
        return None
    a, b = np.asarray(evidence.a, np.float64).ravel(), np.asarray(evidence.b, np.float64).ravel()
    with np.errstate(all="ignore"):
        size = float(np.abs(b).max()) if b.size else 0.0
        if size and float(np.abs(a - b).max()) <= 1e-4 * size:
            return "rounding: sums in another order, or float32 against a wider type; a larger atol would accept it"
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return "overflow, division by zero or NaN on one side"
    return None


_RULES: tuple[_Rule, ...] = (
    _operator,
    _weights,
    _inputs,
    _pooled_size,
    _shape,
    _in_place,
    _batch_norm,
    _softmax,
    _quantized,
    _axpy,
    _slope,
    _detections,
    _flip,
    _summed_up,
    _rounding,
    _border,
    _constant_ratio,
    _order,
)


def _sides(evidence: Evidence) -> tuple[tuple[str, Array], tuple[str, Array]]:
    return (evidence.sides[0], evidence.a), (evidence.sides[1], evidence.b)


def _other(evidence: Evidence, value: Array) -> Array:
    return evidence.b if value is evidence.a else evidence.a


def _one_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """The factor between two arrays if there is one for all numbers."""
    whole = float((b * b).sum())
    if not np.isfinite(whole) or whole == 0:
        return None
    ratio = float((a * b).sum()) / whole
    return ratio if np.abs(a - ratio * b).max() <= 1e-4 * np.abs(b).max() * abs(ratio) else None


def _unit_axes(value: Array) -> list[int]:
    return [
        axis
        for axis, size in enumerate(value.shape)
        if size > 1 and np.allclose(np.asarray(value, np.float64).sum(axis=axis), 1, atol=1e-3)
    ]


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
