"""Imports the whole package, so that a fork of the process that has done it need not."""

from __future__ import annotations

import importlib
import pkgutil

import nuqconv

for _module in pkgutil.walk_packages(nuqconv.__path__, "nuqconv."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)
