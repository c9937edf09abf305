"""Fuzzes all targets, one after the other on one core, and writes what came of it: ``python -m fuzz.run --seconds 60``.

An input that breaks a target (a wrong error, a warning, more than 10 seconds or 1 GB) is copied to ``tests/corpus/found/TARGET/``, from where
the tests replay it, and the target goes on with that fault ignored.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from fuzz.targets import CORPUS, TARGETS

ROOT = Path(__file__).resolve().parents[1]
_WORK = ROOT / "build" / "fuzz"
_NUMBER = "stat::number_of_executed_units"
_STATS = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_PULSE = re.compile(r"^#(\d+)\s", re.MULTILINE)
_FAULT = re.compile(r"^FAULT (.*)$", re.MULTILINE)
# What a Python with all libraries takes by itself, beside the 1 GB that a file may cost.
_BASE_MB = 300
_MOST_FAULTS = 50
# A file in memory, where there is such a folder: one is written for each input.
_MEMORY = Path("/dev/shm")


@dataclass
class Outcome:
    """What came of one target.

    Attributes:
        executions: Inputs tried.
        seconds: Wall time.
        inputs: Interesting inputs that are kept in ``build/fuzz``.
        peak_mb: Most memory that the process took.
        slowest_s: Whole seconds that the slowest input took.
        findings: Kind, place and file of each fault.
    """

    executions: int = 0
    seconds: float = 0.0
    inputs: int = 0
    peak_mb: int = 0
    slowest_s: int = 0
    findings: list[dict[str, str]] = field(default_factory=list)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--runs", type=int, default=-1, help="stop a target after so many executions")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="TARGET")
    parser.add_argument(
        "--output", type=Path, default=_WORK / "result.json", help="the result, written after each target"
    )
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer; 0 takes another one each time")
    return parser.parse_args()


def _prepared(target: str) -> tuple[Path, Path]:
    """Returns the folder of kept inputs and that of artifacts; the first has the corpus and valid files to start from."""
    kept, artifacts = _WORK / target, _WORK / f"{target}-artifacts"
    for folder in (kept, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    name = TARGETS[target].files or target
    seeds = [item for folder in ("", "valid", "found") for item in sorted((CORPUS / folder / name).glob("*"))]
    seeds += [*(CORPUS / "valid").glob(f"model.{name}"), *(CORPUS / "found" / target).glob("*")]
    make = TARGETS[target].seed
    if make is not None:
        own = artifacts.with_name(f"{target}-seed{TARGETS[target].suffix}")
        own.unlink(missing_ok=True)
        make(own)
        seeds.append(own)
    for seed in seeds:
        data = seed.read_bytes()
        (kept / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return kept, artifacts


def _fuzz(target: str, arguments: argparse.Namespace) -> Outcome:
    outcome = Outcome()
    kept, artifacts = _prepared(target)
    known: list[str] = []
    begun = time.monotonic()
    while (left := arguments.seconds - (time.monotonic() - begun)) >= 1 and len(outcome.findings) < _MOST_FAULTS:
        runs = arguments.runs - outcome.executions if arguments.runs >= 0 else -1
        if runs == 0:
            break
        with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as scratch:
            output = _child(target, scratch, kept, artifacts, known, int(left), runs, arguments.seed)
            if _NUMBER not in output and not any(artifacts.iterdir()):
                # It died without a word; the input that it was at is still there.
                for last in Path(scratch).iterdir():
                    shutil.move(last, artifacts / f"died-{last.name}")
        outcome.executions += _add_stats(outcome, output)
        new = _findings(target, artifacts, output)
        outcome.findings += new
        known += [finding["place"] for finding in new if finding["kind"] == "crash"]
        if not new and _NUMBER not in output:
            raise SystemExit(f"fuzzing {target} ended by itself:\n{output[-3000:]}")
    outcome.seconds = round(time.monotonic() - begun, 1)
    outcome.inputs = sum(1 for _ in kept.iterdir())
    return outcome


def _child(
    target: str, scratch: str, kept: Path, artifacts: Path, known: list[str], seconds: int, runs: int, seed: int
) -> str:
    names = _WORK / f"{target}-known.json"
    names.write_text(json.dumps(known))
    options = [
        *(f"-max_total_time={seconds}", f"-runs={runs}", f"-seed={seed}", f"-artifact_prefix={artifacts}/"),
        *(
            "-timeout=10",
            f"-rss_limit_mb={1024 + _BASE_MB}",
            "-max_len=1000000",
            "-print_final_stats=1",
            "-verbosity=1",
        ),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-m", "fuzz.child", target, str(names), scratch, *options, str(kept)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return child.stdout + child.stderr


def _add_stats(outcome: Outcome, output: str) -> int:
    """Notes peaks and returns the number of executions."""
    stats = {name: int(number) for name, number in _STATS.findall(output)}
    outcome.peak_mb = max(outcome.peak_mb, stats.get("peak_rss_mb", 0))
    outcome.slowest_s = max(outcome.slowest_s, stats.get("slowest_unit_time_sec", 0))
    # A child that was ended in the middle has told no more than its last pulse.
    return stats.get("number_of_executed_units", max(map(int, _PULSE.findall(output)), default=0))


def _findings(target: str, artifacts: Path, output: str) -> list[dict[str, str]]:
    """Moves artifacts into the corpus and tells of them."""
    found = []
    for artifact in sorted(artifacts.iterdir()):
        kind = artifact.name.partition("-")[0]
        if kind == "slow":
            artifact.unlink()
            continue
        place = json.loads((_FAULT.findall(output) or ['""'])[-1])
        data = artifact.read_bytes()
        path = CORPUS / "found" / target / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}{TARGETS[target].suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(artifact, path)
        found.append({"kind": kind, "place": place, "file": str(path.relative_to(ROOT)), "said": output[-2000:]})
    return found


def main() -> int:
    """Fuzzes; returns 1 if anything was found."""
    arguments = _arguments()
    versions = {name: metadata.version(name) for name in ("atheris", "protobuf", "onnx", "numpy", "pydantic")}
    outcomes: dict[str, Outcome] = {}
    for target in arguments.targets:
        outcome = outcomes[target] = _fuzz(target, arguments)
        print(
            f"{target:12} {outcome.executions:>11,} executions in {outcome.seconds:,.0f} s, at most {outcome.peak_mb} MB, "
            f"{outcome.inputs:,} inputs kept, {len(outcome.findings)} findings",
            flush=True,
        )
        for finding in outcome.findings:
            print(f"    {finding['kind']}: {finding['place']} {finding['file']}", flush=True)
        result = {
            "python": platform.python_version(),
            "versions": versions,
            "executions": sum(item.executions for item in outcomes.values()),
            "seconds": sum(item.seconds for item in outcomes.values()),
            "findings": sum(len(item.findings) for item in outcomes.values()),
            "targets": {name: asdict(item) for name, item in outcomes.items()},
        }
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(item.findings for item in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
