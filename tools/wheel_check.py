"""Builds the source distribution, from it the wheel, and tries that in an empty environment of every Python that is found; ``make wheel-check``.

python tools/wheel_check.py          # CPython 3.10 to 3.14, found on PATH, in pyenv or in uv
python tools/wheel_check.py --this   # the Python that runs this only, which needs the package ``build``

Needs the standard library and ``build``. Exit code 1 if the wheel fails somewhere, or no Python was found; with ``NUQCONV_REQUIRE_PYTHONS=1`` also if
one of the versions was not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from setup_caffe import load_interpreters

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14))
LENET = ROOT / "examples" / "lenet"
# What a source distribution is also for: to test it and to read it.
IN_SDIST = (
    "tests/conftest.py",
    "docs/formats.md",
    "CHANGELOG.md",
    "LICENSE",
    "frontends/caffe/__init__.py",
    "examples/lenet/demo.py",
    "Makefile",
)
NAMES = """
import importlib, json, sys
import nuqconv
missing = [name for name in nuqconv.__all__ if not hasattr(nuqconv, name)]
import nuqconv.pycaffe, nuqconv.compat, nuqconv.parallel, nuqconv.data, nuqconv.search, nuqconv.quantize
if missing or "site-packages" not in nuqconv.__file__:
    sys.exit(f"missing {missing}, imported from {nuqconv.__file__}")
print(f"nuqconv {nuqconv.__version__}")
"""
DATA = """
import numpy
with numpy.load("test_set.npz") as whole:
    numpy.savez("set.npz", data=whole["data"][:100], label=whole["label"][:100], scale=whole["scale"])
"""
MODEL = "deploy.prototxt lenet.caffemodel"
COMMANDS = (
    "--version",
    "doctor",
    f"inspect {MODEL}",
    f"convert {MODEL} model.onnx",
    f"compare {MODEL} model.onnx",
    f"auto {MODEL} --data set.npz --max-drop 5% --max-evaluations 1 --save out/net --report out/net.html",
    "trials show out/net_trials.sqlite",
    "compare deploy.prototxt lenet.caffemodel out/net_deploy_model.prototxt out/net_deploy_weights.caffemodel --data set.npz",
)


def version() -> str:
    """Returns the version, which stands in one place."""
    text = (ROOT / "nuqconv" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'(?m)^__version__ = "([^"]+)"$', text)
    if found is None:
        sys.exit("nuqconv/__init__.py has no __version__")
    return found[1]


def build() -> Path:
    """Makes dist/, and returns the wheel that is made from the source distribution."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:] or done.stdout[-3000:])
    name = f"nuqconv-{version()}"
    with tarfile.open(DIST / f"{name}.tar.gz") as archive:
        held = set(archive.getnames())
    missing = [path for path in IN_SDIST if f"{name}/{path}" not in held]
    if missing:
        sys.exit(f"{name}.tar.gz lacks {', '.join(missing)}")
    wheel = DIST / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        places = {entry.partition("/")[0] for entry in archive.namelist()}
    if places != {"nuqconv", f"{name}.dist-info"}:
        sys.exit(f"{wheel.name} holds {sorted(places)}")
    print(f"{name}.tar.gz: {len(held)} files; {wheel.name}: {wheel.stat().st_size:,} bytes", flush=True)
    return wheel


def attempt(python: str, wheel: Path) -> str | None:
    """Installs the wheel into an empty environment of a Python and works with it; returns what went wrong."""
    with tempfile.TemporaryDirectory(prefix="nuqconv-wheel-") as folder:
        environment, work = Path(folder) / "environment", Path(folder) / "work"
        work.mkdir()
        for name in ("deploy.prototxt", "lenet.caffemodel", "test_set.npz"):
            shutil.copy(LENET / name, work)
        scripts = environment / ("Scripts" if os.name == "nt" else "bin")
        inside = str(scripts / "python")
        steps = [
            [python, "-m", "venv", str(environment)],
            [inside, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(wheel)],
            [inside, "-c", NAMES],
            [inside, "-c", DATA],
            *([str(scripts / "nuqconv"), *command.split()] for command in COMMANDS),
        ]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        for step in steps:
            done = subprocess.run(step, cwd=work, env=clean, check=False, capture_output=True, text=True)
            if done.returncode:
                return f"{' '.join(step)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        return None


def main() -> int:
    """Returns the exit code."""
    if "--this" in sys.argv[1:]:
        pythons, refusals = [(sys.version.split()[0], sys.executable)], []
    else:
        pythons, refusals = [], []
        module = load_interpreters()
        for wanted in VERSIONS:
            found, refused = module.find_build_python((wanted,))
            refusals += [] if found else [(wanted, refused)]
            pythons += [(".".join(map(str, found.version)), found.python)] if found else []
    if not pythons:
        sys.exit("no CPython from 3.10 on was found")
    wheel, bad = build(), 0
    for shown, python in pythons:
        problem = attempt(python, wheel)
        bad += problem is not None
        print(f"Python {shown:8} {'works' if problem is None else f'FAILS: {problem}'}", flush=True)
    for wanted, refused in refusals:
        why = "; ".join(map(str, refused)) or "not found"
        print(f"Python {wanted[0]}.{wanted[1]:<6} not tried: {why}")
    return int(bool(bad) or (bool(refusals) and os.environ.get("NUQCONV_REQUIRE_PYTHONS") == "1"))


if __name__ == "__main__":
    sys.exit(main())
