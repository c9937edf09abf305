"""The arrows of the architecture."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_rules_hold(tmp_path):
    """import-linter reads the contracts of pyproject.toml; it needs the three folders as the one package that they are installed as."""
    tree = tmp_path / "nuqconv"
    tree.mkdir()
    for part in (ROOT / "nuqconv").iterdir():
        (tree / part.name).symlink_to(part)
    for part in ("frontends", "backends"):
        (tree / part).symlink_to(ROOT / part)
    tool = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [str(tool), "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 kept, 0 broken" in run.stdout
