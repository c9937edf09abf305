"""Runs all definitions, or those named, and writes the table in docs/results.md.

make zoo
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tables import put_section

from nuqconv.runtimes.caffe import CaffeProcess
from tests.zoo.judge import CLOSE, Verdict, judge
from tests.zoo.table import GROUPS, zoo

TARGET = Path(__file__).resolve().parents[2] / "docs" / "results.md"
HEADING = "## Published architectures"


def text(verdicts: Sequence[Verdict]) -> str:
    """The section."""
    becomes = [verdict for verdict in verdicts if not verdict.refused]
    again = [verdict for verdict in becomes if not verdict.back_refused]
    blobs, back = (sum(getattr(verdict, name) for verdict in verdicts) for name in ("blobs", "back"))
    judges = Counter(verdict.judge or "nobody" for verdict in becomes)
    who = ", ".join(f"{name} {count}" for name, count in judges.most_common())
    lines = [
        HEADING,
        "",
        "Made by `make zoo` (`tests/zoo`): definitions written from published architectures, in small widths, with random weights",
        "from a seed. Each is read, converted to ONNX and back to Caffe files. All blobs of the ONNX model, and all that the Caffe",
        "files made from it still have, are held against real Caffe, or against OpenCV where that Caffe lacks a layer; a difference",
        f"of {CLOSE:g} of a blob's largest number is a failure. In the place of forks' layers that neither has, stock layers that",
        "compute the same stand in the judge's file where there are such.",
        "",
        f"Of {len(verdicts)} definitions {len(becomes)} become ONNX and {len(again)} of these Caffe files again. {blobs:,} blobs were",
        f"compared with others' ({who}), {back:,} after the way back.",
        "",
        "| definition | for | layers | judge | blobs | difference | on the way back | difference | refused, or not judged, and why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        told = [
            f"ONNX: {verdict.refused}" if verdict.refused else "",
            f"back to Caffe: {verdict.back_refused}" if verdict.back_refused else "",
            verdict.unjudged,
        ]
        cells = [
            verdict.name, verdict.group, verdict.layers, verdict.judge or "-",
            verdict.blobs or "-", _number(verdict.error, verdict.blobs),
            verdict.back or "-", _number(verdict.back_error, verdict.back), "; ".join(filter(None, told)).replace("|", "/"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def _number(error: float, blobs: int) -> str:
    return f"{error:.0e}" if blobs else "-"


def main() -> None:
    """Runs them in one Caffe process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"definitions or {', '.join(GROUPS)}; all by default, and only then docs/results.md is written",
    )
    names = parser.parse_args().names
    chosen = [entry for entry in zoo().values() if not names or {entry.name, entry.group}.intersection(names)]
    verdicts = []
    with CaffeProcess() as process:
        for entry in chosen:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    verdicts.append(judge(entry, Path(folder), process))
                except AssertionError as error:
                    raise SystemExit(f"{entry.name}: {error}") from error
            sys.stdout.write(f"{verdicts[-1]}\n")
    if not names:
        put_section(TARGET, HEADING, text(verdicts))


if __name__ == "__main__":
    main()
