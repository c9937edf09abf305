"""Installs the lowest versions that pyproject.toml allows of what nuqconv needs, and runs tests of every part that uses them; ``make lowest``.

Needs CPython 3.10 (on PATH, in pyenv or in uv): for later ones the lowest versions have no wheels. Tools that only tests need come in their newest
version. The environment is build/lowest.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from setup_caffe import load_interpreters

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "lowest"
LOWEST_PYTHON = (3, 10)
EXTRAS = ("data", "parallel", "dask")
TOOLS = ("pytest", "hypothesis", "kmeans1d", "psutil", "opencv-python-headless==4.10.0.84")
TESTS = {
    "typer, rich": ("tests/cli/test_help.py", "tests/cli/test_groups.py", "tests/cli/test_start.py", "tests/cli/test_cli.py",
                    "tests/cli/test_convert_compare.py", "tests/cli/test_inspect_layers.py", "tests/cli/test_trials.py"),
    "pydantic": ("tests/config", "tests/job/test_bad_options.py"),
    "protobuf": ("tests/frontends/caffe", "tests/backends/caffe/test_record.py", "tests/files/test_bounded.py"),
    "onnx, onnxruntime": ("tests/frontends/onnx/test_external.py", "tests/frontends/onnx/test_functions.py", "tests/backends/onnx",
                          "tests/formats/test_convert.py", "tests/formats/test_onnx_models.py", "tests/runtimes/onnxruntime", "tests/passes"),
    "numpy": ("tests/ir", "tests/quantize", "tests/search/test_journal.py", "tests/search/test_metrics.py"),
    "Pillow, lmdb, h5py": ("tests/data",),
    "all of a search": ("tests/job/test_typed_auto.py", "tests/job/test_result.py", "tests/report/test_markdown.py"),
    "cloudpickle, dask, distributed": ("tests/parallel",),
}  # fmt: skip
"""What is run, by what it is about."""


def lowest(text: str) -> list[str]:
    """Returns the requirements of the package and of the extras that it is tried with, each at its lowest version.

    Args:
        text: pyproject.toml.
    """
    lists = [re.search(r"(?ms)^dependencies = \[(.*?)^\]", text)]
    lists += [re.search(rf"(?m)^{extra} = \[(.*?)\]$", text) for extra in EXTRAS]
    wanted = re.findall(r'"([\w.-]+)>=([\w.]+)"', "\n".join(found[1] for found in lists if found))
    if not wanted or None in lists:
        sys.exit("pyproject.toml is not written as this tool expects")
    return [f"{name}=={version}" + (".*" if version.count(".") < 2 else "") for name, version in wanted]


def main() -> int:
    """Returns the exit code of the tests."""
    found, refused = load_interpreters().find_build_python((LOWEST_PYTHON,))
    if found is None:
        sys.exit(
            f"Python {'.'.join(map(str, LOWEST_PYTHON))} was not found: {'; '.join(map(str, refused)) or 'nowhere'}"
        )
    python = str(ENVIRONMENT / "bin" / "python")
    pins = lowest((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    print(" ".join(pins), flush=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    steps = [
        [found.python, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [*pip, *pins, *TOOLS],
        # The pins stand; were one of them too low for another, pip would say so here.
        [*pip, "--editable", ".", *pins],
    ]
    for step in steps:
        subprocess.run(step, cwd=ROOT, check=True)
    chosen = sys.argv[1:] or [test for tests in TESTS.values() for test in tests]
    command = [python, "-m", "pytest", "--quick", "-q", "-p", "no:cacheprovider", "-m", "not caffe", *chosen]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
