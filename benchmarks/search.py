"""Runs the benchmarks of the search and its parts one after the other, and writes their tables into docs/results.md.

python benchmarks/search.py [parts ...]; without parts all of them, which takes about 35 minutes on a quiet machine with two
cores. The document keeps the tables of parts that are not run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tables import put_section

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "results.md"
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
_TABLE = re.compile(r"(?ms)^### [^\n]+ \(`benchmarks/(\w+)\.py`\)\n\n```\n(.*?)\n```$")


def main() -> None:
    """Runs the parts that are asked for and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for part in parts:
        print(f"{part}: {PARTS[part]}", flush=True)
        run = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{part}.py"))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": _WIDTH, "TERM": "dumb"},
        )
        print(run.stdout, flush=True)
        write_section(TARGET, {part: run.stdout})


def write_section(target: Path, printed: Mapping[str, str]) -> None:
    """Puts what parts printed behind the results of whole searches; what is said there of other parts stays.

    Args:
        target: The document.
        printed: What came out of parts, by their names.
    """
    found = {**dict(_TABLE.findall(target.read_text(encoding="utf-8"))), **printed}
    lines = [
        HEADING,
        "",
        "Made by `make bench-search` (`benchmarks/search.py`); each part's module says what it measures.",
        "",
    ]
    for part, title in PARTS.items():
        if part in found:
            text = "\n".join(line.rstrip() for line in found[part].splitlines()).strip("\n")
            lines += [f"### {title} (`benchmarks/{part}.py`)", "", "```", text, "```", ""]
    put_section(target, HEADING, "\n".join(lines))


if __name__ == "__main__":
    main()
