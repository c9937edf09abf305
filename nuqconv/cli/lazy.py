"""Commands that are imported when they run, and options whose words stand in a table elsewhere, which is read when they are used."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from nuqconv.cli import helping, messages

__all__ = ["VERBOSE_HELP", "Place", "group_of", "make_app", "names_in", "one_of"]

VERBOSE_HELP = "Say more: -v each step, -vv everything."


class Place(NamedTuple):
    """Where a command is, and what the list of commands says of it.

    Attributes:
        module: The module; the command is the function or the `typer.Typer` in it that has the command's name, with _ for -.
        summary: The first line of the command's own help.
        settings: Settings of the parser, such as ``allow_interspersed_args``.
    """

    module: str
    summary: str
    settings: dict[str, Any] | None = None


def make_app(**options: Any) -> typer.Typer:
    """Returns an application that looks as all parts of the command line do."""
    settings = {"add_completion": False, **options}
    return _App(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, **settings)


class _App(typer.Typer):
    """An application whose commands may take groups of options."""

    def command(self, *names: Any, **settings: Any) -> Callable[[Any], Any]:
        from nuqconv.cli.groups import flat

        enter = super().command(*names, **settings)

        def entered(function: Any) -> Any:
            enter(flat(function))
            return function

        return entered


def group_of(places: Mapping[str, Place]) -> type[TyperGroup]:
    """Returns the class of a group that has commands by name and imports one of them only to run it."""

    class LateGroup(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.commands.update({name: _LateCommand(name, place) for name, place in places.items()})
            _convert_late(self)

        def list_commands(self, ctx: Any) -> list[str]:
            del ctx
            return list(self.commands)

    return LateGroup


def names_in(texts: Iterable[str]) -> list[str]:
    """Returns the names in texts that may hold several, with commas between them."""
    return [name.strip() for text in texts for name in text.split(",")]


def one_of(table: str, *, several: bool = False, **options: Any) -> Any:
    """Returns an option that takes one of the names in a table, which is imported only when a name or the help is wanted.

    Args:
        table: ``module:NAME`` of the table: a mapping from names, or only the names. What an entry has as ``summary`` is said in the help.
        several: Whether a text may be several names with commas between them.
        options: Those of `typer.Option`.
    """

    def check(ctx: typer.Context, param: Any, value: Any) -> Any:
        # The default is the command's own; a list is of an option that may be given several times.
        given = [] if value == param.default or value is None else value if isinstance(value, list) else [value]
        for name in names_in(given) if several else given:
            names = list(helping.entries(table))
            if name not in names:
                known = ", ".join(f"'{item}'" for item in names)
                raise typer.BadParameter(f"'{name}' is not one of {known}.", ctx=ctx, param=param)
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in helping.entries(table) if name.startswith(incomplete)]

    check.table, check.several = table, several  # type: ignore[attr-defined]
    return typer.Option(callback=check, autocompletion=complete, **options)


class _LateCommand(TyperCommand):
    """Stands for a command until it is run."""

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name=name, help=place.summary)
        self.place = place

    def load(self) -> Any:
        """Imports the command and returns it."""
        found = getattr(importlib.import_module(self.place.module), str(self.name).replace("-", "_"))
        if not isinstance(found, typer.Typer):
            single = make_app()
            single.command(name=self.name, cls=helping.HelpfulCommand, context_settings=self.place.settings)(found)
            found = single
        command: Any = typer.main.get_command(found)
        command.name = self.name
        if not (self.place.settings or {}).get("ignore_unknown_options"):
            _take_verbose(command)
        helping.dress(command, str(self.name))
        _convert_late(command)
        return command

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        return self.load().make_context(*arguments, **options)


class _MissingError(typer.BadParameter):
    """A required parameter is not given."""

    def format_message(self) -> str:
        param: Any = self.param
        return f"Missing {param.param_type_name} {param.get_error_hint()}."


def _take_verbose(command: Any) -> None:
    """Lets -v stand behind a command as well as before it."""
    parts = getattr(command, "commands", {})
    for part in parts.values():
        _take_verbose(part)
    if not parts:
        command.params.append(_verbose_option())


def _say_more(count: int) -> None:
    if count:
        messages.louder(count)


def _nothing(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, expose_value=False, callback=_say_more, help=VERBOSE_HELP)
    ] = 0,
) -> None:
    del verbose


def _verbose_option() -> Any:
    holder = make_app()
    holder.command()(_nothing)
    (option,) = typer.main.get_command(holder).params
    return option


def _convert_late(command: Any) -> None:
    """Lets parameters that are not given do without what converts values, which takes longer to import than all else that starts the command."""
    own = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        # Among them the help option, which the command adds itself.
        params: list[Any] = own(ctx)
        for param in params:
            helping.say_kind(param)
            if not isinstance(param.process_value, functools.partial):
                param.process_value = functools.partial(_processed, param, param.process_value)
        return params

    command.get_params = get_params
    for part in getattr(command, "commands", {}).values():
        _convert_late(part)


def _processed(param: Any, process: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """Processes a value as the parameter does itself, without a conversion where there is nothing to convert."""
    given = value is not None and not (value is param.default and type(value) in (bool, int, float, str))
    if given:
        return process(ctx, value)
    if value is None and param.required:
        raise _MissingError("", ctx=ctx, param=param)
    if value is None and (param.multiple or param.nargs == -1):
        value = ()
    return value if param.callback is None else param.callback(ctx, param, value)
