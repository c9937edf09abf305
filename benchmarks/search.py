"""Runs the benchmarks of the search and its parts one after the other, and writes their tables into docs/results.md.

python benchmarks/search.py [parts ...]; without parts all of them, which takes about 25 minutes on a quiet machine with two
cores. What a part printed stays in build/bench, so that one part can be measured again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tables import put_section

ROOT = Path(__file__).resolve().parent.parent
TARGET, KEPT = ROOT / "docs" / "results.md", ROOT / "build" / "bench"
HEADING = "## The search and its parts"
PARTS = {
    "layer_error": "Squared error of layers' outputs on images not used for calibration",
    "solver": "The solver of layers next to the one before it",
    "vgg16": "Time and memory of the preparation of VGG-16",
    "strategies": "Strategies next to each other",
    "kills": "Searches that are killed and started again",
    "parallel": "Several evaluations at once",
    "trial_speed": "One trial",
    "prediction": "Predicted losses",
}
_WIDTH = "150"


def main() -> None:
    """Runs the parts that are asked for and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    KEPT.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"{part}: {PARTS[part]}", flush=True)
        run = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{part}.py"))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": _WIDTH, "TERM": "dumb"},
        )
        (KEPT / f"{part}.txt").write_text(run.stdout, encoding="utf-8")
        print(run.stdout, flush=True)
    write_section()


def write_section() -> None:
    """Puts what the parts printed behind the results of whole searches."""
    lines = [
        HEADING,
        "",
        "Made by `make bench-search` (`benchmarks/search.py`); each part's module says what it measures.",
        "",
    ]
    for part, title in PARTS.items():
        kept = KEPT / f"{part}.txt"
        if kept.exists():
            text = "\n".join(line.rstrip() for line in kept.read_text(encoding="utf-8").splitlines()).strip("\n")
            lines += [f"### {title} (`benchmarks/{part}.py`)", "", "```", text, "```", ""]
    put_section(TARGET, HEADING, "\n".join(lines))


if __name__ == "__main__":
    main()
