"""Outputs that appear whole or not at all, whoever looks and whenever the process ends.

`staging_folder` makes a hidden folder beside a target, under a lock; `move_into_place` exchanges a set of files for the finished ones in one
step. What is promised, and why it holds: "Writing files" in ``docs/security.md``.
"""

from __future__ import annotations

from nuqconv.files.staging.commit import move_into_place
from nuqconv.files.staging.folder import staging_folder
from nuqconv.files.staging.reasons import output_error
from nuqconv.files.staging.targets import check_targets
from nuqconv.files.staging.text import write_atomically

__all__ = ["check_targets", "move_into_place", "output_error", "staging_folder", "write_atomically"]
