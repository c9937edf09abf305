"""The user's own evaluator, named on the command line: a file or a module, and what in it makes the evaluator."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nuqconv.errors import EvaluatorError
from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator

__all__ = ["load_evaluator", "load_function", "parse_arguments"]


def load_evaluator(text: str, arguments: Mapping[str, Any] | None = None) -> object:
    """Returns the evaluator that a text names.

    The file is imported as a module of its name, with its folder on the path, so that it can import what lies beside it and worker processes can
    import it too.

    Args:
        text: ``my_eval.py:Evaluator`` or ``package.module:Evaluator``: a class, or a function that returns an evaluator. Without the part behind
            the colon the only evaluator class of the module is taken.
        arguments: Arguments by name.

    Raises:
        EvaluatorError: The file cannot be imported, the name is not there, it does not take the arguments, or makes no evaluator.
    """
    place, name = _parts(text)
    module = _module(place)
    maker = _named(module, name, place) if name else _only_class(module, place)
    call = f"{place}:{getattr(maker, '__name__', name)}"
    given = dict(arguments or {})
    try:
        inspect.signature(maker).bind(**given)
    except TypeError as error:
        raise EvaluatorError(
            f"{call}{inspect.signature(maker)} cannot be called with {given or 'no arguments'}: {error}; "
            "give its arguments as --evaluator-arg name=value"
        ) from error
    try:
        evaluator: object = maker(**given)
    except Exception as error:
        raise EvaluatorError(f"{call} raised {type(error).__name__}: {error}") from error
    CheckedEvaluator(evaluator)
    return evaluator


def load_function(text: str, name: str) -> Callable[..., Any]:
    """Returns a function of the user's.

    Args:
        text: ``file.py:function`` or ``package.module:function``.
        name: The function's name, where the text has none.

    Raises:
        EvaluatorError: The file cannot be imported, or the name is not there.
    """
    place, found = _parts(text)
    if place.endswith(".py") and not Path(place).is_file():
        raise EvaluatorError(f"{place}: there is no such file")
    function: Callable[..., Any] = _named(_module(place), found or name, place)
    return function


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Returns arguments given as ``name=value``; a value that is a Python literal is taken as one, any other as text.

    Raises:
        EvaluatorError: A text is not of that form, or a name is given twice; all faults are listed.
    """
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            problems.append(f"'{text}': expected name=value")
        elif name in found:
            problems.append(f"'{text}': '{name}' is given twice")
        else:
            try:
                found[name] = ast.literal_eval(value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                found[name] = value
    if problems:
        raise EvaluatorError("arguments of the evaluator are wrong (--evaluator-arg)", problems)
    return found


def _parts(text: str) -> tuple[str, str]:
    place, colon, name = text.rpartition(":")
    # A colon may belong to the path.
    return (place, name) if colon and name.isidentifier() and place else (text, "")


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return _imported(place, place)
    path = Path(place).resolve()
    if not path.is_file():
        raise EvaluatorError(
            f"{place}: there is no such file; nuqconv evaluator-template -o {path.name} writes one to start from"
        )
    if not path.stem.isidentifier():
        raise EvaluatorError(
            f"{place}: '{path.stem}' cannot be the name of a module; call the file something like my_eval.py"
        )
    known = sys.modules.get(path.stem)
    if known is None and str(path.parent) not in sys.path:
        # It stays, for what the evaluator imports later and for worker processes.
        sys.path.insert(0, str(path.parent))
    module = known or _imported(path.stem, place)
    if getattr(module, "__file__", None) is None or Path(str(module.__file__)).resolve() != path:
        raise EvaluatorError(
            f"{place}: a module '{path.stem}' is there already ({getattr(module, '__file__', 'built in')}); give the file another name"
        )
    return module


def _imported(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise EvaluatorError(
            f"{place}: importing it raised {type(error).__name__}: {error}{_line(error, place)}"
        ) from error


def _line(error: Exception, place: str) -> str:
    """Returns the line of the file in which importing it failed."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == Path(place).name:
            found = f" (line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _named(module: ModuleType, name: str, place: str) -> Any:
    maker = getattr(module, name, None)
    if not callable(maker):
        known = [item for item, value in vars(module).items() if callable(value) and _of(value, module)]
        raise EvaluatorError(f"{place}: has no class or function '{name}'; it has {', '.join(known) or 'none at all'}")
    return maker


def _only_class(module: ModuleType, place: str) -> Any:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and _of(value, module)
        and hasattr(value, "eval_model")
        and hasattr(value, "is_satisfied")
    ]
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found) or f"none; derive one from {AutoNuqEvaluatorBase.__name__}"
        raise EvaluatorError(
            f"{place}: say which class to take, as {place}:NAME; classes with eval_model and is_satisfied: {names}"
        )
    return found[0]


def _of(value: object, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__
