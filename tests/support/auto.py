"""What tests of the whole job share: LeNet and its data, a small net with its evaluator, folders compared byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nuqconv
from nuqconv.data.datafile import DataFile, read_data
from tests.support.nets import Files, conv_net

LENET = Path(__file__).parents[2] / "examples" / "lenet"
LENET_MODEL, LENET_WEIGHTS = LENET / "deploy.prototxt", LENET / "lenet.caffemodel"

OUTPUTS = (
    "net_deploy_model.prototxt",
    "net_deploy_weights.caffemodel",
    "net_fake_quant_model.prototxt",
    "net_fake_quant_weights.caffemodel",
    "net_nuq_codebooks.json",
    "net_nuq_layer_record.txt",
    "net_quant.json",
    "record.txt",
)
WEIGHT_ONLY_OUTPUTS = tuple(name for name in OUTPUTS if "fake_quant" in name or "nuq" in name or "quant.json" in name)


def lenet_data(samples: int) -> DataFile:
    """The first samples of LeNet's test set."""
    data = read_data(LENET / "test_set.npz", ["data"])
    return DataFile({"data": data.inputs["data"][:samples]}, data.labels[:samples])


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that a folder holds, hidden files too; None stands for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def batches(count: int = 2, seed: int = 1, shape: tuple[int, ...] = (4, 3, 12, 12)) -> list[dict[str, np.ndarray]]:
    """Random inputs of the small net."""
    rng = np.random.default_rng(seed)
    return [{"data": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def error_evaluator(max_error: float = 0.05, **options: Any) -> nuqconv.OnnxRuntimeEvaluator:
    """Judges the small net by the error of its outputs."""
    data = np.concatenate([batch["data"] for batch in batches()])
    return nuqconv.OnnxRuntimeEvaluator(
        {"data": data}, metric="output_error", max_error=max_error, batch_size=4, **options
    )


@dataclass
class Judge:
    """An evaluator without batches to calibrate on, which runs nothing; by default it accepts what it is shown.

    Attributes:
        metric: Called with the text of the prototxt.
        accepts: Called with the metric of a model.
        seen: The texts of the models, in order.
    """

    metric: Any = lambda text: 0.0
    accepts: Any = lambda metric: True
    seen: list[str] = field(default_factory=list)

    def eval_model(self, model_file, weights_file, batch_num):
        self.seen.append(Path(model_file).read_text())
        return self.metric(self.seen[-1])

    def is_satisfied(self, original_metric, new_metric):
        return self.accepts(new_metric)


@dataclass
class Job:
    """The small net with its configuration in one folder, and another folder for outputs, which is empty."""

    folder: Path
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.files = conv_net(self.folder)
        self.config = self.folder / "config.json"
        nuqconv.create_quant_config(self.config, self.files.model, self.files.weights, batch_num=2)
        self.out = self.folder / "out"
        self.out.mkdir()

    def run(self, evaluator: object, **options: Any) -> nuqconv.NuqResult:
        """Runs the job; without a journal, so that one folder serves several searches, unless ``journal`` is given."""
        options.setdefault("journal", False)
        return nuqconv.auto_nuq(
            options.pop("model", self.files.model),
            options.pop("weights", self.files.weights),
            evaluator,
            options.pop("config", self.config),
            options.pop("record", self.out / "record.txt"),
            options.pop("save_dir", self.out / "net"),
            **options,
        )

    def refused(self, error: type[Exception], *, evaluator: object = None, **options: Any) -> list[str]:
        """Runs the job, which must fail and write nothing at all; returns the lines of the message.

        Without an evaluator of its own, the failure must come before any evaluator is asked.
        """
        judge = Judge()
        before = contents(self.folder)
        with pytest.raises(error) as caught:
            self.run(judge if evaluator is None else evaluator, **options)
        assert type(caught.value) is error
        assert contents(self.folder) == before
        assert contents(self.out) == {}
        assert judge.seen == []
        return str(caught.value).splitlines()
