"""What the caller of a search or a quantization chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from nuqconv.data import DataSet
from nuqconv.errors import ConfigError, SearchError
from nuqconv.evaluators.identity import batches_digest
from nuqconv.ir import Array
from nuqconv.job.about import Budget
from nuqconv.job.checkpoint import OnMismatch
from nuqconv.job.choice import checked_levels
from nuqconv.job.evaluation import WorkerOptions
from nuqconv.job.forms import Forms
from nuqconv.job.preparation import OnStep
from nuqconv.job.progress import JobProgress
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.search.objective import Objective, SmallestBytes
from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS, Progress, Trial, check_budget
from nuqconv.search.strategies import StrategyChoice, check_strategy

__all__ = ["DEFAULT_METHOD", "ON_CRASH", "SMALLEST", "OnCrash", "PrepareOptions", "SearchOptions"]

DEFAULT_METHOD = WeightMethod()
SMALLEST = SmallestBytes()
_BUDGET = Budget(DEFAULT_MAX_EVALUATIONS, None, None)
_HERE = WorkerOptions()

OnCrash = Literal["stop", "refuse"]
ON_CRASH: tuple[OnCrash, ...] = get_args(OnCrash)


@dataclass(frozen=True)
class PrepareOptions:
    """How the integers of a model are chosen, with a search or without.

    Attributes:
        calibration_data: Batches of inputs to calibrate on, or a data set; None for those of the evaluator.
        weight_method: How the weights of NUQ layers are chosen; None puts each on the nearest level.
        importance: For some layers a weight >= 0 for each of their weights.
        input_shapes: Shapes for inputs by name, instead of the file's.
        progress: Whether to show a progress bar; None shows it on a terminal.
        on_step: Called with what is being done, how many parts of it are done and how many there are; ends the work with a `SearchError` when
            it returns True.
        equalize: Whether channels of inner values may be scaled (`nuqconv.passes.equalize`) where the evaluator finds all layers at int8 better
            for it. Nothing is scaled without a search.
        weights_only: Whether inputs of layers stay float: weights are quantized, and nothing else. No channels are scaled then, and no files for the
            device are written.
        sequential: Whether the integers of the plan that is found (of the plan that was asked for, without a search) are chosen once more, each
            layer's for the inputs that the quantized layers before it make. A search takes them if the evaluator finds them no worse.
    """

    calibration_data: Sequence[Mapping[str, Array]] | DataSet | None = None
    weight_method: WeightMethod | None = DEFAULT_METHOD
    importance: Mapping[str, Array] | None = None
    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    progress: bool | None = None
    on_step: Callable[[str, int, int], object] | None = None
    equalize: bool = True
    sequential: bool = False
    weights_only: bool = False

    def stepper(self, shown: JobProgress) -> OnStep:
        """Returns what is to be called as the work goes on."""

        def on_step(name: str, done: int, total: int) -> None:
            shown.on_step(name, done, total)
            if self.on_step is not None and self.on_step(name, done, total) is True:
                raise SearchError(f"on_step has ended the work at {done} of {total}, {name}; nothing was written")

        return on_step

    def choices(self) -> dict[str, str]:
        """Returns what the integers depend on besides model and data, as texts by name."""
        found = {"weights": "nearest" if self.weight_method is None else self.weight_method.key()}
        if self.input_shapes:
            found["input shapes"] = "; ".join(
                f"{name} {list(shape)}" for name, shape in sorted(self.input_shapes.items())
            )
        if self.importance is not None:
            found["importance"] = batches_digest([self.importance])
        if not self.equalize:
            found["equalize"] = "no"
        if self.weights_only:
            found["inputs of layers"] = "float"
        return found


@dataclass(frozen=True)
class SearchOptions:
    """How a search is done.

    Attributes:
        prepare: How integers are chosen.
        objective: What the search is for.
        strategy: How it chooses plans.
        budget: How long it may take.
        workers: Where plans are evaluated.
        on_crash: What becomes of a trial that ends or blocks its process at every try.
        journal: Where its journal is kept; None keeps none.
        on_mismatch: What to do with the journal of another search.
        on_trial: Called after each trial with how far the search is; no further one is begun when it returns True.
        forms: What may become of layers.
        levels: Codebook sizes that may be tried, each from 2 to 256; None for those that the configuration says (``num_steps``: 32, or 32 and 16).
            The configuration says which layers may have a codebook, whoever says the sizes.
    """

    prepare: PrepareOptions = PrepareOptions()
    objective: Objective = SMALLEST
    strategy: StrategyChoice = "path"
    budget: Budget = _BUDGET
    workers: WorkerOptions = _HERE
    on_crash: OnCrash = "stop"
    journal: Path | None = None
    on_mismatch: OnMismatch = "refuse"
    on_trial: Callable[[Trial, Progress], object] | None = None
    forms: Forms = Forms.CODEBOOKS
    levels: Sequence[int] | None = None

    @property
    def codebooks(self) -> tuple[int, ...] | None:
        """The levels, the largest first.

        Raises:
            ConfigError: They are wrong; all faults are listed.
        """
        return None if self.levels is None else checked_levels(self.levels)

    def choices(self) -> dict[str, str]:
        """Returns what the trials depend on besides model, data and evaluator, as texts by name."""
        found = self.prepare.choices()
        if self.forms is not Forms.CODEBOOKS:
            found["layers"] = self.forms.value
        if self.codebooks is not None:
            found["levels"] = ", ".join(map(str, self.codebooks))
        return found

    def check(self) -> None:
        """Checks what can be checked before the model is read.

        Raises:
            SearchError, ConfigError: An option is wrong, or options do not go together.
        """
        check_budget(self.budget.max_evaluations, self.budget.timeout, self.budget.patience)
        check_strategy(self.strategy)
        self.workers.check()
        if self.codebooks is not None and self.forms is Forms.INT8:
            raise ConfigError("levels are those of codebooks, and layers may be int8 or float only; leave them out")
        if self.on_crash not in ON_CRASH:
            raise ConfigError(f"on_crash must be {' or '.join(map(repr, ON_CRASH))}, found {self.on_crash!r}")
