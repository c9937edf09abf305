"""What is demanded of a model, and who judges it: options of ``nuqconv auto`` and ``nuqconv quantize``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.groups import OptionGroup
from nuqconv.cli.options import parse_drop
from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.search.metrics import Metric

__all__ = ["Judging"]


@dataclass(frozen=True)
class Judging(OptionGroup):
    """A limit for a metric, or an evaluator of the user's own."""

    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|PERCENT",
            help="Where more is better: how much may be lost; 0.01 and 1% are one percentage point of top1.",
        ),
    ] = None
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Where less is better, as for output_error: the largest value.")
    ] = None
    evaluator: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="An evaluator of your own instead of --data, --metric and a limit: a class or a function in a file, or in a module; "
            "nuqconv evaluator-template writes one to start from.",
        ),
    ] = None
    evaluator_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An argument for --evaluator; may be given several times."),
    ] = None

    def own(self, **beside: object) -> object | None:
        """Returns the user's evaluator, or None where none is named.

        Args:
            **beside: Values of other options that go without an evaluator, by the options' names with underscores.

        Raises:
            ConfigError: Options are given that an evaluator makes meaningless, or arguments without an evaluator.
            EvaluatorError: It cannot be loaded.
        """
        from nuqconv.evaluators.loading import load_evaluator, parse_arguments

        if self.evaluator is None:
            if self.evaluator_arg:
                raise ConfigError("--evaluator-arg goes with an --evaluator of your own")
            return None
        options = {**beside, "max_drop": self.max_drop, "max_error": self.max_error}
        given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, [])]
        if given:
            raise ConfigError(
                f"{', '.join(given)} go without --evaluator, which has data, metric and demand of its own; give it --evaluator-arg"
            )
        return load_evaluator(self.evaluator, parse_arguments(self.evaluator_arg or ()))

    def limit(self, metric: Metric) -> tuple[float | None, float | None]:
        """Returns max_drop and max_error; a drop of an error, or a limit on an accuracy, would accept any model or none.

        Raises:
            ConfigError: There is not exactly the one that goes with the metric.
        """
        wanted, given = ("--max-drop", self.max_drop) if metric.higher_is_better else ("--max-error", self.max_error)
        if given is None or not (self.max_drop is None or self.max_error is None):
            raise ConfigError(f"--metric {metric.text} needs {wanted}, and no other limit")
        return (None if self.max_drop is None else parse_drop(self.max_drop, share=metric.share)), self.max_error

    @property
    def limited(self) -> bool:
        """Whether a limit is given."""
        return self.max_drop is not None or self.max_error is not None
