"""One more look at the plan that a search has found: its integers chosen in the network that is quantized so far."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from nuqconv.errors import ConfigError, ModelError, NuqconvError, UnsupportedError
from nuqconv.ir import Array
from nuqconv.job.calibration import first_batches
from nuqconv.job.evaluation import Evaluation
from nuqconv.job.job import Job
from nuqconv.job.preparation import OnStep
from nuqconv.job.result import layer_results
from nuqconv.job.sequential import sequential_plan
from nuqconv.quantize.compensate import SOLVER, WeightMethod
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.journal import Journal
from nuqconv.search.objective import pareto_front
from nuqconv.search.trial import Measured, SearchOutcome, Trial

__all__ = ["in_sequence", "plan_bytes", "refined", "stored_integers"]

_LOG = logging.getLogger(__name__)

_STEP = "the same layers, chosen in sequence"


def in_sequence(
    job: Job, plan: Plan, batches: Sequence[Mapping[str, Array]], method: WeightMethod, on_step: OnStep | None = None
) -> Plan:
    """Returns a plan with the integers that `sequential_plan` chooses.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run what leads to the layers.
    """

    def on_layer(done: int, total: int) -> None:
        if on_step is not None:
            on_step("choosing integers in sequence", done, total)

    rounds = {request.name: request.rounds for request in job.requests}
    return sequential_plan(job.quantizer, plan, batches, method=method, rounds=rounds, on_layer=on_layer)


def refined(
    job: Job,
    outcome: SearchOutcome,
    evaluate: Evaluation,
    satisfied: Callable[[float], bool],
    batches: Callable[[], Iterable[Mapping[str, Array]]],
    method: WeightMethod,
    journal: Journal | None,
    on_step: OnStep,
) -> tuple[SearchOutcome, str]:
    """Evaluates the plan of a search with integers that are chosen in sequence.

    Args:
        job: The model.
        outcome: What the search has found.
        evaluate: Evaluates plans.
        satisfied: Returns whether a metric is good enough.
        batches: Returns inputs of the network; not called where the journal knows the integers.
        method: How integers are chosen.
        journal: Keeps the integers and the trial, if there is one.
        on_step: Called as the work goes on.

    Returns:
        The outcome with one trial more, which is the best if the evaluator accepts it and its metric is no farther from the original's; and
        what the user should know.
    """
    try:
        plan = _kept(job, outcome.plan, batches, method, journal, on_step)
    except (ModelError, UnsupportedError, ConfigError) as error:
        return outcome, f"integers are not chosen in sequence: {error}"
    known = None if journal is None else journal.known(plan)
    measured = known or _measured(evaluate, plan)
    best = outcome.best
    size = best.bytes + plan_bytes(job, plan) - plan_bytes(job, best.plan)
    accepted = satisfied(measured.metric)
    number = len(outcome.trials) + 1
    if journal is not None:
        journal.record(plan, measured, number, _STEP, size, accepted, best.float_layers)
    trial = Trial(
        number, plan, measured.metric, accepted, size, measured.seconds, _STEP, best.float_layers, measured.worker
    )
    _LOG.info("trial %d: %s: metric %.6g %s", number, _STEP, trial.metric, "accepted" if accepted else "rejected")
    taken = accepted and abs(trial.metric - outcome.original) <= abs(best.metric - outcome.original)
    trials = (*outcome.trials, trial)
    found = replace(
        outcome, best=trial if taken else best, trials=trials, pareto=pareto_front(trials, outcome.original)
    )
    words = "taken" if taken else "not taken"
    return (
        found,
        f"chosen in sequence, the integers give the metric {trial.metric:.6g} instead of {best.metric:.6g}: {words}",
    )


def plan_bytes(job: Job, plan: Plan) -> float:
    """Returns the size of the layers with weights in a plan."""
    return sum(
        layer.bytes for layer in layer_results(job.quantizer, plan, {}) if layer.precision is not Precision.FLOAT
    )


def stored_integers(job: Job, plan: Plan, journal: Journal) -> None:
    """Gives the job's quantizer the integers of a plan that a journal holds.

    Raises:
        JournalError, FormatError: They are not there, or damaged.
    """
    for layer in plan.values():
        if layer.weights is not None:
            job.quantizer.store(QuantizedWeights.from_bytes(journal.asset(layer.weights)))


def _kept(
    job: Job,
    plan: Plan,
    batches: Callable[[], Iterable[Mapping[str, Array]]],
    method: WeightMethod,
    journal: Journal | None,
    on_step: OnStep,
) -> Plan:
    """Returns the plan in sequence, which a journal may know."""
    # The names of the integers in the plan depend on the calibration data.
    parts = ("sequence", plan.digest(), method.key(), str(SOLVER))
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    text = None if journal is None else journal.solved(key)
    if journal is not None and text is not None:
        try:
            found = Plan.from_json(text)
            stored_integers(job, found, journal)
        except NuqconvError as error:
            _LOG.warning("%s: integers are chosen in sequence again, those kept are damaged: %s", journal.path, error)
        else:
            return found
    given = first_batches(batches())
    if not given:
        raise ConfigError("there are no batches of inputs")
    found = in_sequence(job, plan, given, method, on_step)
    if journal is not None:
        digests = [layer.weights for layer in found.values() if layer.weights is not None]
        journal.keep_solved(key, found.to_json(), job.quantizer.contents(digests))
    return found


def _measured(evaluate: Evaluation, plan: Plan) -> Measured:
    if evaluate.submit is not None:
        return evaluate.submit(plan).result()
    if evaluate.evaluate is None:
        raise ConfigError("there is nothing that evaluates plans")
    start = time.monotonic()
    metric = evaluate.evaluate(plan)
    return Measured(metric, time.monotonic() - start)
