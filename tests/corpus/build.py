"""Writes the corpus: ``python -m tests.corpus.build``. The same table gives the same bytes.

Large files are not kept; the test makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fuzz.targets import CORPUS, TARGETS
from tests.corpus.cases import binaries, caffemodel, data_sets, large_nets, nets, onnx_models, prototxt, texts
from tests.corpus.cases.case import Case
from tests.corpus.cases.valid import FILES

__all__ = ["CASES", "EXPECTED", "FOUND", "found_files", "path_of"]

CASES: tuple[Case, ...] = tuple(
    case
    for module in (prototxt, nets, large_nets, caffemodel, texts, binaries, data_sets, onnx_models)
    for case in module.CASES
)
EXPECTED = CORPUS / "expected.json"
FOUND = CORPUS / "found"


def path_of(case: Case) -> Path:
    """Returns the file of a case."""
    return CORPUS / case.target / (case.name + TARGETS[case.target].suffix)


def found_files() -> Iterator[tuple[str, Path]]:
    """Yields target and file of what fuzzing has found."""
    for target in TARGETS:
        yield from ((target, path) for path in sorted((FOUND / target).glob("*")))


def expected_json() -> str:
    """Returns the table of what must come of each file."""
    table = {
        path_of(case).relative_to(CORPUS).as_posix(): {"error": case.error, "text": case.text}
        for case in CASES
        if isinstance(case.content, bytes)
    }
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Writes all files that are kept."""
    for case in CASES:
        if isinstance(case.content, bytes):
            path = path_of(case)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.content)
    for name, data in FILES.items():
        path = CORPUS / "valid" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    # What the ONNX models may take their data from.
    (CORPUS / "onnx" / "external.data").write_bytes(bytes(64))
    EXPECTED.write_text(expected_json())


if __name__ == "__main__":
    main()
