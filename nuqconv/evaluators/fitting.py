"""Whether a metric can take the outputs of a net, as far as the net itself tells."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.errors import EvaluatorError, NuqconvError
from nuqconv.ir import Graph
from nuqconv.ir.ops import DetectionOutput, PriorBox
from nuqconv.ir.traits import SizedByData
from nuqconv.runtimes.model import Runnable
from nuqconv.search.metrics import METRICS, Metric, Takes

__all__ = ["check_model", "check_outputs"]


def check_model(metric: Metric, model: Runnable, outputs: Sequence[str] | None = None) -> None:
    """Checks the outputs of a model that a runtime is to run; of one that cannot be read here its first outputs must tell.

    Raises:
        EvaluatorError: As in `check_outputs`.
    """
    try:
        graph = model.graph
    except NuqconvError:
        return
    check_outputs(metric, graph, outputs)


def check_outputs(metric: Metric, graph: Graph, outputs: Sequence[str] | None = None) -> None:
    """Checks the outputs before any sample is run.

    Args:
        metric: The metric.
        graph: The net.
        outputs: Names of the values that are judged; None for the net's own outputs. Names that the net has not are left to the runtime.

    Raises:
        EvaluatorError: They are too many, or not of the kind that the metric takes; with the values to take instead.
    """
    names = [name for name in (graph.outputs if outputs is None else outputs) if name in graph.consumers]
    detections = [name for node in graph.nodes if isinstance(node.op, DetectionOutput) for name in node.outputs]
    if metric.takes is Takes.DETECTIONS:
        _check_detections(metric, graph, names, detections)
    if len(names) > 1 and not metric.several:
        raise EvaluatorError(
            f"metric '{metric.text}' needs one output, the net has {', '.join(names)}; choose one with outputs= (--outputs)"
        )
    if metric.takes is Takes.FIXED:
        _check_fixed(metric, graph, names)


def _check_detections(metric: Metric, graph: Graph, names: Sequence[str], detections: Sequence[str]) -> None:
    wrong = [name for name in names if (shape := graph.shapes[name]) is not None and shape[-1:] != (7,)]
    if wrong and (len(names) == 1 or not detections):
        remedy = (
            f"choose {' or '.join(map(repr, detections))} with outputs= (--outputs)"
            if detections
            else "the net has no such layer"
        )
        raise EvaluatorError(
            f"metric '{metric.text}' takes {metric.takes.value}; {', '.join(map(repr, wrong))} is something else: {remedy}"
        )


def _check_fixed(metric: Metric, graph: Graph, names: Sequence[str]) -> None:
    sized: dict[str, str] = {}
    """For each value of open length what makes it so."""
    for node in graph.nodes:
        trait = node.op.trait(SizedByData)
        reason = next((sized[name] for name in node.inputs if name in sized), None)
        if trait is not None:
            reason = f"{node.place}: {trait.why}"
        if reason is not None:
            sized.update(dict.fromkeys(node.outputs, reason))
    problems = [f"'{name}': {sized[name]}" for name in names if name in sized]
    if not problems:
        return
    others = [kind.names[0] for kind in METRICS if kind.takes is Takes.DETECTIONS]
    advice = f"take {', '.join(map(repr, _before(graph, names, sized)))} with outputs= (--outputs)"
    if any(isinstance(graph.producer[name].op, DetectionOutput) for name in names if name in graph.producer):
        advice += f", or judge the boxes by {', '.join(others)}"
    raise EvaluatorError(f"metric '{metric.text}' takes {metric.takes.value}, which these are not; {advice}", problems)


def _before(graph: Graph, names: Sequence[str], sized: dict[str, str]) -> list[str]:
    """Returns the last values of fixed length that values are made of, without those that only shapes decide."""
    found: dict[str, None] = {}
    waiting = list(names)
    seen = set(waiting)
    while waiting:
        name = waiting.pop(0)
        if name not in sized:
            if not _of_shapes(graph, name):
                found[name] = None
            continue
        new = [other for other in graph.producer[name].inputs if other not in seen]
        seen.update(new)
        waiting += new
    return list(found)


def _of_shapes(graph: Graph, name: str) -> bool:
    """Whether a value is made of default boxes only, which are the same for all samples and weights."""
    node = graph.producer.get(name)
    if node is None:
        return False
    return isinstance(node.op, PriorBox) or (not node.params and all(_of_shapes(graph, one) for one in node.inputs))
