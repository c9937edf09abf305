"""The groups of options of ``nuqconv auto``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.groups import OptionGroup
from nuqconv.cli.lazy import one_of
from nuqconv.cli.options import parse_size
from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from typing import Literal

    from nuqconv.runtimes.base import Runtime
    from nuqconv.search.objective import Objective

__all__ = ["Isolation", "Journaling", "Searching", "Workers"]

_SEARCH, _JOURNAL, _WORKERS, _ISOLATION = (
    "The search",
    "Its journal",
    "Several evaluations at once",
    "A crashing runtime",
)


@dataclass(frozen=True)
class Searching(OptionGroup):
    """How far and for what is searched."""

    max_evaluations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most quantized models to evaluate; by default {nuqconv.search.run:DEFAULT_MAX_EVALUATIONS}.",
            rich_help_panel=_SEARCH,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds after which no further model is evaluated.", rich_help_panel=_SEARCH),
    ] = None
    max_layers: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many layers may have a codebook.", rich_help_panel=_SEARCH),
    ] = None
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead of the smallest: the best metric in at most this size of all parameters, as 6MB, 600kB or 2MiB. "
            "No limit for the metric is needed then.",
            rich_help_panel=_SEARCH,
        ),
    ] = None
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,...",
            help="Sizes of codebooks that may be tried, each from 2 to 256, as 64,16,8,4; by default 32,16, or what --config says (num_steps). "
            "The device knows 16 and 32: with others there is no deploy model.",
            rich_help_panel=_SEARCH,
        ),
    ] = None
    strategy: Annotated[
        str,
        one_of("nuqconv.search.strategies:STRATEGIES", help="How to search.", rich_help_panel=_SEARCH),
    ] = "path"
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many evaluations without a smaller result.", rich_help_panel=_SEARCH),
    ] = None

    @property
    def most_evaluations(self) -> int:
        """Most models to evaluate."""
        from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS

        return DEFAULT_MAX_EVALUATIONS if self.max_evaluations is None else self.max_evaluations

    def codebooks(self) -> tuple[int, ...] | None:
        """Returns the sizes of codebooks, the largest first; None where nobody says them.

        Raises:
            ConfigError: They are none.
        """
        from nuqconv.job.choice import parse_levels

        return None if self.levels is None else parse_levels(self.levels)

    def objective(self) -> Objective:
        """Returns what the search is for.

        Raises:
            ConfigError: The options do not go together, or the size is none.
        """
        from nuqconv.search.objective import NearestMetric, SmallestBytes

        if self.max_size is None:
            return SmallestBytes(self.max_layers)
        if self.max_layers is not None:
            raise ConfigError("--max-layers and --max-size exclude each other")
        return NearestMetric(parse_size(self.max_size))


@dataclass(frozen=True)
class Journaling(OptionGroup):
    """Where the search is written down."""

    journal: Annotated[
        Path | None,
        typer.Option(help="Journal of the search; by default SAVE_trials.sqlite.", rich_help_panel=_JOURNAL),
    ] = None
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="Keep no journal: a stopped search is lost.", rich_help_panel=_JOURNAL)
    ] = False
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="If the journal is of another model, configuration or other data: keep it as NAME.1 and begin again.",
            rich_help_panel=_JOURNAL,
        ),
    ] = False

    @property
    def place(self) -> Path | bool:
        """The journal, or whether there is one at its usual place.

        Raises:
            ConfigError: The options do not go together.
        """
        if self.journal is not None and self.no_journal:
            raise ConfigError("--journal and --no-journal exclude each other")
        return self.journal or not self.no_journal

    @property
    def on_mismatch(self) -> Literal["refuse", "restart"]:
        """What happens where the journal is of something else."""
        return "restart" if self.restart else "refuse"


@dataclass(frozen=True)
class Workers(OptionGroup):
    """How many evaluations run at once."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate in so many processes at once.", rich_help_panel=_WORKERS),
    ] = None
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds after which an evaluation is begun again in another process.", rich_help_panel=_WORKERS
        ),
    ] = None

    def sharing(self, runtime: Runtime, cores: int) -> Runtime:
        """Returns a runtime whose models take one worker's share of the cores, unless their threads are said."""
        several = self.workers is not None and self.workers > 1
        if not several or getattr(runtime, "threads", cores) is not None:
            return runtime
        return runtime.with_options(threads=max(1, cores // (self.workers or 1)))


@dataclass(frozen=True)
class Isolation(OptionGroup):
    """What happens where a runtime crashes."""

    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate",
            help="Run onnxruntime in a child process, so that a crash of it costs one try of one trial.",
            rich_help_panel=_ISOLATION,
        ),
    ] = False
    memory_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --isolate: MiB of memory that the child may have, Python and onnxruntime included.",
            rich_help_panel=_ISOLATION,
        ),
    ] = None
    child_timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --isolate: seconds that the child may take to load a model, or to run a batch; by default 600.",
            rich_help_panel=_ISOLATION,
        ),
    ] = None
    on_crash: Annotated[
        str,
        one_of(
            "nuqconv.auto_nuq:ON_CRASH",
            help="A trial that ends or blocks its process at every try: stop the search, or count the trial as refused.",
            rich_help_panel=_ISOLATION,
        ),
    ] = "stop"

    @property
    def crash_choice(self) -> Literal["stop", "refuse"]:
        """What happens to a trial that crashes at every try."""
        return "refuse" if self.on_crash == "refuse" else "stop"

    def runtime(self, name: str) -> Runtime:
        """Returns a runtime with the limits of its child process.

        Raises:
            ConfigError: It runs in no child process that could be limited, or the limits are out of range.
        """
        from nuqconv.runtimes.table import RUNTIMES, runtime_named

        if not self.isolate:
            if self.memory_limit is not None or self.child_timeout is not None:
                raise ConfigError(
                    "--memory-limit and --child-timeout are limits of the child process; they need --isolate"
                )
            return runtime_named(name)
        chosen = RUNTIMES[name]
        if "isolate" not in chosen.options():
            can = [other for other, runtime in RUNTIMES.items() if "isolate" in runtime.options()]
            raise ConfigError(f"--isolate is for {', '.join(can)}; {chosen.title} {chosen.isolation}")
        from nuqconv.runtimes.onnxruntime.isolated import LEAST_MEMORY

        if self.memory_limit is not None and self.memory_limit < LEAST_MEMORY >> 20:
            raise ConfigError(
                f"--memory-limit {self.memory_limit}: expected at least {LEAST_MEMORY >> 20} MiB, which onnxruntime takes before any model"
            )
        limit = None if self.memory_limit is None else self.memory_limit << 20
        return chosen.with_options(isolate=True, memory_limit=limit, timeout=self.child_timeout)
