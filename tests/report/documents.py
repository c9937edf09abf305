"""Documents of searches with any number of layers and trials, and what a page holds, read by Python's own parser of HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from nuqconv.report.document import (
    DifferenceRow,
    Document,
    ErrorRow,
    Errors,
    LayerRow,
    NoiseRow,
    Seconds,
    SizesRow,
    TrialRow,
)
from nuqconv.report.sources import Report

_FORMS = {"float": (32, None), "int8": (8, None), "32": (5, 32), "16": (4, 16)}


def made_up(layers: int = 12, trials: int = 9, seed: int = 0) -> Report:
    """A report with random numbers in it, in the shape of a real one."""
    rng = np.random.default_rng(seed)
    rows, errors, histograms, plan = [], [], {}, {}
    for number in range(layers):
        name = f"res{number // 6 + 2}/branch2_{number}"
        form = str(rng.choice(list(_FORMS), p=[0.03, 0.17, 0.4, 0.4]))
        bits, levels = _FORMS[form]
        weights, outputs = int(rng.integers(1000, 2_000_000)), int(rng.integers(16, 512))
        size = weights * bits // 8 + 8 * outputs + (levels or 0)
        precision = form if levels is None else "nuq"
        before = 4 * (weights + outputs)
        rows.append(LayerRow(name, "Convolution", precision, levels, levels, weights, bits, size, before, False))
        integers = np.clip(np.rint(rng.normal(0, rng.uniform(20, 45), 2000)), -128, 127).astype(int)
        histograms[name] = np.bincount(integers + 128, minlength=256).tolist()
        book = None if levels is None else sorted(rng.choice(np.arange(-128, 128), levels, replace=False).tolist())
        activation = {"scale": float(np.float32(rng.uniform(0.001, 0.5))), "offset": int(rng.integers(-128, 128))}
        if form == "float":
            activation = None
        else:
            alone = rng.normal(35, 4)
            whole = alone - rng.uniform(0, 12)
            errors.append((name, levels, _noise(whole), _noise(alone), round(alone + 1, 2), round(alone + 5, 2)))
        plan[name] = {
            "precision": precision,
            "channel_wise": True,
            "num_steps": levels,
            "codebook": book,
            "activation": activation,
        }
    order = sorted(range(len(errors)), key=lambda index: errors[index][3].snr_db)
    ranks = {index: place for place, index in enumerate(order, 1)}
    error_rows = tuple(
        ErrorRow(item[0], "Convolution", item[1], ranks[index], *item[2:]) for index, item in enumerate(errors)
    )
    total, size = sum(row.float_bytes for row in rows), sum(row.bytes for row in rows)
    tried = tuple(
        TrialRow(
            number,
            f"exchange: res{number}_branch2a int8 to 16 levels",
            float(0.7 + rng.normal(0, 0.01)),
            bool(rng.random() < 0.6),
            int(size * (1 + abs(rng.normal(0, 0.4)))),
            round(float(rng.uniform(1, 9)), 3),
            bool(rng.random() < 0.1),
            f"{int(rng.integers(1, 2**62)):064x}",
        )
        for number in range(1, trials + 1)
    )
    document = Document(
        state="finished",
        network="made up",
        metric_name="top1",
        demand="at most 0.01 below the original",
        better="higher",
        limit=0.695,
        original_metric=0.705,
        metric=tried[-1].metric,
        accepted=True,
        difference=DifferenceRow(0.00456, -0.00512, 0.01423, 0.95, 10000),
        best_trial=trials,
        sizes=SizesRow(total, total // 4, size, 4.618),
        layers=tuple(rows),
        trials=tried,
        aim="the smallest size",
        strategy="path",
        budget={"max_evaluations": trials + 20, "timeout": 3600.5, "patience": 17},
        model={"model": "net.prototxt"},
        hashes={"model": "0123abcd" * 8},
        data="10,000 x 3x224x224 from photos/",
        samples=10000,
        runtime="real Caffe",
        calibration="onnxruntime",
        reverted=("res2/branch2_3",),
        folded={"res2/branch2_1": ("bn", "scale")},
        stopped_by="complete",
        notes=("one <b>note</b> & another, see http://example.invalid",),
        seconds=Seconds(123.456, 99.875),
        files={"fake_quant_model": "out/net_fake_quant_model.prototxt"},
        file_bytes={"fake_quant_model": 54321},
        journal="out/net_trials.sqlite",
        versions={"nuqconv": "0.1.0"},
        date="2026-01-02T03:04:05Z",
        command="nuqconv auto net.prototxt net.caffemodel --data photos --metric top1 --max-drop 0.01 --save out/net",
        errors=Errors(64, error_rows, {"prob": NoiseRow(21.34, 0.991234, 0.1234)}, {}),
        plan={"version": 1, "layers": plan},
    )
    return Report(document, histograms)


def _noise(decibels: float) -> NoiseRow:
    relative = 10 ** (-decibels / 20)
    return NoiseRow(round(float(decibels), 2), round(1 - relative**2 / 2, 6), float(f"{3 * relative:.4g}"))


@dataclass
class Page(HTMLParser):
    """What a page holds.

    Attributes:
        text: All text in it, also that of titles and descriptions.
        values: The values of all attributes.
        pictures: For each picture whether it has a title, a description and a role.
        open: Elements that are open; those whose end may be left out are not counted.
    """

    text: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    _OPTIONAL = frozenset(
        ["html", "body", "td", "th", "tr", "thead", "tbody", "li", "dt", "dd", "p", "meta", "br", "img"]
    )

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        page.feed(html)
        page.close()
        return page

    def handle_starttag(self, tag, attrs):
        self.values += [value for _, value in attrs if value]
        if tag == "svg":
            self.pictures.append({"role": dict(attrs).get("role", "")})
        if tag not in self._OPTIONAL:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.values += [value for _, value in attrs if value]

    def handle_endtag(self, tag):
        if tag in self._OPTIONAL:
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> where {self.open[-3:]} are open")
        else:
            self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] in (["style"], ["script"]):
            return
        self.text.append(data)
        if self.open[-2:-1] == ["svg"] and self.open[-1] in ("title", "desc"):
            self.pictures[-1].setdefault(self.open[-1], data)

    @property
    def words(self) -> str:
        return "\n".join([*self.text, *self.values])
