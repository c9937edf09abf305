"""The options of commands that read models and run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from nuqconv.cli.groups import OptionGroup
from nuqconv.cli.lazy import names_in
from nuqconv.errors import ConfigError

if TYPE_CHECKING:
    from nuqconv.frontends.options import ReadOptions
    from nuqconv.quantize.compensate import WeightMethod

__all__ = ["Computing", "Fitting", "Reading"]

_READING = "How a .prototxt is read"


@dataclass(frozen=True)
class Reading(OptionGroup):
    """How the files of models are read."""

    allow_unknown_fields: Annotated[
        bool,
        typer.Option(
            "--allow-unknown-fields",
            help="Only note fields and words of the .prototxt that are not known; a layer whose result they may change is not computed.",
            rich_help_panel=_READING,
        ),
    ] = False
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="A stage that selects layers by their include and exclude rules; may be given several times.",
            rich_help_panel=_READING,
        ),
    ] = None
    level: Annotated[
        int, typer.Option("--level", help="The level that selects layers by their rules.", rich_help_panel=_READING)
    ] = 0
    exact_sizes: Annotated[
        bool,
        typer.Option(
            "--exact-sizes",
            help="Take PriorBox sizes that are no whole numbers as they stand, like OpenCV; SSD Caffe cuts them.",
            rich_help_panel=_READING,
        ),
    ] = False

    def options(self) -> ReadOptions:
        """Returns them as readers take them."""
        from nuqconv.frontends.options import ReadOptions

        return ReadOptions(
            allow_unknown_fields=self.allow_unknown_fields,
            level=self.level,
            stages=frozenset(self.stage or ()),
            exact_sizes=self.exact_sizes,
        )


_FITTING = "How integers are chosen"


@dataclass(frozen=True)
class Fitting(OptionGroup):
    """How the integers of layers are chosen."""

    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A first look: each weight goes to the nearest level of its layer, instead of being fitted to the data. Takes much less "
            "time, and costs accuracy.",
            rich_help_panel=_FITTING,
        ),
    ] = False

    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential",
            help="Choose the integers of the result once more, layer after layer for what the quantized layers before make. "
            "Of auto: they are taken if the metric is no worse, which takes one more evaluation.",
            rich_help_panel=_FITTING,
        ),
    ] = False

    weights_only: Annotated[
        bool,
        typer.Option(
            "--weights-only",
            help="Quantize weights alone, fitted to the data; inputs of layers stay float, channels are not scaled, and there is no deploy model.",
            rich_help_panel=_FITTING,
        ),
    ] = False

    def method(self) -> WeightMethod | None:
        """Returns how weights are chosen."""
        from nuqconv.job.options import DEFAULT_METHOD

        return None if self.quick else DEFAULT_METHOD


_WHERE = "What onnxruntime computes on"


@dataclass(frozen=True)
class Computing(OptionGroup):
    """What onnxruntime computes on."""

    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Where onnxruntime computes, as cuda,cpu: the first that can run an operator runs it. By default cpu.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each model that runs in onnxruntime; by default all cores, shared where several run at once.",
            rich_help_panel=_WHERE,
        ),
    ] = None

    @contextmanager
    def in_force(self, runtimes: Iterable[str] = ()) -> Iterator[None]:
        """While it lasts, whatever runs in onnxruntime runs so, or in another runtime that a user chose and that has such options.

        Args:
            runtimes: The names of runtimes that a user chose; empty where the command chooses.

        Raises:
            ConfigError: None of them has such options, or the installed onnxruntime does not have a provider.
        """
        from nuqconv.runtimes.table import AUTO, DEFAULT, RUNTIMES

        options: dict[str, object] = {} if self.threads is None else {"threads": self.threads}
        if self.provider is not None:
            options["providers"] = tuple(name for name in names_in([self.provider]) if name)
        chosen = dict.fromkeys(DEFAULT if name == AUTO else name for name in runtimes or (DEFAULT,))
        with ExitStack() as stack:
            # A name that is not known is refused by whoever takes the runtime.
            if options and all(name in RUNTIMES for name in chosen):
                can = [name for name, runtime in RUNTIMES.items() if set(options) <= set(runtime.options())]
                wanted = [name for name in chosen if name in can]
                if not wanted:
                    titles = " and ".join(RUNTIMES[name].title for name in chosen)
                    decide = "decides that itself" if len(chosen) == 1 else "decide that themselves"
                    raise ConfigError(f"--provider and --threads are for {', '.join(can)}; {titles} {decide}")
                for name in wanted:
                    stack.enter_context(RUNTIMES.with_options(name, **options))
            yield
