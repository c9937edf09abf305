"""nuqconv next to other ways to put weights on 16 levels or to int8, by the task of trained networks.

    python benchmarks/peers.py [MobileNetSSD "res10 face" ...] [--form int8] [--rows AdaRound]

writes the table of docs/results.md row by row; rows that are not run stay. All of it takes hours: AdaRound runs the whole network for each layer.

Pictures, metric and float network are those of `task_metrics`. In every row weights have as many bits: layers that nuqconv cannot have at 16 levels
(depthwise and grouped ones) have 8 bits for everybody. Activations have 8 bits with the ranges that nuqconv measures on the float network, and
biases of peers stay floats (`peer_graphs.replaced`); "its own ranges" is AIMET's simulation as it stands, with its ranges of the same values.
"nuqconv" scales channels where all layers at int8, plainly rounded, then err clearly less on the calibration pictures, as a search does before it
asks the user's evaluator.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from peer_environment import MissingPeerError
from peer_graphs import bits_of, clustered, replaced, rounded
from peer_tools import AimetMethods, palettes, run_aimet
from tables import put_section
from task_metrics import TARGET, Found, Judge
from tasks import TASKS, Task

import nuqconv
from nuqconv.ir import Array, Graph
from nuqconv.job.choice import LayerForm
from nuqconv.job.equalization import GAIN, SAMPLES, find_shifts
from nuqconv.job.quantization import Quantized
from nuqconv.passes.equalize import scaled
from nuqconv.quantize.compensate import WeightMethod
from nuqconv.quantize.plan import Plan
from nuqconv.search.metrics import Interval, difference_interval

_SECTION = "## Next to peers"
_OURS, _SEQUENTIAL, _NOT_SCALED = "nuqconv", "nuqconv, in sequence", "nuqconv, channels not scaled"
_NEAREST, _KMEANS, _COREMLTOOLS = "round to nearest", "k-means", "coremltools"
_FITTED = WeightMethod()
_FORMS: dict[str, LayerForm] = {"16 levels": 16, "int8": "int8"}
_AIMET = {
    "AIMET SeqMSE": ("seq_mse",),
    "AIMET AdaRound": ("adaround",),
    "AIMET SeqMSE, then AdaRound": ("seq_mse", "adaround"),
}
_OWN_RANGES = ", its own ranges"
_NAMES = (
    *(_OURS, _SEQUENTIAL, _NOT_SCALED, _NEAREST, _KMEANS, _COREMLTOOLS),
    *(f"{name}{ranges}" for name in _AIMET for ranges in ("", _OWN_RANGES)),
)
_STEPS = {
    "MobileNetSSD": (300, 2),
    "res10 face": (300, 2),
    "WeChat detect": (300, 2),
    "plate": (1000, 8),
    "nsfw": (300, 2),
    "LeNet": (2000, 32),
}
"""Steps of AdaRound for each layer and pictures in a step: few, so that it ends on one core. AIMET recommends 10,000 to 15,000 steps."""


@dataclass(frozen=True)
class Row:
    """One way to quantize a network, and what came of it: a measurement, or why there is none."""

    name: str
    found: Found | None
    reason: str = ""


@dataclass(frozen=True)
class Setting:
    """What everybody is given.

    Attributes:
        form: What layers become that can.
        plan: nuqconv's plan with plainly rounded weights: its activations are everybody's.
        bits: Bits of each weight, by the parameter's name.
    """

    form: LayerForm
    plan: Plan
    bits: dict[str, int]


class Contest:
    """One network, quantized by everybody.

    Args:
        task: The network and its pictures.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.judge = task, Judge(task)
        self.calibration = task.draw(task.sizes[0], True, 0)

    def rows(self, form: LayerForm, wanted: Callable[[str], bool]) -> Iterator[Row]:
        """Yields what everybody makes of the network, nuqconv first.

        Args:
            form: What layers become that can.
            wanted: Whether the row of a name is to be measured; that of nuqconv always is, since others are measured by it.
        """
        yield Row(_OURS, self.judge.judge(self._quantized(self._graph, form).model.graph))
        if wanted(_SEQUENTIAL):
            sequential = self._quantized(self._graph, form, sequential=True)
            yield Row(_SEQUENTIAL, self.judge.judge(sequential.model.graph))
        if wanted(_NOT_SCALED) and self._graph is not self.judge.graph:
            yield Row(_NOT_SCALED, self.judge.judge(self._quantized(self.judge.graph, form).model.graph))
        plan = self._quantized(self.judge.graph, form, method=None).plan
        setting = Setting(form, plan, bits_of(self.judge.graph, plan))
        if wanted(_NEAREST):
            yield Row(_NEAREST, self._judged(setting, rounded(self.judge.graph, setting.bits)))
        if wanted(_KMEANS) and form != "int8":
            yield Row(_KMEANS, self._judged(setting, clustered(self.judge.graph, setting.bits)))
        if wanted(_COREMLTOOLS) and form != "int8":
            yield self._coremltools(setting)
        for name in _AIMET:
            if wanted(name):
                yield from self._aimet(setting, name)

    @cached_property
    def _graph(self) -> Graph:
        """The float graph, with channels scaled where that helps on the calibration pictures."""
        # Whole batches, as a search takes them.
        few = self.calibration[: max(SAMPLES, self.task.batch_size)]
        shifts = find_shifts(self.judge.graph, [{self.judge.input: few}])
        if not shifts:
            return self.judge.graph
        judge = Judge(self.task, few)
        errors = [
            judge.judge(self._quantized(graph, "int8", method=None).model.graph).error
            for graph in (judge.graph, scaled(judge.graph, shifts))
        ]
        return scaled(self.judge.graph, shifts) if errors[1] ** 2 < GAIN * errors[0] ** 2 else self.judge.graph

    def _quantized(
        self, graph: Graph, form: LayerForm, *, method: WeightMethod | None = _FITTED, sequential: bool = False
    ) -> Quantized:
        size = self.task.batch_size
        return nuqconv.quantize(
            graph,
            {"*": form},
            data={graph.storage_name(self.judge.input): self.calibration},
            batch_size=size,
            batch_num=-(-len(self.calibration) // size),
            options=nuqconv.PrepareOptions(weight_method=method, sequential=sequential, progress=False),
        )

    def _judged(self, setting: Setting, weights: dict[str, Array]) -> Found:
        return self.judge.judge(replaced(self.judge.graph, setting.plan, weights))

    def _coremltools(self, setting: Setting) -> Row:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Row(_COREMLTOOLS, self._judged(setting, palettes(self.judge, setting.bits, Path(folder))))
        except MissingPeerError as error:
            return Row(_COREMLTOOLS, None, str(error))

    def _aimet(self, setting: Setting, name: str) -> Iterator[Row]:
        methods = AimetMethods(_AIMET[name], *_STEPS[self.task.name])
        try:
            with tempfile.TemporaryDirectory() as folder:
                made = run_aimet(self.judge, setting.plan, setting.bits, methods, self.calibration, Path(folder))
        except MissingPeerError as error:
            yield Row(name, None, str(error))
            return
        yield Row(name, self._judged(setting, made.weights), f"{made.seconds:.0f} s")
        yield Row(f"{name}{_OWN_RANGES}", self.judge.judge_answers(made.answers))


def measured(
    task: Task, forms: Sequence[str], wanted: Callable[[str], bool], say: Callable[[str], None]
) -> Iterator[str]:
    """Measures one network and yields the lines of the table."""
    contest = Contest(task)
    for label in forms:
        ours: Found | None = None
        for row in contest.rows(_FORMS[label], wanted):
            ours = ours or row.found
            if ours is None:
                raise RuntimeError(f"{task.name}: nuqconv comes first")
            line = _line(contest.judge, ours, f"| {task.name} | {label} |", row)
            say(f"{line} {row.reason}")
            yield line


def _line(judge: Judge, ours: Found, start: str, row: Row) -> str:
    if row.found is None:
        return f"{start} {row.name} | not measured: {row.reason.replace('|', '/')} | | | |"
    value = judge.metric.value(row.found.terms)
    if row.name.startswith(_OURS):
        return f"{start} {row.name} | {value:.4f} | | {row.found.error:.4f} | |"
    difference = difference_interval(judge.metric, ours.terms, row.found.terms)
    shown = f"{difference.estimate:+.4f} ({difference.low:+.4f} .. {difference.high:+.4f})"
    return f"{start} {row.name} | {value:.4f} | {shown} | {row.found.error:.4f} | {verdict(difference, ours.error, row.found.error)} |"


def verdict(difference: Interval, ours: float, error: float) -> str:
    """Returns by what nuqconv is ahead of a peer, and by what it is behind.

    By the metric it is one or the other where the 95 % interval of the difference leaves out 0; by the error where that is smaller or larger.

    Args:
        difference: The peer's metric less nuqconv's.
        ours: The relative error of nuqconv.
        error: That of the peer.
    """
    ahead = [name for name, true in (("metric", difference.high < 0), ("error", ours < error)) if true]
    behind = [name for name, true in (("metric", difference.low > 0), ("error", ours > error)) if true]
    return ", ".join([*ahead, *(f"**behind by {name}**" for name in behind)])


def table(lines: Sequence[str]) -> str:
    """Returns the section of the document."""
    rounded_by_steps = {_key(line)[0] for line in lines if "AdaRound" in line}
    steps = ", ".join(
        f"{name} {count:,} of {batch} pictures" for name, (count, batch) in _STEPS.items() if name in rounded_by_steps
    )
    head = (
        "Made by `benchmarks/peers.py`: networks, pictures and metrics of the section above, with as many bits for everybody. Weights "
        "have 16 levels where nuqconv can have them and 8 bits elsewhere, or 8 bits everywhere; activations have 8 bits with the same ranges, "
        'or in AIMET\'s simulation with "its own ranges". Peers have a step size for each output channel and float biases, nuqconv has one step size '
        "for an InnerProduct and biases of 32 bits; k-means and coremltools have one set of float levels for each layer. AIMET is "
        f"aimet-onnx 2.42.0, its ranges those of post_training_tf_enhanced; steps of AdaRound for each layer, of which AIMET recommends 10,000 or "
        f'more: {steps or "none yet"}. In brackets the 95 % interval of the difference to "nuqconv", which is measured again in every run. The '
        "last column says by what that is ahead: by the metric where the interval leaves out 0, by the error where it is smaller."
        f"{_missing(lines)}\n\n"
        "| network | form | integers | metric | less nuqconv | error | nuqconv ahead |\n|---|---|---|---:|---|---:|---|\n"
    )
    return f"{_SECTION}\n\n{head}" + "\n".join(lines) + "\n"


def _missing(lines: Sequence[str]) -> str:
    """Returns what says which rows nobody has measured yet."""
    there = {_key(line) for line in lines}
    places: dict[str, list[str]] = {}
    for name in (_OURS, _SEQUENTIAL, _NEAREST, _KMEANS, _COREMLTOOLS, *_AIMET):
        for task in TASKS:
            forms = [label for label in _FORMS if (task.name, label, name) not in there]
            if name in (_KMEANS, _COREMLTOOLS):
                forms = [label for label in forms if _FORMS[label] != "int8"]
            if forms:
                places.setdefault(name, []).append(f"{task.name} ({', '.join(forms)})")
    if not places:
        return ""
    return " Not measured yet: " + "; ".join(f"{name} of {', '.join(found)}" for name, found in places.items()) + "."


def write_section(target: Path, found: Sequence[str]) -> None:
    """Puts lines into the document; those of other rows stay.

    Args:
        target: The document.
        found: Lines of the table.
    """
    there = target.read_text(encoding="utf-8").partition(f"{_SECTION}\n")[2].partition("\n## ")[0].splitlines()
    known = {_key(line): line for line in (*there, *found) if line.startswith("| ")}
    lines = [
        known[key]
        for task in TASKS
        for label in _FORMS
        for name in _NAMES
        if (key := (task.name, label, name)) in known
    ]
    put_section(target, _SECTION, table(lines))


def _key(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|")[1:4])


def main() -> None:
    """Measures and writes the table, network by network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="by default all")
    parser.add_argument("--form", choices=list(_FORMS), help="by default both")
    parser.add_argument("--rows", help="a regular expression: only rows whose names have it somewhere")
    options = parser.parse_args()
    unknown = set(options.networks) - {task.name for task in TASKS}
    if unknown:
        parser.error(
            f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(task.name for task in TASKS)}"
        )
    pattern = re.compile(options.rows or "")
    forms = [options.form] if options.form else list(_FORMS)
    for task in TASKS:
        if not options.networks or task.name in options.networks:
            for line in measured(
                task,
                forms,
                lambda name: pattern.search(name) is not None,
                lambda text: print(text, file=sys.stderr, flush=True),
            ):
                write_section(TARGET, [line])


if __name__ == "__main__":
    main()
