"""What each step of choosing integers is worth by the task of trained networks, on pictures that were not used before.

    python benchmarks/task_metrics.py [MobileNetSSD "res10 face" ...]    writes the table of docs/results.md; parts that are not run stay

One quantizer serves all rows: every layer at int8, or at 16 levels where it can have them and int8 elsewhere. "before" is this package without
the fit of int8 layers; "nearest" rounds int8 layers and puts 16 levels by one-dimensional k-means. The metric is the agreement with the float
network, with the 95 % interval of its difference to "before" on the same pictures; the error is that of the outputs in front of what decides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import put_section
from tasks import TASKS, Task

import nuqconv
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.job.equalization import find_shifts
from nuqconv.passes import fold_affine
from nuqconv.passes.equalize import scaled
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.runtimes.default import load_graph as load
from nuqconv.search.metrics import Interval, Terms, difference_interval, parse_metric
from nuqconv.search.metrics.base import Answers

TARGET = Path(__file__).resolve().parent.parent / "docs" / "results.md"
_SECTION = "## Agreement by task metrics"
_BEFORE = WeightMethod(int8=False)
_FITTED = WeightMethod()


@dataclass(frozen=True)
class Step:
    """One way to choose integers.

    Attributes:
        name: Its name in the table.
        method: How weights are chosen.
        equalize: Whether channels are scaled.
        sequential: Whether integers are chosen in sequence.
    """

    name: str
    method: WeightMethod | None
    equalize: bool = False
    sequential: bool = False


STEPS = (
    Step("nearest", None),
    Step("before", _BEFORE),
    Step("fitted", _FITTED),
    Step("fitted, in sequence", _FITTED, sequential=True),
    Step("fitted, equalized", _FITTED, equalize=True),
    Step("fitted, equalized, in sequence", _FITTED, equalize=True, sequential=True),
)


@dataclass(frozen=True)
class Found:
    """What a network answers: the terms of its metric, and the relative error of its outputs."""

    terms: Terms
    error: float


class Judge:
    """The float network's answers to the pictures, and how near others come.

    Args:
        task: The network and its pictures.
        pictures: Others than those that the task evaluates.
    """

    def __init__(self, task: Task, pictures: Array | None = None) -> None:
        self.task = task
        self.graph = fold_affine(load_graph(*task.files())).graph
        self.input = self.graph.inputs[0].name
        self.metric = parse_metric(task.metric)
        self.pictures = task.draw(task.sizes[1], False, 0) if pictures is None else pictures
        self._wanted = list(dict.fromkeys((*self.graph.outputs, *task.errors)))
        self._exact = list(self._answers(self.graph))

    def judge(self, graph: Graph) -> Found:
        """Returns how near a network with the same outputs comes."""
        return self.judge_answers(self._answers(graph))

    def judge_answers(self, answers: Iterable[Mapping[str, Array]]) -> Found:
        """Returns how near answers come: for each batch of pictures the outputs, and the values whose errors are measured."""
        parts, noise, signal, first = [], 0.0, 0.0, 0
        for exact, found in zip(self._exact, answers, strict=True):
            count = min(self.task.batch_size, len(self.pictures) - first)
            noise += sum(
                float(np.square(found[name] - exact[name], dtype=np.float64).sum()) for name in self.task.errors
            )
            signal += sum(float(np.square(exact[name], dtype=np.float64).sum()) for name in self.task.errors)
            own, other = ({name: item[name] for name in self.graph.outputs} for item in (exact, found))
            truths = None if self.task.decode is None else self.task.decode(own)
            kept = self.metric.keep(own, count) if self.metric.against_float else {}
            parts.append(self.metric.terms(Answers(other, count, truths, kept, first)))
            first += count
        return Found(Terms.joined(parts), float(np.sqrt(noise / signal)))

    def _answers(self, graph: Graph) -> Iterator[Mapping[str, Array]]:
        model = load(graph, self._wanted)
        for start in range(0, len(self.pictures), self.task.batch_size):
            yield model.run({self.input: self.pictures[start : start + self.task.batch_size]})


def rows(task: Task, say: Callable[[str], None]) -> Iterator[str]:
    """Measures one network and yields the rows of the table."""
    judge = Judge(task)
    calibration = task.draw(task.sizes[0], True, 0)
    batches = [
        {judge.input: calibration[start : start + task.batch_size]}
        for start in range(0, len(calibration), task.batch_size)
    ]
    shifts = find_shifts(judge.graph, batches)
    graphs = {False: judge.graph, True: scaled(judge.graph, shifts)}
    for form, label in (("int8", "int8"), (16, "16 levels")):
        before: Found | None = None
        found: dict[str, Found] = {}
        for step in STEPS:
            options = nuqconv.PrepareOptions(weight_method=step.method, sequential=step.sequential, progress=False)
            blob = graphs[step.equalize].storage_name(judge.input)
            result = nuqconv.quantize(
                graphs[step.equalize],
                {"*": form},
                data={blob: calibration},
                batch_size=task.batch_size,
                batch_num=len(batches),
                options=options,
            )
            found[step.name] = judge.judge(result.model.graph)
            before = found[step.name] if step.name == "before" else before
            say(
                f"{task.name}, {label}, {step.name}: {judge.metric.value(found[step.name].terms):.4f}, {found[step.name].error:.4f}"
            )
        for name, item in found.items():
            difference = (
                ""
                if before is None or name == "before"
                else _shown(difference_interval(judge.metric, before.terms, item.terms))
            )
            yield f"| {task.name} | {label} | {name} | {judge.metric.value(item.terms):.4f} | {difference} | {item.error:.4f} |"


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:+.4f} ({interval.low:+.4f} .. {interval.high:+.4f})"


def table(parts: Sequence[str]) -> str:
    """Returns the section of the document."""
    sizes = "; ".join(
        f"{task.name} {task.shown}, {task.sizes[1]:,} pictures, {task.sizes[0]} to calibrate on" for task in TASKS
    )
    head = (
        f"Agreement with the float network by the task's own metric ({sizes}), and the relative error of the outputs in front of what decides. "
        'Pictures are photographs and drawings that were not used to calibrate. In brackets the 95 % interval of the difference to "before".\n\n'
        "| network | form | integers | metric | less before | error |\n|---|---|---|---:|---|---:|\n"
    )
    return f"{_SECTION}\n\n{head}" + "\n".join(parts) + "\n"


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="by default all")
    chosen = parser.parse_args().networks
    unknown = set(chosen) - {task.name for task in TASKS}
    if unknown:
        parser.error(
            f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(task.name for task in TASKS)}"
        )
    found = {
        task.name: list(rows(task, lambda text: print(text, file=sys.stderr, flush=True)))
        for task in TASKS
        if not chosen or task.name in chosen
    }
    # Read as late as can be: others may run beside this.
    there = TARGET.read_text(encoding="utf-8").partition(f"{_SECTION}\n")[2].partition("\n## ")[0].splitlines()
    kept: list[str] = []
    for task in TASKS:
        kept += found.get(task.name) or [line for line in there if line.startswith(f"| {task.name} |")]
    put_section(TARGET, _SECTION, table(kept))


if __name__ == "__main__":
    main()
