"""Options that belong together: the parser makes one object of them, which a command hands on whole.

A command takes such an object as one parameter, annotated with its class; the fields of the class are the options. A new one is a field, and no
command has to be told of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints

__all__ = ["OptionGroup", "flat"]


class OptionGroup:
    """Base of the groups: frozen dataclasses whose fields are options with defaults."""


def flat(command: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a command as the parser takes it, with the options of each group in the place of the group."""
    groups: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    # Not get_type_hints: before Python 3.11 it puts an Optional around what has None for its default.
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            groups[name] = kind
            shown += _options_of(kind)
        else:
            shown.append(_option(name, kind, parameter.default))
    if not groups:
        return command

    @wraps(command)
    def flattened(**given: Any) -> Any:
        made = {
            name: kind(**{item.name: given.pop(item.name) for item in fields(kind)}) for name, kind in groups.items()
        }
        return command(**given, **made)

    del flattened.__wrapped__
    flattened.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return flattened


def _options_of(kind: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        yield _option(item.name, hints[item.name], item.default)


def _option(name: str, hint: Any, default: Any) -> inspect.Parameter:
    # By name, since options that must be given may stand behind others.
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
