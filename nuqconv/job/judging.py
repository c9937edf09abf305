"""One question to an evaluator: how good is the model that was made, beside the original, and is that good enough?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nuqconv.formats import WriteOptions
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array
from nuqconv.job.outputs import chosen_files
from nuqconv.job.planned import PlannedModel
from nuqconv.search.evaluator import CheckedEvaluator
from nuqconv.search.evaluator_facts import EvaluatorFacts

__all__ = ["Judge", "Verdict", "written_model"]


@dataclass(frozen=True)
class Verdict:
    """What an evaluator says of a model.

    Attributes:
        original: The original's metric.
        metric: That of the model.
        accepted: Whether it is as good as demanded; None where nothing is demanded.
        facts: What was measured and demanded, on which data.
    """

    original: float
    metric: float
    accepted: bool | None
    facts: EvaluatorFacts


@dataclass(frozen=True)
class Judge:
    """An evaluator that has seen the original model.

    Attributes:
        checked: The evaluator.
        batch_num: Batches of one evaluation.
        original: The original's metric.
        demanding: Whether it is asked for a verdict; else for its numbers only.
    """

    checked: CheckedEvaluator
    batch_num: int
    original: float
    demanding: bool

    @classmethod
    def of(cls, evaluator: object, model: ModelFiles, batch_num: int, *, demanding: bool) -> Judge:
        """Shows an evaluator the original model, which it may hold others against.

        Args:
            evaluator: The evaluator.
            model: The original's files.
            batch_num: Batches of one evaluation, where the evaluator does not say it.
            demanding: Whether it is to say what is good enough.

        Raises:
            EvaluatorError: It is none, it raised, returned no finite number, or refuses the original itself.
        """
        checked = CheckedEvaluator(evaluator)
        count = checked.evaluate_batch_num(batch_num)
        with tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
            paths = {"model": model.model, "weights": model.weights, **chosen_files(model, Path(folder))}
            ask = checked.baseline if demanding else checked.measure
            original = ask(paths["model"], paths["weights"], count)
        return cls(checked, count, original, demanding)

    def batches(self, batch_num: int) -> Iterator[Mapping[str, Array]] | None:
        """Returns the evaluator's batches to calibrate on, or None if it offers none."""
        return self.checked.calibration_batches(batch_num)

    def runner(self, batch_num: int) -> Callable[[str, str], None]:
        """Returns what has the evaluator run a model that measures itself, in its own Caffe."""

        def run(model: str, weights: str) -> None:
            self.checked.run_calibration(model, weights, batch_num)

        return run

    def verdict(self, model: PlannedModel) -> Verdict:
        """Returns what the evaluator says of a model.

        Raises:
            EvaluatorError: It raised, or returned something else than a finite number or a verdict.
        """
        with tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
            paths = written_model(model, Path(folder))
            metric = self.checked.measure(paths[0], paths[-1], self.batch_num)
        accepted = self.checked.satisfied(self.original, metric) if self.demanding else None
        return Verdict(self.original, metric, accepted, self.checked.facts(self.original))


def written_model(model: PlannedModel, folder: Path) -> tuple[Path, ...]:
    """Writes the form of a model that evaluators are given, in the format of the original, and returns its paths."""
    form = model.job.format.trial
    paths = tuple(folder / f"model{end}" for end in form.outputs.values())
    form.write(model.graph, paths, WriteOptions(dynamic_batch=None))
    return paths
