"""Writes docs/api.md: which modules are public and what is in them; the site fills in their docstrings.

python tools/build_api_reference.py           # writes the file
python tools/build_api_reference.py --check   # exit code 1 if it is not current
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

from tables import main

from nuqconv.callable_module import function_of

TARGET = Path(__file__).resolve().parent.parent / "docs" / "api.md"

PUBLIC = (
    "nuqconv",
    "nuqconv.auto_nuq",
    "nuqconv.data",
    "nuqconv.evaluators",
    "nuqconv.search",
    "nuqconv.search.metrics",
    "nuqconv.search.strategies",
    "nuqconv.runtimes",
    "nuqconv.parallel",
    "nuqconv.comparison",
    "nuqconv.config",
    "nuqconv.compat",
    "nuqconv.pycaffe",
    "nuqconv.errors",
)
"""The modules whose names are public."""

HEAD = """# API reference

Made by `python tools/build_api_reference.py`; do not edit. The names on this page are public: [Stability](stability.md) says what that means.
A name that an earlier module on this page has already is not repeated.
"""

_SHOWN = """    options:
      heading_level: 3
      show_root_heading: true
      show_root_full_path: false
"""


def names(module: ModuleType) -> list[str]:
    """Returns the public names of a module, in the order of the alphabet."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            name for name, item in vars(module).items() if inspect.isclass(item) and item.__module__ == module.__name__
        ]
    return sorted(listed, key=str.lower)


def home(module: ModuleType, name: str) -> str:
    """Returns the path under which a name is defined, where it says so itself."""
    item = getattr(module, name)
    if isinstance(item, ModuleType):
        if item.__name__ in PUBLIC or not callable(item):
            return item.__name__
        item = function_of(item)
    path = f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', '')}"
    is_own = callable(item) and getattr(item, "__module__", "").startswith("nuqconv") and "<" not in path
    return path if is_own and path.count(".") else f"{module.__name__}.{name}"


def table() -> str:
    """Returns the text of the file."""
    parts, seen = [HEAD], set[str]()
    for path in PUBLIC:
        module = importlib.import_module(path)
        summary = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
        parts.append(f"\n## {path}\n\n{summary}\n")
        places = {name: home(module, name) for name in names(module)}
        for name, place in places.items():
            if place in seen:
                continue
            seen.add(place)
            item = getattr(module, name)
            if type(item) in (int, float, str):
                parts.append(f"\n### {name}\n\n`{item!r}`\n")
            elif place in PUBLIC:
                parts.append(
                    f"\n### `{path}.{name}` {{: #{path}.{name} }}\n\nThe module [{place}](#{place.replace('.', '')}).\n"
                )
            else:
                # What a module has that is public by itself too would be there twice.
                twice = any(other.startswith(f"{place}.") for other in places.values())
                alone = "      members: false\n" if isinstance(item, ModuleType) and twice else ""
                parts.append(f"\n::: {place}\n{_SHOWN}{alone}")
    return "".join(parts)


if __name__ == "__main__":
    main(TARGET, table)
