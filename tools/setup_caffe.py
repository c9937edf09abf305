"""Create ``.venv-caffe``, an environment with real Caffe, beside pyproject.toml; ``make caffe`` runs this.

Needs the standard library only. Does nothing when the environment is there with the same requirements. Exit codes: 0 when Caffe works, 3
when no suitable Python (CPython 3.6 to 3.9) was found, 1 for everything else, and also for a missing Python where
``NUQCONV_REQUIRE_CAFFE=1`` says that Caffe must be there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nuqconv.runtimes.caffe import interpreters

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-caffe"
STAMP = ENVIRONMENT / "nuqconv-requirements.json"
EXIT_NO_PYTHON = 3

TINY_NET = """
name: "tiny"
input: "data"
input_shape { dim: 2 dim: 3 }
layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { scale: 2 shift: 1 } }
layer { name: "relu" type: "ReLU" bottom: "power" top: "power" }
"""
TINY_RUN = """
import sys
import numpy, caffe
net = caffe.Net(sys.argv[1], caffe.TEST)
data = numpy.arange(6, dtype=numpy.float32).reshape(2, 3) - 3
found = net.forward(data=data)["power"]
if not numpy.array_equal(found, numpy.maximum(2 * data + 1, 0)):
    sys.exit("a two-layer net gave the wrong result: %r" % (found,))
"""


def load_interpreters() -> Any:
    """Load the module that looks at interpreters by path, since nuqconv need not be installed yet."""
    path = ROOT / "nuqconv" / "runtimes" / "caffe" / "interpreters.py"
    spec = importlib.util.spec_from_file_location("nuqconv_interpreters", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    # dataclasses looks its module up while the class is made.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(command: list[str]) -> bool:
    """Show a command, run it, and say whether it worked."""
    print("+ " + " ".join(command), flush=True)
    return subprocess.run(command, check=False).returncode == 0


def verify(python: str, module: Any) -> str | None:
    """Import Caffe and run a tiny net; return what is wrong, or None."""
    found = module.probe_caffe(python, "the project's environment")
    if isinstance(found, module.Refusal):
        return str(found)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.prototxt"
        model.write_text(TINY_NET, encoding="utf-8")
        done = subprocess.run(
            [python, "-c", TINY_RUN, str(model)],
            env={**os.environ, "GLOG_minloglevel": "2"},
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
    if done.returncode != 0:
        return f"{python}: a tiny net does not run, exit code {done.returncode}:\n{done.stderr.strip()}"
    print(
        f"Caffe {found.caffe_version} with numpy {found.numpy_version} works under {python} "
        f"(Python {found.python_version})"
    )
    return None


def no_python(refusals: list[interpreters.Refusal]) -> int:
    """Explain that no interpreter will do, and return the exit code for it."""
    print("No CPython 3.6 to 3.9 with venv and pip was found; Caffe's wheels exist for these only.", file=sys.stderr)
    for refusal in refusals:
        print(f"  - {refusal}", file=sys.stderr)
    print(
        "Any of these gets one: `uv python install 3.9`, `pyenv install 3.9`, or your system's python3.9 with its venv package. "
        "Run `make caffe` again afterwards.",
        file=sys.stderr,
    )
    return 1 if os.environ.get("NUQCONV_REQUIRE_CAFFE") == "1" else EXIT_NO_PYTHON


def build(module: Any, requirements: list[str]) -> int:
    """Make the environment and put the stamp into it once it works."""
    chosen, refusals = module.find_build_python()
    if chosen is None:
        return no_python(refusals)
    print(f"Building {ENVIRONMENT} with {chosen.python} (Python {'.'.join(map(str, chosen.version))})", flush=True)
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    python = str(ENVIRONMENT / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install"]
    steps = [[chosen.python, "-m", "venv", str(ENVIRONMENT)]]
    if chosen.version < (3, 8):
        # The pip that comes with these may not know today's wheel tags; newer ones than this no longer run on 3.6.
        steps.append([*pip, "--quiet", "pip>=20.3,<22"])
    steps.append([*pip, "--quiet", *requirements])
    for step in steps:
        if not run(step):
            print(f"The step above failed, so {ENVIRONMENT} has no Caffe.", file=sys.stderr)
            return 1
    problem = verify(python, module)
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    STAMP.write_text(json.dumps(requirements) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    """Create or check the environment; return the exit code."""
    module = load_interpreters()
    requirements = list(module.CAFFE_REQUIREMENTS)
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8").strip() == json.dumps(requirements):
        problem = verify(str(ENVIRONMENT / "bin" / "python"), module)
        if problem is None:
            print(f"{ENVIRONMENT} is up to date")
            return 0
        print(f"{ENVIRONMENT} is broken and will be made again: {problem}", file=sys.stderr)
    return build(module, requirements)


if __name__ == "__main__":
    sys.exit(main())
