"""Plans evaluated in real worker processes that are slow, die, hang, raise, or vanish with their executor."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from nuqconv.errors import ConfigError, EvaluatorError, OutputError
from nuqconv.parallel import PlanPool, check_main_guard
from nuqconv.parallel import task as worker_side
from nuqconv.parallel.shipping import pack
from nuqconv.parallel.workers import worker_count
from nuqconv.search import CheckedEvaluator, Proposal, run_search
from tests.search.simulated import random_space
from tests.support import parallel_evaluators as ours
from tests.support.parallel_evaluators import write_plan

ROOT = Path(__file__).parents[2]
SPACE = random_space(np.random.default_rng(4), 6)
SPAWN = multiprocessing.get_context("spawn")


class States:
    """Proposes a fixed list of states, as many at once as it is asked for."""

    def __init__(self, count=8):
        self.left = [
            Proposal(tuple((index >> bit) % 2 for bit in range(6)), f"state {index}") for index in range(count)
        ]

    def propose(self, limit):
        taken, self.left = self.left[:limit], self.left[limit:]
        return taken

    def tell(self, proposal, verdict):
        pass

    def remaining(self):
        return len(self.left)


def search(pool, evaluator, **options):
    return run_search(
        SPACE,
        submit=pool.submit,
        parallel=pool.parallel,
        satisfied=lambda metric: CheckedEvaluator(evaluator).satisfied(0.0, metric),
        original=0.0,
        **{"strategy": States(), **options},
    )


def facts(outcome):
    return [(t.number, t.plan, t.metric, t.accepted, t.bytes, t.step, t.float_layers) for t in outcome.trials]


@pytest.fixture(scope="module")
def expected():
    """What an undisturbed search gives that evaluates in this process, one plan at a time."""
    outcome = run_search(
        SPACE,
        evaluate=lambda plan: ours.cost(plan.to_json()),
        satisfied=lambda metric: metric <= 30,
        original=0.0,
        strategy=States(),
    )
    assert 1 < sum(trial.accepted for trial in outcome.trials) < 8
    return facts(outcome)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path, monkeypatch):
    """No process and no file outlives a test."""
    folder = tmp_path / "system-temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # A worker of somebody else's executor that is killed leaves its folder; not in the system's place.
    workers = tmp_path / "worker-temp"
    workers.mkdir()
    monkeypatch.setenv("TMPDIR", str(workers))
    before = set(children())
    yield
    left = [child for child in children() if child not in before]
    _, alive = psutil.wait_procs(left, timeout=120)
    assert not alive
    assert not list(folder.iterdir())


def children():
    """Returns the processes below this one, without the standard library's resource tracker, which serves all."""
    found = []
    for child in psutil.Process().children(recursive=True):
        # One that has just ended is a zombie, or gone, at any moment.
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_two_workers_evaluate_at_the_same_time(tmp_path, expected):
    evaluator = ours.Meeting(tmp_path)
    with PlanPool(evaluator, write_plan, 3, workers=2) as pool:
        assert pool.parallel == 2
        outcome = search(pool, evaluator)
    assert facts(outcome) == expected
    assert evaluator.notes.count("call") == 8
    assert len({trial.worker for trial in outcome.trials}) == 2
    host = worker_side.worker_name().rpartition(":")[0]
    for trial in outcome.trials:
        name, _, pid = trial.worker.rpartition(":")
        assert name == host
        assert int(pid) != os.getpid()


@pytest.mark.parametrize("seed", [1, 2])
def test_trials_do_not_depend_on_which_worker_is_faster(tmp_path, expected, seed):
    evaluator = ours.Sleeping(tmp_path, 0.01, jitter=seed)
    with PlanPool(evaluator, write_plan, 3, workers=2) as pool:
        assert facts(search(pool, evaluator)) == expected


@pytest.mark.parametrize(("how", "calls"), [("kill", [0, 1, 4]), ("segv", [3])])
def test_a_worker_that_dies_is_replaced_and_its_trial_done_again(tmp_path, expected, how, calls, caplog):
    evaluator = ours.Dying(tmp_path, calls, how)
    with caplog.at_level(logging.WARNING, "nuqconv.parallel"), PlanPool(evaluator, write_plan, 3, workers=2) as pool:
        assert facts(search(pool, evaluator)) == expected
    assert evaluator.notes.count("call") == 8 + len(calls)
    ends = {"kill": "SIGKILL", "segv": "SIGSEGV"}
    messages = [record.message for record in caplog.records if "is done again" in record.message]
    assert len(messages) == len(calls)
    assert all(ends[how] in message for message in messages)


def test_a_trial_that_kills_every_worker_is_named_with_the_causes(tmp_path):
    evaluator = ours.Dying(tmp_path, [2, 3, 4])
    strategy = States()
    with (
        pytest.raises(EvaluatorError, match=r"trial 3 \(state 2\): no worker finished .* in 3 tries") as info,
        PlanPool(evaluator, write_plan, 3, workers=1) as pool,
    ):
        search(pool, evaluator, strategy=strategy)
    assert str(info.value).count("ended with exit code 17") == 3
    assert "raise trial_timeout" in str(info.value)


def test_without_retries_one_death_is_enough(tmp_path):
    evaluator = ours.Dying(tmp_path, [0])
    with (
        pytest.raises(EvaluatorError, match=r"trial 1 .*no worker finished .* in 1 try\."),
        PlanPool(evaluator, write_plan, 3, workers=1, retries=0) as pool,
    ):
        search(pool, evaluator)
    assert evaluator.notes.count("call") == 1


def test_a_worker_has_no_more_memory_than_its_limit(tmp_path, expected):
    evaluator = ours.Hungry(tmp_path, [1], 1 << 30)
    with PlanPool(evaluator, write_plan, 3, workers=1, memory_limit=2 << 30) as pool:
        assert facts(search(pool, evaluator)) == expected
    with (
        pytest.raises(EvaluatorError, match=r"trial 1 .*eval_model.* raised MemoryError"),
        PlanPool(ours.Hungry(tmp_path, range(100), 1 << 30), write_plan, 3, workers=1, memory_limit=1 << 30) as pool,
    ):
        search(pool, evaluator)


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_trial_done_again(tmp_path, expected):
    evaluator = ours.Hanging(tmp_path, [1])
    with PlanPool(evaluator, write_plan, 3, workers=2, trial_timeout=8) as pool:
        assert facts(search(pool, evaluator)) == expected
    assert evaluator.notes.count("call") == 9


def test_a_trial_that_always_hangs_is_named(tmp_path):
    evaluator = ours.Hanging(tmp_path, [0, 1])
    with (
        pytest.raises(EvaluatorError, match=r"trial 1 .*in 2 tries(.|\n)*no answer within 0\.7 s"),
        PlanPool(evaluator, write_plan, 3, workers=1, trial_timeout=0.7, retries=1) as pool,
    ):
        search(pool, evaluator)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_the_evaluator_raises_is_not_tried_again(tmp_path, error):
    evaluator = ours.Raising(tmp_path, 2, error)
    with (
        pytest.raises(EvaluatorError, match=rf"trial 3 \(state 2\): .*{error.__name__}: the data are gone") as info,
        PlanPool(evaluator, write_plan, 3, workers=1) as pool,
    ):
        search(pool, evaluator)
    assert evaluator.notes.count("call") == 3
    # The traceback of the worker is among the causes, so that the user sees the line.
    assert "in before" in str(info.value.__cause__.__cause__)


def test_an_idle_worker_that_died_is_replaced(tmp_path):
    evaluator = ours.Evaluator(tmp_path)
    with PlanPool(evaluator, write_plan, 3, workers=1) as pool:
        first = pool.submit(SPACE.plan(SPACE.uniform())).result()
        pid = int(first.worker.rpartition(":")[2])
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([child for child in children() if child.pid == pid], timeout=120)
        second = pool.submit(SPACE.plan(SPACE.uniform())).result()
    assert second.metric == first.metric
    assert second.worker != first.worker


def test_cancelling_ends_the_evaluation_and_frees_the_worker(tmp_path):
    evaluator = ours.Hanging(tmp_path, [0])
    with PlanPool(evaluator, write_plan, 3, workers=1) as pool:
        hung = pool.submit(SPACE.plan(SPACE.uniform()))
        while not evaluator.notes.count("call"):
            time.sleep(0.005)
        assert hung.cancel()
        assert pool.submit(SPACE.plan(SPACE.uniform())).result(60).metric > 0


def test_an_interrupt_leaves_no_process_behind(tmp_path):
    evaluator = ours.Hanging(tmp_path, [0, 1])

    def interrupt():
        while evaluator.notes.count("call") < 2:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt), PlanPool(evaluator, write_plan, 3, workers=2) as pool:
        search(pool, evaluator)
    assert not [child for child in children() if "spawn_main" in " ".join(child.cmdline())]


SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}]
from nuqconv.parallel import PlanPool, check_main_guard
from tests.support.parallel_evaluators import Hanging, write_plan
from tests.parallel.test_parallel import SPACE

class Mine(Hanging):
    def eval_model(self, model_file, weights_file, batch_num):
        return 2.0 * super().eval_model(model_file, weights_file, batch_num)

def main():
    with PlanPool(Mine({notes!r}, {calls!r}), write_plan, 3, workers=1) as pool:
        print(pool.submit(SPACE.plan(SPACE.uniform())).result().metric, flush=True)
        future = pool.submit(SPACE.plan(SPACE.uniform(1)))
        print("submitted", flush=True)
        future.result()

{end}
"""


def script(tmp_path, calls, end):
    notes = tmp_path / "notes"
    notes.mkdir()
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(root=str(ROOT), notes=str(notes), calls=calls, end=end))
    return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_workers_end_when_the_main_process_is_killed_and_take_evaluators_of_a_script(tmp_path):
    with script(tmp_path, [1], 'if __name__ == "__main__":\n    main()') as main:
        plan = SPACE.plan(SPACE.uniform())
        assert main.stdout.readline() == f"{2.0 * ours.cost(plan.to_json())}\n"
        assert main.stdout.readline() == "submitted\n"
        while ours.Notes(tmp_path / "notes").count("call") < 2:
            time.sleep(0.005)
        below = psutil.Process(main.pid).children(recursive=True)
        assert any("spawn_main" in " ".join(child.cmdline()) for child in below)
        main.kill()
        main.communicate()
    assert not psutil.wait_procs(below, timeout=120)[1]


def test_a_script_without_the_main_guard_is_told_so(tmp_path):
    with script(tmp_path, [], "check_main_guard()\nmain()") as main:
        _, errors = main.communicate(timeout=600)
    assert main.returncode == 1
    assert "ConfigError: this is a worker process that is importing the script" in errors
    assert "EvaluatorError: a worker process could not be started" in errors
    assert errors.count('if __name__ == "__main__"') >= 2


def test_the_guard_is_silent_elsewhere():
    check_main_guard()


def test_what_cannot_be_pickled_is_named_and_threads_share_it(tmp_path, expected):
    evaluator = ours.Unpicklable(tmp_path)
    for options in ({"workers": 2}, {"executor": lambda: ProcessPoolExecutor(2, SPAWN)}):
        with pytest.raises(EvaluatorError, match="Unpicklable cannot be sent to worker processes") as info:
            PlanPool(evaluator, write_plan, 3, **options)
        assert "attribute 'session' (lock)" in str(info.value)
        assert "__getstate__" in str(info.value)
        assert "ThreadPoolExecutor" in str(info.value)
    with ThreadPoolExecutor(2) as executor, PlanPool(evaluator, write_plan, 3, executor=executor) as pool:
        assert pool.parallel == 2
        assert facts(search(pool, evaluator)) == expected


def test_without_cloudpickle_the_standard_pickle_serves_and_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    evaluator = ours.Evaluator(tmp_path)
    assert pickle.loads(pack(evaluator)[1]).limit == evaluator.limit
    evaluator.score = lambda value: value
    with pytest.raises(EvaluatorError, match=r"nuqconv\[parallel\]") as info:
        pack(evaluator)
    assert "attribute 'score' (function)" in str(info.value)
    monkeypatch.undo()
    assert pickle.loads(pack(evaluator)[1]).score(3) == 3


def test_a_thread_that_hangs_is_left_and_the_first_answer_counts(tmp_path, expected):
    release = threading.Event()

    class Hanging(ours.Evaluator):
        def before(self, call):
            if call == 1:
                release.wait(600)

    evaluator = Hanging(tmp_path)
    with ThreadPoolExecutor(3) as executor:
        with PlanPool(evaluator, write_plan, 3, executor=executor, parallel=2, trial_timeout=1) as pool:
            assert pool.parallel == 2
            assert facts(search(pool, evaluator)) == expected
        assert evaluator.notes.count("call") == 9
        release.set()


def test_a_process_pool_of_the_callers_gets_the_evaluator_once_and_stays_open(tmp_path, expected):
    evaluator = ours.Counted(tmp_path)
    with ProcessPoolExecutor(2, SPAWN) as executor:
        with PlanPool(evaluator, write_plan, 3, executor=executor) as pool:
            assert pool.parallel == 2
            outcome = search(pool, evaluator)
        assert executor.submit(len, "open").result() == 4
    assert facts(outcome) == expected
    pids = {trial.worker.rpartition(":")[2] for trial in outcome.trials}
    assert {pid: evaluator.notes.count(f"loaded-by-{pid}") for pid in pids} == dict.fromkeys(pids, 1)


def test_a_broken_process_pool_says_what_to_use_instead(tmp_path):
    evaluator = ours.Dying(tmp_path, [0])
    with (
        pytest.raises(EvaluatorError, match=r"trial 1 .*the executor is broken for good: BrokenProcessPool") as info,
        ProcessPoolExecutor(1, SPAWN) as executor,
        PlanPool(evaluator, write_plan, 3, executor=executor) as pool,
    ):
        search(pool, evaluator)
    assert "workers=N" in str(info.value)
    assert "executor=lambda:" in str(info.value)


def test_a_function_that_makes_executors_is_called_again(tmp_path, expected):
    evaluator = ours.Dying(tmp_path, [2, 3], "kill")
    made = []

    def make():
        made.append(ProcessPoolExecutor(1, SPAWN))
        return made[-1]

    with PlanPool(evaluator, write_plan, 3, executor=make) as pool:
        assert facts(search(pool, evaluator)) == expected
    assert len(made) == 3
    with pytest.raises(RuntimeError, match="after shutdown"):
        made[-1].submit(len, "closed")


def test_an_executor_that_was_made_here_and_hangs_is_ended(tmp_path):
    evaluator = ours.Hanging(tmp_path, [0])
    with PlanPool(evaluator, write_plan, 3, executor=lambda: ProcessPoolExecutor(1, SPAWN)) as pool:
        pool.submit(SPACE.plan(SPACE.uniform()))
        while not evaluator.notes.count("call"):
            time.sleep(0.005)


class Inline(concurrent.futures.Executor):
    """Runs each task at once, through pickle as if it were far away, in a "worker" that can be made to forget or to fail."""

    def __init__(self, forget=(), fail=(), cancel=()):
        self.forget, self.fail, self.cancel = set(forget), set(fail), set(cancel)
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        task = args[0]
        number = len(self.tasks)
        self.tasks.append(task)
        future = Future()
        if number in self.forget:
            worker_side._known.clear()
        if number in self.fail:
            future.set_exception(ConnectionError("the line is dead"))
        elif number in self.cancel:
            future.cancel()
        else:
            future.set_result(pickle.loads(pickle.dumps(fn(*pickle.loads(pickle.dumps(args)), **kwargs))))
        return future


def test_a_worker_without_the_evaluator_gets_it_and_files_travel_as_bytes(tmp_path, expected):
    worker_side._known.clear()
    executor = Inline(forget=[3])
    evaluator = ours.Evaluator(tmp_path)
    with PlanPool(evaluator, write_plan, 3, executor=executor) as pool:
        assert pool.parallel == 1
        assert facts(search(pool, evaluator)) == expected
    assert [task.parcel is not None for task in executor.tasks] == [True, *[False] * 3, True, *[False] * 4]
    assert len({task.key for task in executor.tasks}) == 9
    plan = SPACE.plan(SPACE.uniform()).to_json()
    assert executor.tasks[0].files.model == ("net.prototxt", plan.encode())
    assert executor.tasks[0].files.weights == ("net.caffemodel", ours.WEIGHTS)


def test_tasks_that_an_executor_loses_are_submitted_again(tmp_path, expected):
    executor = Inline(fail=[1, 2, 7], cancel=[4, 5])
    evaluator = ours.Evaluator(tmp_path)
    with PlanPool(evaluator, write_plan, 3, executor=executor) as pool:
        assert facts(search(pool, evaluator)) == expected
    executor = Inline(fail=[1, 2, 3])
    with (
        pytest.raises(EvaluatorError, match=r"trial 2 (.|\n)*ConnectionError: the line is dead"),
        PlanPool(evaluator, write_plan, 3, executor=executor) as pool,
    ):
        search(pool, evaluator)


def test_workers_that_cannot_load_the_evaluator_say_so(tmp_path):
    with (
        pytest.raises(EvaluatorError, match="the evaluator cannot be loaded there: ImportError: no module"),
        PlanPool(ours.Unloadable(tmp_path), write_plan, 3, executor=Inline()) as pool,
    ):
        pool.submit(SPACE.plan(SPACE.uniform())).result()


def test_a_worker_keeps_few_evaluators(tmp_path):
    for limit in range(5):
        with PlanPool(ours.Evaluator(tmp_path, limit), write_plan, 3, executor=Inline()) as pool:
            assert pool.submit(SPACE.plan(SPACE.uniform())).result().metric > 0
    assert len(worker_side._known) == 2


def test_the_number_of_workers_is_what_the_executor_tells():
    class Mpi:
        num_workers = 7

    class Client:
        def nthreads(self):
            return {"a": 2, "b": 3}

    class Dask:
        _client = Client()

    assert [worker_count(item) for item in (Mpi(), Dask(), Inline())] == [7, 5, None]
    with ThreadPoolExecutor(3) as executor:
        assert worker_count(executor) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "workers, executor: give one of both"),
        ({"workers": 1, "executor": Inline()}, "workers, executor: give one of both"),
        ({"workers": 0}, "workers: expected a positive integer"),
        ({"workers": 1, "parallel": 1.5}, "parallel: expected a positive integer"),
        ({"workers": 1, "trial_timeout": 0}, "trial_timeout: expected a positive number of seconds"),
        ({"workers": 1, "memory_limit": 0}, "memory_limit: expected a positive integer"),
        ({"executor": Inline(), "memory_limit": 1 << 30}, "memory_limit: .* needs workers"),
        ({"workers": 1, "retries": -1}, "retries: expected an integer that is not negative"),
        ({"executor": 4}, "expected a concurrent.futures.Executor or a function that makes one"),
        ({"executor": list}, "expected a concurrent.futures.Executor or a function that makes one"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, text):
    with pytest.raises(ConfigError, match=text):
        PlanPool(ours.Evaluator(tmp_path), write_plan, 3, **options)


def test_what_is_no_evaluator_and_a_closed_pool_are_refused(tmp_path):
    with pytest.raises(EvaluatorError, match="is no evaluator"):
        PlanPool(object(), write_plan, 3, executor=Inline())
    with PlanPool(ours.Evaluator(tmp_path), write_plan, 3, executor=Inline()) as pool:
        pass
    with pytest.raises(ConfigError, match="is closed"):
        pool.submit(SPACE.plan(SPACE.uniform()))


def test_a_model_that_cannot_be_written_is_no_fault_of_the_evaluator(tmp_path):
    def full(plan, folder):
        raise OutputError("the disk is full")

    evaluator = ours.Evaluator(tmp_path)
    with pytest.raises(OutputError), PlanPool(evaluator, full, 3, executor=Inline()) as pool:
        search(pool, evaluator)


def test_the_files_of_a_plan_are_removed_when_it_is_evaluated(tmp_path):
    folder = tmp_path / "trials"
    folder.mkdir()
    evaluator = ours.Evaluator(tmp_path)
    seen = []

    def write(plan, place):
        seen.append([len(list(place.parent.glob("plan-*"))), place.is_relative_to(folder)])
        return write_plan(plan, place)

    with PlanPool(evaluator, write, 3, executor=Inline(), folder=folder) as pool:
        search(pool, evaluator)
    assert seen == [[1, True]] * 8
    assert not list(folder.iterdir())
