"""Evaluators for the tests of parallel search: they read the "model files" that `write_levels` writes, and misbehave on demand.

They stand in a module of their own because worker processes import them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from nuqconv.search import AutoNuqEvaluatorBase, Measured

WEIGHTS = bytes(range(256))


def write_plan(plan, folder):
    """Write what stands for a model: the plan as text, and weights whose bytes the evaluator checks."""
    model, weights = folder / "net.prototxt", folder / "net.caffemodel"
    model.write_text(plan.to_json())
    weights.write_bytes(WEIGHTS)
    return model, weights


def cost(text):
    """Returns the metric of a plan: the damage of its layers, from their names and precisions alone."""
    layers = json.loads(text)["layers"]
    strength = {None: 1, 32: 5, 16: 23}
    return sum(
        strength[layer["num_steps"]] * (1 + int(name[1:]) % 3)
        for name, layer in layers.items()
        if layer["precision"] != "float"
    )


class Notes:
    """Files in a folder that all processes see: one for each call, and counters that hand out each number once."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def take(self, name):
        """Returns 0 at the first call in any process, then 1, 2..."""
        number = 0
        while True:
            try:
                (self.folder / f"{name}-{number}").touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number

    def count(self, name):
        return len(list(self.folder.glob(f"{name}-*")))


class Evaluator(AutoNuqEvaluatorBase):
    """Measures `cost`; subclasses add what goes wrong."""

    def __init__(self, folder, limit=30.0):
        self.notes = Notes(folder)
        self.limit = limit

    def eval_model(self, model_file, weights_file, batch_num):
        assert batch_num == 3
        assert Path(weights_file).read_bytes() == WEIGHTS
        call = self.notes.take("call")
        self.before(call)
        return cost(Path(model_file).read_text())

    def is_satisfied(self, original_metric, new_metric):
        return new_metric <= original_metric + self.limit

    def before(self, call):
        """Do what is to be done at the n-th call of all processes."""


class Sleeping(Evaluator):
    """Takes a time that depends on the seed and the call; notes how many calls ran at the same time in this process group."""

    def __init__(self, folder, seconds=0.02, jitter=0, **options):
        super().__init__(folder, **options)
        self.seconds, self.jitter = seconds, jitter

    def before(self, call):
        factor = 1 + (call * 7919 + self.jitter * 104729) % 5 if self.jitter else 1
        time.sleep(self.seconds * factor)


class Meeting(Evaluator):
    """At the first two calls waits for the other one: it can only end where two run at the same time."""

    def before(self, call):
        deadline = time.monotonic() + 60
        while call < 2 and self.notes.count("call") < 2:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody came")
            time.sleep(0.005)


class Dying(Evaluator):
    """Ends its own process at the given calls."""

    def __init__(self, folder, calls, how="exit", **options):
        super().__init__(folder, **options)
        self.calls, self.how = set(calls), how

    def before(self, call):
        if call not in self.calls:
            return
        if self.how == "exit":
            os._exit(17)
        os.kill(os.getpid(), signal.SIGKILL if self.how == "kill" else signal.SIGSEGV)


class Hanging(Evaluator):
    """Does not answer at the given calls until there is a file ``release``."""

    def __init__(self, folder, calls, **options):
        super().__init__(folder, **options)
        self.calls = set(calls)

    def before(self, call):
        while call in self.calls and not (self.notes.folder / "release").exists():
            time.sleep(0.02)


class Hungry(Evaluator):
    """Takes so many bytes at the given calls."""

    def __init__(self, folder, calls, size, **options):
        super().__init__(folder, **options)
        self.calls, self.size = set(calls), size

    def before(self, call):
        if call in self.calls:
            bytearray(self.size)


class Raising(Evaluator):
    """Raises at the given call."""

    def __init__(self, folder, call, error=ValueError, **options):
        super().__init__(folder, **options)
        self.call, self.error = call, error

    def before(self, call):
        if call == self.call:
            raise self.error("the data are gone")


class Unpicklable(Evaluator):
    """Holds what cannot be pickled."""

    def __init__(self, folder):
        super().__init__(folder)
        self.session = threading.Lock()


class Counted(Evaluator):
    """Notes each unpickling."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.notes.take(f"loaded-by-{os.getpid()}")


class Unloadable(Evaluator):
    """Needs what the worker does not have."""

    def __setstate__(self, state):
        raise ImportError("no module named 'theirs'")


def finished(metric):
    """Returns the future of an evaluation that has been done."""
    future = Future()
    future.set_result(Measured(metric, 0.0))
    return future
