"""onnxruntime in a child process: what it does to itself is an ordinary error here, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from nuqconv import OnnxRuntimeEvaluator
from nuqconv.errors import ConfigError, EvaluatorError, ModelError, OnnxProcessError, RuntimeMissingError
from nuqconv.frontends.caffe import load_graph
from nuqconv.runtimes.child import process as child_process
from nuqconv.runtimes.onnxruntime import OnnxSession, isolated
from nuqconv.runtimes.onnxruntime.isolated import LEAST_MEMORY, OnnxProcess
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, OUTPUTS, Job, contents, error_evaluator, lenet_data
from tests.support.leaks import is_running, nothing_left, wait_until

HURT = Path(__file__).with_name("hurt_worker.py")
SIGNALS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGSTOP")


SCRIPT = """
from pathlib import Path
import nuqconv
from nuqconv.runtimes.onnxruntime import isolated
from tests.support.auto import error_evaluator

isolated._SERVER = Path({hurt!r})
nuqconv.auto_nuq(
    "{files.model}", "{files.weights}", error_evaluator(isolate=True), "{config}", "{out}/record.txt", "{out}/net", journal=False
)
"""


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """Makes every child one that harms itself as the returned function says: at which operation, how, after how many, how often."""
    path = tmp_path / "orders"
    monkeypatch.setattr(isolated, "_SERVER", HURT)
    monkeypatch.setenv("NUQCONV_TEST_ORDERS", str(path))
    return lambda operation, how, after=0, times=1: path.write_text(f"{operation} {how} {after} {times}")


@pytest.fixture(scope="module")
def lenet():
    return load_graph(LENET_MODEL, LENET_WEIGHTS)


@pytest.fixture
def batch():
    return {"data": lenet_data(16).inputs["data"]}


def large_model(size=4096, steps=1):
    """Multiplies matrices: takes long, and memory."""
    nodes = [helper.make_node("MatMul", [f"v{step}", "v0"], [f"v{step + 1}"]) for step in range(steps)]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info(f"v{steps}", TensorProto.FLOAT, [size, size])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_same_bits_as_in_process(lenet, batch):
    here = OnnxSession(lenet, outputs=["conv1", "ip1", "prob"])
    with OnnxProcess() as process:
        there = OnnxSession(lenet, outputs=["conv1", "ip1", "prob"], create=process.session)
        assert (there.inputs, there.outputs, there.batch_size) == (here.inputs, here.outputs, here.batch_size)
        for samples in (1, 16):
            feeds = {"data": batch["data"][:samples]}
            found, expected = there.run(feeds), here.run(feeds)
            assert list(found) == list(expected)
            for name, array in expected.items():
                assert found[name].tobytes() == array.tobytes()
                assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)


def test_arrays_of_every_type_come_through(tmp_path):
    types = [TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL, TensorProto.FLOAT16]
    nodes = [helper.make_node("Identity", [f"x{kind}"], [f"y{kind}"]) for kind in types]
    infos = [[helper.make_tensor_value_info(f"{name}{kind}", kind, ["n", 2]) for kind in types] for name in "xy"]
    graph = helper.make_graph(nodes, "types", *infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {f"x{kind}": np.array([[0, 1], [1, 7]]).astype(helper.tensor_dtype_to_np_dtype(kind)) for kind in types}
    with OnnxProcess() as process:
        found = OnnxSession(model, create=process.session).run(feeds)
    for kind in types:
        np.testing.assert_array_equal(found[f"y{kind}"], feeds[f"x{kind}"], strict=True)


def test_a_model_that_onnxruntime_refuses_leaves_the_child_alive(lenet, batch):
    broken = helper.make_model(
        helper.make_graph(
            [helper.make_node("NoSuchOperator", ["x"], ["y"])],
            "broken",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        )
    )
    with OnnxProcess() as process:
        with pytest.raises(ModelError, match=r"onnxruntime refuses it.*NoSuchOperator"):
            OnnxSession(broken, create=process.session)
        assert process.alive
        assert OnnxSession(lenet, create=process.session).run(batch)["prob"].shape == (16, 10)


def test_sessions_that_nobody_has_are_freed(lenet, batch, monkeypatch):
    asked = []
    with OnnxProcess() as process:
        request = process.request
        monkeypatch.setattr(
            process,
            "request",
            lambda op, fields, *rest, **more: asked.append(fields) or request(op, fields, *rest, **more),
        )
        for _ in range(3):
            session = OnnxSession(lenet, create=process.session)
            session.run(batch)
            del session
        OnnxSession(lenet, create=process.session)
    assert [fields["forget"] for fields in asked if fields["forget"]] == [[1], [2], [3]]


def test_what_cannot_be_written_to_is_sent_once(lenet, monkeypatch):
    sent = []
    product = large_model(4, 2)
    with OnnxProcess() as process:
        session = OnnxSession(product, create=process.session)
        request = process.request
        monkeypatch.setattr(
            process,
            "request",
            lambda op, fields, arrays, **more: sent.append(len(arrays)) or request(op, fields, arrays, **more),
        )
        values = np.eye(4, dtype=np.float32)
        fixed, other = 2 * values, 3 * values
        fixed.flags.writeable = other.flags.writeable = False
        for array, factor in ((fixed, 8), (fixed, 8), (other, 27), (values, 1), (values, 1)):
            np.testing.assert_array_equal(session.run({"v0": array})["v2"], factor * np.eye(4))
    assert sent == [1, 0, 1, 1, 1]


@pytest.mark.parametrize("operation", ["load", "run", "ran"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        *((name, f"was killed by {name}") for name in SIGNALS[:3]),
        ("SIGSTOP", "gave no answer .* within 1 s and was killed"),
        ("hang", "gave no answer .* within 1 s and was killed"),
        ("abort", r"(?s)was killed by SIGABRT; the last it wrote to stderr:.*std::runtime_error"),
        ("segfault", "was killed by SIGSEGV"),
        ("exit", "ended with exit code 3"),
        ("garbage", "which is no frame of the protocol"),
    ],
)
def test_a_child_that_ends_is_an_error_and_leaves_nothing(
    lenet, batch, orders, tmp_path, monkeypatch, operation, how, said
):
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with OnnxProcess() as process:
            pids.add(process.pid)
            process.timeout = 1.0
            orders(operation, how)
            begun = time.monotonic()
            with pytest.raises(OnnxProcessError, match=said) as caught:
                OnnxSession(lenet, create=process.session).run(batch)
            assert time.monotonic() - begun < 3
            assert caught.value.ended
            assert str(caught.value).startswith("network 'LeNet': ")
            assert not process.alive
            with pytest.raises(OnnxProcessError, match="no longer there"):
                OnnxSession(lenet, create=process.session)
        del process, caught


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_in_the_middle_of_native_code(orders, tmp_path, monkeypatch, name):
    """The product of 300 matrices takes seconds; the signal comes 50 ms after its beginning."""
    values = np.eye(1024, dtype=np.float32)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with OnnxProcess() as process:
            pids.add(process.pid)
            session = OnnxSession(large_model(1024, 300), create=process.session)
            process.timeout = 1.0
            orders("run", f"{name}-soon")
            with pytest.raises(OnnxProcessError, match="1 s and was killed" if name == "SIGSTOP" else f"by {name}"):
                session.run({"v0": values})
        del process, session


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("way", ["to the child", "from the child"])
def test_signals_in_the_middle_of_a_transfer(tmp_path, monkeypatch, name, way):
    """Arrays of 4 MiB do not fit into a pipe, so the other side waits in the middle of them."""
    values = np.ones((1024, 1024), np.float32)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with OnnxProcess() as process:
            pids.add(process.pid)
            session = OnnxSession(large_model(1024), create=process.session)
            process.timeout = 1.0
            part = "_send" if way == "to the child" else "_receive"
            moved = getattr(child_process.ChildProcess, part)

            def interrupted(self, view, deadline):
                half = len(view) // 2
                if half > 100_000:
                    moved(self, view[:half], deadline)
                    os.kill(self.pid, getattr(signal, name))
                    view = view[half:]
                moved(self, view, deadline)

            monkeypatch.setattr(child_process.ChildProcess, part, interrupted)
            with pytest.raises(OnnxProcessError, match="1 s and was killed" if name == "SIGSTOP" else f"by {name}"):
                session.run({"v0": values})
        del process, session


def test_memory_that_runs_out_is_told_with_its_limit(tmp_path, monkeypatch):
    limit = LEAST_MEMORY + (64 << 20)
    with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
        with OnnxProcess(memory_limit=limit) as process:
            pids.add(process.pid)
            with pytest.raises(OnnxProcessError, match=f"memory limit (of|is) {limit:,} bytes") as caught:
                OnnxSession(large_model(8192), create=process.session).run({"v0": np.ones((8192, 8192), np.float32)})
            assert caught.value.ended
        del process, caught


def test_memory_that_python_takes_counts_too(orders, lenet, batch):
    limit = LEAST_MEMORY + (256 << 20)
    with OnnxProcess(memory_limit=limit) as process:
        orders("run", "memory")
        with pytest.raises(
            OnnxProcessError, match=rf"not enough memory within its memory limit of {limit:,} bytes: MemoryError"
        ):
            OnnxSession(lenet, create=process.session).run(batch)
        assert not process.alive


def test_a_start_may_take_longer_than_a_request(lenet, batch):
    with OnnxProcess(timeout=0.05) as process:
        process.timeout = 60.0
        assert OnnxSession(lenet, create=process.session).run(batch)["prob"].shape == (16, 10)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_child_ends_with_its_parent(busy):
    code = f"""
import numpy, sys, time
from nuqconv.runtimes.onnxruntime import OnnxSession
from nuqconv.runtimes.onnxruntime.isolated import OnnxProcess
from tests.runtimes.child.test_isolated import large_model
process = OnnxProcess()
session = OnnxSession(large_model(1024, 300), create=process.session)
print(process.pid, flush=True)
if {busy}:
    session.run({{"v0": numpy.eye(1024, dtype=numpy.float32)}})
time.sleep(100)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    assert wait_until(lambda: not is_running(pid))


def test_limits_that_are_none():
    with pytest.raises(ConfigError) as caught:
        OnnxProcess(timeout=0, memory_limit=1 << 20)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="memory_limit: expected None or a number of bytes from 268,435,456 on"):
        OnnxRuntimeEvaluator(
            {"data": np.zeros((1, 1))}, metric="output_error", max_error=1, isolate=True, memory_limit=5
        )
    with pytest.raises(ConfigError, match="need isolate=True"):
        OnnxRuntimeEvaluator({"data": np.zeros((1, 1))}, metric="output_error", max_error=1, memory_limit=1 << 30)


def test_an_interpreter_without_onnxruntime(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')\n")
    with pytest.raises(RuntimeMissingError, match="cannot import numpy and onnxruntime: ImportError: not here"):
        OnnxProcess(env={"PYTHONPATH": str(tmp_path)})


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("undisturbed") / "job")
    return job.run(error_evaluator()), contents(job.out)


class TestSearch:
    """A whole job whose evaluator's child is harmed."""

    @pytest.mark.parametrize("workers", [None, 2])
    def test_isolated_evaluation_finds_the_same(self, job, undisturbed, workers):
        with error_evaluator(isolate=True) as evaluator:
            found = job.run(evaluator, workers=workers, parallel=1 if workers else None)
        assert [(trial.plan, trial.metric) for trial in found.trials] == [
            (trial.plan, trial.metric) for trial in undisturbed[0].trials
        ]
        assert contents(job.out) == undisturbed[1]

    @pytest.mark.parametrize("how", ["SIGKILL", "segfault", "abort", "garbage", "memory", "hang", "SIGSTOP"])
    def test_the_search_goes_on_with_a_new_child(self, job, undisturbed, orders, tmp_path, monkeypatch, caplog, how):
        with nothing_left(tmp_path / "temporary", monkeypatch) as pids:
            with error_evaluator(isolate=True, timeout=12.0, memory_limit=1 << 30) as evaluator:
                # One of the runs is the original's; the net has two batches.
                orders("run", how, after=5)
                found = job.run(evaluator, retries=2)
                pids.update(child.process.pid for child in evaluator._models.idle)
            del evaluator
        assert sum("an evaluation is done again" in line for line in caplog.messages) == 1
        assert [(trial.plan, trial.metric) for trial in found.trials] == [
            (trial.plan, trial.metric) for trial in undisturbed[0].trials
        ]
        assert contents(job.out) == undisturbed[1]

    def test_a_trial_that_ends_every_child_is_named_and_the_journal_kept(self, job, undisturbed, orders):
        orders("run", "segfault", after=5, times=100)
        with error_evaluator(isolate=True) as evaluator:
            with pytest.raises(EvaluatorError) as caught:
                job.run(evaluator, retries=1, journal=True)
            assert str(caught.value).startswith("trial 2 (")
            assert len(caught.value.__cause__.problems) == 2
            assert "was killed by SIGSEGV" in str(caught.value)
            assert set(contents(job.out)) == {"net_trials.sqlite"}
            orders("load", "exit", after=10**6)
            found = job.run(evaluator, journal=True)
        assert [trial.plan for trial in found.trials] == [trial.plan for trial in undisturbed[0].trials]
        assert set(contents(job.out)) == {"net_trials.sqlite", *OUTPUTS}

    def test_a_trial_that_ends_every_child_can_count_as_refused(self, job, undisturbed, orders):
        """The second plan is the strongest; without it the search finds what else is accepted."""
        # Each of the two children that try it dies at its first batch.
        orders("run", "segfault", after=5, times=2)
        with error_evaluator(isolate=True) as evaluator:
            found = job.run(evaluator, retries=1, on_crash="refuse", journal=True)
            (note,) = [note for note in found.notes if "counted as refused" in note]
            assert note.startswith("counted as refused: trial 2 (")
            assert "was killed by SIGSEGV" in note
            numbers = [trial.number for trial in found.trials]
            assert numbers == [1, *range(3, len(numbers) + 2)]
            plans = [trial.plan for trial in undisturbed[0].trials]
            assert found.trials[0].plan == plans[0]
            assert plans[1] not in [trial.plan for trial in found.trials]
            assert found.metric <= 0.05
            # It was not recorded, so the next search tries it again.
            again = job.run(evaluator, journal=True)
        assert [trial.plan for trial in again.trials] == plans

    def test_an_original_that_ends_its_child_is_no_trial(self, job, orders):
        orders("run", "segfault", times=100)
        with error_evaluator(isolate=True) as evaluator, pytest.raises(EvaluatorError, match="was killed by SIGSEGV"):
            job.run(evaluator)
        assert contents(job.out) == {}

    def test_an_interrupt_does_not_wait_for_a_child_that_hangs(self, job, orders, tmp_path):
        orders("run", "hang", after=5)
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(hurt=str(HURT), files=job.files, config=job.config, out=job.out))
        with subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                # An order that was carried out is taken back.
                assert wait_until(lambda: (tmp_path / "orders").read_text() == "", 120)
                begun = time.monotonic()
                child.send_signal(signal.SIGINT)
                said = child.communicate(timeout=600)[1]
            finally:
                child.kill()
        assert time.monotonic() - begun < 10
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert contents(job.out) == {}
