"""Names that nothing else has."""

from __future__ import annotations

__all__ = ["fresh_name"]


def fresh_name(name: str, taken: set[str]) -> str:
    """Returns a name that is not taken, the wanted one or that with a number behind it, and takes it.

    Args:
        name: The wanted name.
        taken: Names that are there; the new one is added.
    """
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
