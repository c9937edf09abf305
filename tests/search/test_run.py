"""The run loop with evaluations that run side by side, finish in any order, fail, or are known already."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.errors import CaffeProcessError, EvaluatorError, LostEvaluationError, OutputError, SearchError
from nuqconv.search import FLOAT_LEVEL, Measured, Proposal, Verdict, run_search
from tests.search.simulated import Evaluator, hidden_damage, random_space


class Listed:
    """Proposes states of a list, as many as it is asked for; verdicts change what comes next."""

    def __init__(self, space, seed, count, repeats=0.2):
        self.rng = random.Random(seed)
        self.space, self.left, self.repeats = space, count, repeats
        self.proposed = []
        self.told = []
        self.asked = []

    def propose(self, limit):
        self.asked.append(limit)
        number = min(limit, self.left, self.rng.randint(1, 3)) if self.due() < 5 else 0
        self.left -= number
        proposals = [self.draw() for _ in range(number)]
        self.proposed += proposals
        return proposals

    def draw(self):
        if self.proposed and self.rng.random() < self.repeats:
            return self.rng.choice(self.proposed)
        return Proposal(tuple(self.rng.randint(-1, 2) for _ in self.space.layers), f"draw {self.rng.random():.9f}")

    def due(self):
        return len(self.proposed) - len(self.told)

    def tell(self, proposal, verdict):
        assert proposal is self.proposed[len(self.told)]
        self.told.append(verdict)
        # Another course of the search for another history of verdicts.
        self.rng.seed(f"{self.rng.random()} {verdict.accepted} {len(self.proposed)}")

    def remaining(self):
        return self.left


class Book:
    """A journal in memory."""

    def __init__(self):
        self.lines = {}
        self.numbers = []

    def known(self, plan):
        return self.lines[plan][0] if plan in self.lines else None

    def record(self, plan, measured, number, step, bytes, accepted, float_layers=()):  # noqa: A002
        self.numbers.append(number)
        self.lines[plan] = (measured, number, step, bytes, accepted, float_layers)


class Desk:
    """Gives out futures that are finished by hand."""

    def __init__(self, evaluator):
        self.evaluator = evaluator
        self.futures = []
        self.plans = []

    def submit(self, plan):
        future = Future()
        self.plans.append(plan)
        self.futures.append(future)
        return future

    def finish(self, index):
        self.futures[index].set_result(Measured(self.evaluator.evaluate(self.plans[index]), 1.5, "desk:1"))


def simulated(seed=0, count=5, limit=None):
    rng = np.random.default_rng(seed)
    space = random_space(rng, count)
    evaluator = Evaluator(space, hidden_damage(rng, space, 1.0), 0.0)
    evaluator.limit = evaluator.true(space.uniform(1)) if limit is None else limit
    return evaluator


def search(evaluator, submit, **options):
    return run_search(evaluator.space, submit=submit, satisfied=evaluator.satisfied, original=0.0, **options)


def fixed(space, count, step=1):
    """Returns a strategy that proposes the same states whatever it is told."""

    class Fixed(Listed):
        def propose(self, limit):
            self.asked.append(limit)
            number = min(limit, count - len(self.proposed))
            for _ in range(number):
                index = len(self.proposed) // step
                levels = tuple((index >> bit) % 2 for bit in range(len(space.layers)))
                self.proposed.append(Proposal(levels, f"state {len(self.proposed)}"))
            return self.proposed[len(self.proposed) - number :] if number else []

        def tell(self, proposal, verdict):
            assert proposal is self.proposed[len(self.told)]
            self.told.append(verdict)

        def remaining(self):
            return count - len(self.told)

    return Fixed(space, 0, count)


def by_hand(space, metric, satisfied, strategy, parallel, most):
    """Returns (step, metric) of the trials as the documents say they come about, without futures."""
    queue, known, trials = deque(), {}, []
    stopped = False
    while True:
        while not stopped and len(queue) < parallel:
            left = math.inf if most is None else most - len(known)
            if left == 0 and queue:
                break
            proposals = strategy.propose(int(min(parallel - len(queue), max(left, 1))))
            for proposal in proposals:
                plan = space.plan(proposal.levels)
                if plan not in known and most is not None and len(known) >= most:
                    stopped = True
                    break
                queue.append((proposal, plan, plan not in known))
                known.setdefault(plan, None)
            if not proposals:
                break
        if not queue:
            return trials
        proposal, plan, new = queue.popleft()
        if new:
            known[plan] = metric(plan)
            trials.append((proposal.step, known[plan]))
        strategy.tell(proposal, Verdict(known[plan], satisfied(known[plan])))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([None, 1, 4, 9]), st.integers(0, 3))
def test_trials_do_not_depend_on_the_order_in_which_evaluations_finish(seed, parallel, most, jitter):
    evaluator, model = simulated(seed), simulated(seed)
    naps = random.Random(f"{seed} {jitter}")
    lock = threading.Lock()

    def evaluate(plan, nap):
        time.sleep(nap)
        with lock:
            return Measured(evaluator.evaluate(plan), nap)

    strategy, ideal = Listed(evaluator.space, seed, 12), Listed(model.space, seed, 12)
    expected = by_hand(model.space, model.evaluate, model.satisfied, ideal, parallel, most)
    trials = []
    with ThreadPoolExecutor(parallel) as pool:
        try:
            outcome = search(
                evaluator,
                lambda plan: pool.submit(evaluate, plan, naps.choice([0, 0.0005, 0.002])),
                parallel=parallel,
                strategy=strategy,
                max_evaluations=most,
                on_trial=lambda trial, progress: trials.append(trial),
            )
        except SearchError:
            outcome = None
    assert [(trial.step, trial.metric) for trial in trials] == expected
    assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))
    assert strategy.asked == ideal.asked
    assert strategy.told == ideal.told
    accepted = [trial for trial in trials if trial.accepted and len(trial.float_layers) < 5]
    assert (outcome is None) == (not accepted)
    if outcome is not None:
        assert outcome.trials == tuple(trials)
        assert outcome.best.bytes == min(trial.bytes for trial in accepted)


def test_as_many_proposals_are_outstanding_as_may_be():
    evaluator = simulated()
    desk = Desk(evaluator)
    widths = []

    def submit(plan):
        future = desk.submit(plan)
        widths.append(sum(not item.done() for item in desk.futures))
        if len(desk.futures) >= 3:
            # The oldest finishes when three are outstanding; at the end all others do.
            for index, item in enumerate(desk.futures):
                if not item.done():
                    desk.finish(index)
                    if len(desk.futures) < 8:
                        break
        return future

    outcome = search(evaluator, submit, parallel=3, strategy=fixed(evaluator.space, 8))
    assert widths == [1, 2, 3, 3, 3, 3, 3, 3]
    assert outcome.evaluations == 8


def test_a_plan_that_is_outstanding_is_not_evaluated_again():
    evaluator = simulated()
    desk = Desk(evaluator)
    strategy = fixed(evaluator.space, 6, step=3)
    threading.Timer(0.1, lambda: [desk.finish(index) for index in range(len(desk.futures))]).start()
    outcome = search(evaluator, desk.submit, parallel=6, strategy=strategy)
    assert len(desk.plans) == 2
    assert len(strategy.told) == 6
    assert strategy.told[0] == strategy.told[2]
    assert outcome.evaluations == 2


@pytest.mark.parametrize("parallel", [1, 2, 3, 7])
@pytest.mark.parametrize("most", [1, 4, 5])
def test_the_budget_counts_what_was_begun_and_all_of_it_is_told(parallel, most):
    evaluator = simulated()
    strategy = fixed(evaluator.space, 20)
    with ThreadPoolExecutor(parallel) as pool:
        submitted = []

        def submit(plan):
            submitted.append(plan)
            return pool.submit(lambda: Measured(evaluator.evaluate(plan), 0.0))

        outcome = search(evaluator, submit, parallel=parallel, strategy=strategy, max_evaluations=most)
    assert len(submitted) == outcome.evaluations == len(strategy.told) == most
    assert outcome.stopped_by == "max_evaluations"


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_budget_that_is_just_enough_ends_complete(parallel):
    evaluator = simulated()

    def submit(plan):
        future = Future()
        future.set_result(Measured(evaluator.evaluate(plan), 0.0))
        return future

    outcome = search(evaluator, submit, parallel=parallel, strategy=fixed(evaluator.space, 6), max_evaluations=6)
    assert outcome.stopped_by == "complete"
    assert outcome.evaluations == 6


def test_at_the_end_of_the_time_what_runs_is_finished():
    evaluator = simulated()
    desk = Desk(evaluator)
    now = [0.0]

    def submit(plan):
        future = desk.submit(plan)
        now[0] += 10
        if len(desk.futures) == 3:
            for index in (2, 1, 0):
                desk.finish(index)
        return future

    strategy = fixed(evaluator.space, 20)
    outcome = search(evaluator, submit, parallel=5, strategy=strategy, timeout=25.0, clock=lambda: now[0])
    assert outcome.stopped_by == "timeout"
    assert outcome.evaluations == len(strategy.told) == 3
    assert {trial.seconds for trial in outcome.trials} == {1.5}
    assert {trial.worker for trial in outcome.trials} == {"desk:1"}


@pytest.mark.parametrize(("patience", "evaluations"), [(1, 4), (2, 5), (3, 9), (7, 12)])
def test_patience_counts_from_the_first_result_on(patience, evaluations):
    space = simulated(count=4).space
    # Trial 1 quantizes nothing and is no result; trial 3 is the first one, trial 6 is smaller.
    states = [(FLOAT_LEVEL,) * 4, (1,) * 4, (0,) * 4, (0, 0, 0, 1), (2,) * 4, (0, 1, 0, 0)]
    states += [(1, 1, 0, 0), (1, 1, 1, 0), (2, 2, 0, 0), (2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0)]
    accepted = {space.plan(states[index]) for index in (0, 2, 5)}
    strategy = fixed(space, 12)
    strategy.propose = lambda limit: [Proposal(states.pop(0), "next")] if states else []
    strategy.tell = lambda proposal, verdict: None
    outcome = run_search(
        space,
        evaluate=lambda plan: float(plan not in accepted),
        satisfied=lambda metric: metric == 0.0,
        original=0.0,
        strategy=strategy,
        patience=patience,
    )
    assert outcome.evaluations == evaluations
    assert outcome.stopped_by == ("complete" if evaluations == 12 else "no_improvement")
    assert outcome.best.number == (3 if patience < 3 else 6)


def lost_evaluation(ended=True):
    """Errors of an evaluation whose process was lost: of a pool, and of an evaluator whose child it was."""
    error = EvaluatorError("eval_model raised")
    error.__cause__ = CaffeProcessError("was killed", ended=ended)
    return error


@pytest.mark.parametrize("make", [lambda: LostEvaluationError("no worker finished"), lost_evaluation])
@pytest.mark.parametrize("parallel", [1, 3])
def test_what_is_lost_may_count_as_refused(make, parallel):
    evaluator = simulated(limit=math.inf)
    calls, lost, journal = [], [], Book()

    def submit(plan):
        future = Future()
        calls.append(plan)
        # The states come twice each; numbers 2 and 3 are lost.
        if len(calls) in (2, 3):
            future.set_exception(make())
        else:
            future.set_result(Measured(1.0, 1.0))
        return future

    strategy = fixed(evaluator.space, 12, step=2)
    outcome = search(
        evaluator, submit, parallel=parallel, strategy=strategy, on_lost=lost.append, journal=journal, patience=5
    )
    assert [trial.number for trial in outcome.trials] == journal.numbers == [1, 4, 5, 6]
    assert [message.split(":")[0] for message in lost] == ["trial 2 (state 2)", "trial 3 (state 4)"]
    refused = [index for index, verdict in enumerate(strategy.told) if verdict == Verdict(math.inf, accepted=False)]
    assert refused == [2, 3, 4, 5]
    assert outcome.stopped_by == "complete"


def test_what_is_lost_ends_the_search_unless_told_otherwise_and_other_failures_always_do():
    evaluator = simulated(limit=math.inf)
    for error, on_lost in (
        (LostEvaluationError("no worker finished"), None),
        (lost_evaluation(), None),
        (lost_evaluation(ended=False), print),
        (EvaluatorError("eval_model raised"), print),
    ):
        future = Future()
        future.set_exception(error)
        with pytest.raises(EvaluatorError, match=r"^trial 1 \(state 0\): "):
            search(evaluator, lambda plan, one=future: one, strategy=fixed(evaluator.space, 3), on_lost=on_lost)


def test_lost_evaluations_have_no_part_in_patience():
    """The result is trial 5, the third that there is; two more without a better one end the search."""
    evaluator = simulated(limit=0.0)
    calls = []

    def submit(plan):
        future = Future()
        calls.append(plan)
        if len(calls) in (2, 3):
            future.set_exception(LostEvaluationError("lost"))
        else:
            future.set_result(Measured(0.0 if len(calls) == 5 else 1.0, 1.0))
        return future

    outcome = search(evaluator, submit, strategy=fixed(evaluator.space, 20), on_lost=lambda words: None, patience=2)
    assert outcome.best.number == 5
    assert [trial.number for trial in outcome.trials] == [1, 4, 5, 6, 7]
    assert outcome.stopped_by == "no_improvement"


def test_a_finished_evaluation_is_in_the_journal_while_an_earlier_one_runs():
    evaluator = simulated()
    desk, book = Desk(evaluator), Book()
    seen = []

    def work():
        while len(desk.futures) < 3:
            time.sleep(0.001)
        for index in (2, 1):
            desk.finish(index)
            deadline = time.monotonic() + 20
            while desk.plans[index] not in book.lines and time.monotonic() < deadline:
                time.sleep(0.001)
            seen.append(list(book.numbers))
        desk.finish(0)

    thread = threading.Thread(target=work)
    thread.start()
    outcome = search(evaluator, desk.submit, parallel=3, strategy=fixed(evaluator.space, 3), journal=book)
    thread.join()
    assert seen == [[3], [3, 2]]
    assert book.numbers == [3, 2, 1]
    for trial in outcome.trials:
        measured, *rest = book.lines[trial.plan]
        assert measured == Measured(trial.metric, 1.5, "desk:1")
        assert rest == [trial.number, trial.step, trial.bytes, trial.accepted, trial.float_layers]


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("stop", [1, 3, 7])
def test_known_plans_count_as_before_but_are_not_evaluated_again(parallel, stop):
    def begun(evaluator, book, **options):
        plans = []

        def submit(plan):
            plans.append(plan)
            future = Future()
            future.set_result(Measured(evaluator.evaluate(plan), 2.0, "a:1"))
            return future

        strategy = Listed(evaluator.space, 3, 15)
        return search(evaluator, submit, parallel=parallel, strategy=strategy, journal=book, **options), plans

    loose = math.inf
    whole, all_plans = begun(simulated(3, limit=loose), Book(), max_evaluations=11)
    book = Book()
    part, first = begun(simulated(3, limit=loose), book, max_evaluations=stop)
    rest, second = begun(simulated(3, limit=loose), book, max_evaluations=11)
    assert rest.trials == whole.trials
    assert (rest.best, rest.stopped_by) == (whole.best, whole.stopped_by)
    assert part.evaluations == stop
    assert not set(first) & set(second)
    assert first + second == all_plans


def test_the_verdict_on_a_known_plan_is_asked_again():
    book = Book()
    loose, strict = simulated(limit=math.inf), simulated()
    strict.limit = strict.true(strict.space.uniform()) * 1.001
    for evaluator, calls in ((loose, 4), (strict, 0)):
        outcome = run_search(
            evaluator.space,
            evaluate=evaluator.evaluate,
            satisfied=evaluator.satisfied,
            original=0.0,
            strategy=fixed(evaluator.space, 4),
            journal=book,
        )
        assert len(evaluator.seen) == calls
        assert outcome.evaluations == 4
    assert [trial.accepted for trial in outcome.trials] == [True, False, False, False]
    assert {line[4] for line in book.lines.values()} == {True, False}


def failing(evaluator, errors):
    """Returns a submit whose n-th evaluation, from 0, ends with the error given; the last ends first."""
    desk = Desk(evaluator)

    def submit(plan):
        future = desk.submit(plan)
        if len(desk.futures) == 4:
            for index in (3, 2, 1, 0):
                if index in errors:
                    desk.futures[index].set_exception(errors[index])
                else:
                    desk.finish(index)
        return future

    return desk, submit


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EvaluatorError("no data", ["a", "b"]), r"trial 3 \(state 2\): no data\n  - a\n  - b"),
        (ValueError("odd"), r"trial 3 \(state 2\): its evaluation raised ValueError: odd"),
    ],
)
def test_an_evaluator_that_fails_in_a_worker_names_the_trial(error, text):
    evaluator, book = simulated(), Book()
    # Trial 4 fails as well and earlier, but it is not its turn.
    desk, submit = failing(evaluator, {2: error, 3: EvaluatorError("later")})
    with pytest.raises(EvaluatorError, match=text) as info:
        search(evaluator, submit, parallel=4, strategy=fixed(evaluator.space, 9), journal=book)
    assert info.value.__cause__ is error
    assert sorted(book.numbers) == [1, 2]
    assert all(future.done() for future in desk.futures)


def test_other_errors_of_this_package_pass_as_they_are():
    evaluator = simulated()
    error = OutputError("the disk is full")
    with pytest.raises(OutputError) as info:
        search(evaluator, failing(evaluator, {1: error})[1], parallel=4, strategy=fixed(evaluator.space, 9))
    assert info.value is error


def test_metrics_that_are_no_numbers_and_cancelled_futures_name_the_trial():
    evaluator = simulated()
    evaluator.twist = lambda levels, total: math.inf if any(levels) else total
    with pytest.raises(EvaluatorError, match=r"trial 2 \(state 1\): the metric is inf; it must be a finite number"):
        search(evaluator, failing(evaluator, {})[1], parallel=4, strategy=fixed(evaluator.space, 4))

    def cancelled(plan):
        future = Future()
        future.cancel()
        return future

    with pytest.raises(EvaluatorError, match=r"trial 1 .* cancelled"):
        search(evaluator, cancelled)


def test_a_future_that_is_cancelled_while_it_is_waited_for_ends_the_search():
    evaluator = simulated()
    desk = Desk(evaluator)

    def cancel():
        desk.futures[0].cancel()

    threading.Timer(0.05, cancel).start()
    with pytest.raises(EvaluatorError, match=r"trial 1 .* cancelled"):
        search(evaluator, desk.submit)


def test_a_judge_that_fails_is_heard_when_it_is_the_trials_turn():
    evaluator = simulated()

    def satisfied(metric):
        if metric > evaluator.true((0, 1, 0, 0, 0)):
            raise EvaluatorError("is_satisfied raised")
        return True

    told = []
    with pytest.raises(EvaluatorError, match=r"trial . .*is_satisfied raised"):
        run_search(
            evaluator.space,
            submit=failing(evaluator, {})[1],
            satisfied=satisfied,
            original=0.0,
            parallel=4,
            strategy=fixed(evaluator.space, 4),
            on_trial=lambda trial, _: told.append(trial.number),
        )
    assert told == list(range(1, len(told) + 1))


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OutputError("full")])
def test_an_interrupt_cancels_what_runs_and_keeps_what_is_finished(fault):
    evaluator, book = simulated(), Book()
    desk = Desk(evaluator)

    def submit(plan):
        future = desk.submit(plan)
        if len(desk.futures) == 4:
            desk.finish(0)
        return future

    def on_trial(trial, progress):
        desk.finish(2)
        raise fault

    with pytest.raises(KeyboardInterrupt if fault is KeyboardInterrupt else OutputError):
        search(evaluator, submit, parallel=4, strategy=fixed(evaluator.space, 9), journal=book, on_trial=on_trial)
    assert book.numbers == [1, 3]
    assert [future.cancelled() for future in desk.futures] == [False, True, False, True]


def test_an_interrupt_in_an_evaluation_of_this_thread_passes():
    evaluator = simulated()

    def interrupted(plan):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(evaluator.space, evaluate=interrupted, satisfied=evaluator.satisfied, original=0.0)


def test_the_objective_says_which_trial_is_the_result():
    class MostAccurate:
        def rank(self, trial, original):
            return (abs(trial.metric - original), trial.bytes) if trial.number > 2 else None

    evaluator = simulated()
    submit = failing(evaluator, {})[1]
    outcome = search(evaluator, submit, parallel=4, strategy=fixed(evaluator.space, 4), objective=MostAccurate())
    assert outcome.best == min(outcome.trials[2:], key=lambda trial: trial.metric)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 4))
def test_the_pareto_front_is_that_of_comparing_all_with_all(seed, count, digits):
    evaluator = simulated(seed, limit=math.inf)
    # Few digits make equal metrics.
    evaluator.twist = lambda levels, total: float(f"{total:.{digits}g}")
    outcome = run_search(
        evaluator.space,
        evaluate=evaluator.evaluate,
        satisfied=evaluator.satisfied,
        original=0.0,
        strategy=fixed(evaluator.space, count),
    )
    points = [(trial.bytes, trial.metric) for trial in outcome.trials]
    best = {
        point
        for point in points
        if not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
    }
    assert [(trial.bytes, trial.metric) for trial in outcome.pareto] == sorted(best)
    assert all(trial.number == 1 + points.index((trial.bytes, trial.metric)) for trial in outcome.pareto)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parallel": 0}, "parallel: expected a positive integer, found 0"),
        ({"parallel": True}, "parallel: expected"),
        ({"parallel": 2, "submit": None, "evaluate": len}, "evaluate runs one plan at a time"),
        ({"evaluate": len}, "either evaluate or submit"),
        ({"submit": None}, "either evaluate or submit"),
        ({"patience": 0}, "patience: expected a positive integer"),
        ({"max_evaluations": -1}, "max_evaluations: expected a positive integer"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(options, text):
    evaluator = simulated()
    arguments = {"submit": Desk(evaluator).submit, **options}
    with pytest.raises(SearchError, match=text):
        run_search(evaluator.space, satisfied=evaluator.satisfied, original=0.0, **arguments)
    assert not evaluator.seen
