"""``nuqconv data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nuqconv.cli.data_options import DATA_HELP, Labels, Prep
from nuqconv.cli.helping import HelpfulCommand
from nuqconv.cli.lazy import make_app
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.cli.options import Model, Weights
from nuqconv.errors import ConfigError

__all__ = ["data"]

_SHOW = "show"
_BATCH = 8


class _ShowUnlessNamed(TyperGroup):
    """``nuqconv data SOURCE`` is ``nuqconv data show SOURCE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


data = make_app(
    cls=_ShowUnlessNamed,
    help="Say what the net sees of a data set, write it, or check how it is prepared: nuqconv data SOURCE, nuqconv data check MODEL.",
)


@data.command(cls=HelpfulCommand)
def show(
    source: Annotated[Path, typer.Argument(help="The samples: see --data of nuqconv auto.")],
    prep: Prep = None,
    labels: Labels = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="The net that they are for: .prototxt and .caffemodel (give --model twice), or .onnx."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the prepared samples to this .npz.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Write a contact sheet of the first pictures, as the net sees them, to this .png."),
    ] = None,
    aipp: Annotated[
        Path | None, typer.Option(help="Write the preparation as an AIPP configuration for the device to this file.")
    ] = None,
    reading: Reading = Reading(),
) -> None:
    """Say what the net sees of a data set, and write the prepared samples, a contact sheet of them, or an AIPP file.

    Examples:
        nuqconv data photos/ --prep "bgr, resize 256x256, crop 224x224, mean 104 117 123" --sheet sheet.png
    """
    from rich.markup import escape

    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_files, data_set, preparation_of, say_data, say_more, write_set
    from nuqconv.data.extras import pillow
    from nuqconv.data.look import contact_sheet
    from nuqconv.data.preparation import write_aipp
    from nuqconv.files.staging import check_targets, move_into_place, staging_folder, write_atomically
    from nuqconv.formats.argument import open_model

    targets = [path for path in (output, sheet, aipp) if path is not None]
    _check_names(output, sheet)
    # A database or a folder is no file, and its files are never written to.
    check_targets(targets, inputs=data_files(source, prep, labels))
    found = data_set(
        source,
        prep,
        labels,
        open_model(tuple(model), options=reading.options()) if model else None,
    )
    console = new_console()
    say_data(found, console)
    say_more(found, console)
    written: dict[Path, Callable[[Path], object]] = {}
    if output is not None:
        written[output] = lambda path: write_set(found, path, console)
    if sheet is not None:
        written[sheet] = lambda path: pillow().fromarray(contact_sheet(found)).save(path, "PNG")
    if written:
        with staging_folder(*written) as staging:
            made = {path: staging / f"{number}{path.suffix}" for number, path in enumerate(written)}
            for target, place in made.items():
                written[target](place)
            move_into_place(made)
    if aipp is not None:
        write_atomically(aipp, write_aipp(preparation_of(found)))
    for path in targets:
        console.print(f"written  {escape(str(path))}", soft_wrap=True)


def _check_names(output: Path | None, sheet: Path | None) -> None:
    for path, suffix in ((output, ".npz"), (sheet, ".png")):
        if path is not None and path.suffix != suffix:
            raise ConfigError(f"{path}: the file is a {suffix} and should be called so")


@data.command(cls=HelpfulCommand)
def check(
    model: Model,
    source: Annotated[Path, typer.Option("--data", help=DATA_HELP)],
    weights: Weights = None,
    prep: Prep = None,
    labels: Labels = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What to score by where there are labels; by default what they are usually judged by."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(metavar="BLOB", help="A blob to judge instead of the net's outputs; may be given several times."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Most samples to run.")] = 32,
    computing: Computing = Computing(),
    reading: Reading = Reading(),
) -> None:
    """Say how far the common mistakes in preparing data move the outputs, next to int8; with labels, which way scores best.

    Examples:
        nuqconv data check deploy.prototxt weights.caffemodel --data photos/ --prep "bgr, resize 224x224, mean 104 117 123"
    """
    from nuqconv.cli.report import new_console
    from nuqconv.cli.views.data import data_set, print_check, say_data
    from nuqconv.formats.argument import open_model
    from nuqconv.frontends.options import ReadOptions
    from nuqconv.job.console import error_console
    from nuqconv.job.data_check import check_data
    from nuqconv.search.metrics import parse_metric

    files = open_model(model, weights, reading.options())
    found = data_set(source, prep, labels, files)
    batch = files.own_batch() or _BATCH
    options = ReadOptions(files.sizes_for(found.shapes(), min(samples, batch)))
    console = new_console()
    say_data(found, console)
    with computing.in_force(), error_console().status("trying other ways to prepare the data"):
        checked = check_data(
            files.read(options).graph,
            found,
            metric=None if metric is None else parse_metric(metric),
            outputs=outputs,
            samples=samples,
            batch_size=batch,
        )
    print_check(checked, console)
