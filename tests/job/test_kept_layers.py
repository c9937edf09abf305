"""Layers that were solved once are not solved again: after a kill, for other outputs, another metric and another demand."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import SearchError
from nuqconv.frontends.caffe import load_graph
from nuqconv.job import fitted_weights, preparation
from nuqconv.job.about import Budget
from nuqconv.job.candidates import LayerRequest
from nuqconv.job.layer_keys import LayerKeys
from nuqconv.job.options import SearchOptions
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.compensate import WeightMethod
from tests.support.auto import contents
from tests.support.nets import conv_net

LAYERS = ["conv1", "conv2", "fc"]
FEW = SearchOptions(budget=Budget(2, None, None))
RESTART = replace(FEW, on_mismatch="restart")
IMAGES = np.random.default_rng(1).normal(size=(8, 3, 12, 12)).astype(np.float32)

CHILD = """
import os, signal, sys
import numpy as np
import nuqconv

def killed(name, done, total):
    if name == "choosing integers" and done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

model, weights, save = sys.argv[1:4]
data = np.random.default_rng(1).normal(size=(8, 3, 12, 12)).astype(np.float32)
nuqconv.auto((model, weights), data={"data": data}, metric="output_error", max_error=0.05, batch_size=4, save=save, on_step=killed)
"""


@dataclass
class Net:
    """The small net, and which layers have been solved for it in this process."""

    folder: Path
    solved: list[str] = field(default_factory=list)
    measured: int = 0

    def run(self, prefix="out/net", **options):
        files = conv_net(self.folder)
        given = {"metric": "output_error", "max_error": 0.05, "batch_size": 4, "options": FEW, **options}
        return nuqconv.auto((files.model, files.weights), data={"data": IMAGES}, save=self.folder / prefix, **given)

    def outputs(self, prefix="out"):
        return {name: data for name, data in contents(self.folder / prefix).items() if "_trials.sqlite" not in name}


@pytest.fixture
def net(tmp_path, monkeypatch):
    made = Net(tmp_path)
    solve, measure = fitted_weights.solve_layer, preparation.measure_responses

    def counted(op, weights, *arguments, **options):
        made.solved.append("x".join(map(str, np.shape(weights))))
        return solve(op, weights, *arguments, **options)

    def measured(*arguments, **options):
        made.measured += 1
        return measure(*arguments, **options)

    monkeypatch.setattr(fitted_weights, "solve_layer", counted)
    monkeypatch.setattr(preparation, "measure_responses", measured)
    return made


def test_a_run_that_is_killed_goes_on_from_the_last_whole_layer(net):
    files = conv_net(net.folder)
    for layer in (1, 2):
        arguments = [str(files.model), str(files.weights), str(net.folder / "out" / "net"), str(layer)]
        killed = subprocess.run([sys.executable, "-c", CHILD, *arguments], timeout=300, check=False)
        assert killed.returncode == -signal.SIGKILL
    steps = []
    net.run(on_step=lambda *step: steps.append(step))
    assert net.solved == ["5x288"]
    assert [step[1:] for step in steps if step[0] == "choosing integers"] == [(2, 3), (3, 3)]
    whole = Net(net.folder)
    whole.run("whole/net")
    assert net.solved == ["5x288", "8x3x3x3", "8x8x3x3", "5x288"]
    assert net.outputs() == whole.outputs("whole")


def test_nothing_is_solved_again_for_other_outputs_metrics_and_demands(net, caplog):
    net.run()
    assert (len(net.solved), net.measured) == (len(LAYERS), 1)
    caplog.set_level(logging.INFO)
    for options in (
        {"outputs": ("fc",)},
        {"metric": "top1", "max_error": None, "max_drop": 0.5, "labels": np.arange(8) % 5},
        {"max_error": 0.5},
    ):
        net.run(**options, options=RESTART)
    assert (len(net.solved), net.measured) == (len(LAYERS), 1)
    assert caplog.messages.count("3 of 3 layers are solved already") == 3


def test_a_run_that_ends_while_layers_are_solved_hands_them_to_the_next(net):
    with pytest.raises(SearchError, match="on_step has ended"):
        net.run(on_step=lambda name, done, total: (name, done) == ("choosing integers", 2))
    net.run(outputs=("fc",))
    assert net.solved == ["8x3x3x3", "8x8x3x3", "5x288"]


def test_what_the_integers_depend_on_solves_again(net):
    net.run()
    for options in (
        {"batch_num": 1, "options": RESTART},
        {"options": replace(RESTART, prepare=replace(RESTART.prepare, weight_method=WeightMethod(sweeps=1)))},
    ):
        net.run(**options)
    # One batch less, then another method: each has all layers anew.
    assert len(net.solved) == 3 * len(LAYERS)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE layers SET value = '['",
        "UPDATE layers SET value = replace(value, '\"steps\":16', '\"steps\":17')",
        "UPDATE layers SET value = '[{}]'",
        "UPDATE layers SET value = replace(value, '\"loss\":', '\"loss\":-')",
        "UPDATE assets SET data = x'00'",
        "DELETE FROM assets",
    ],
)
def test_damaged_layers_are_solved_again(net, damage, caplog):
    def run():
        with pytest.raises(SearchError):
            net.run(on_step=lambda name, done, total: name == "predicting losses")

    def kept():
        with sqlite3.connect(net.folder / "out" / "net_trials.sqlite") as connection:
            tables = (
                connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in ("layers", "assets")
            )
            found = list(tables)
        connection.close()
        return found

    run()
    before = kept()
    with sqlite3.connect(net.folder / "out" / "net_trials.sqlite") as connection:
        connection.execute(damage)
    connection.close()
    run()
    assert len(net.solved) == 2 * len(LAYERS)
    assert "is solved again, since what was kept of it is damaged" in caplog.text
    # All but the configuration's text, which nobody reads here.
    after = kept()
    assert after[0] == before[0]
    assert set(after[1]).issuperset(row for row in before[1] if any(row[0] in layer[2] for layer in before[0]))


def test_a_layer_is_known_by_all_that_leads_to_it(tmp_path):
    """Names of nodes do not matter; what they are and what they are given does."""

    def names(seed=0, batches=(IMAGES,), **texts):
        files = conv_net(tmp_path, seed)
        text = files.model.read_text()
        for before, after in texts.values():
            assert before in text
            text = text.replace(before, after)
        files.model.write_text(text)
        graph = fold_affine(load_graph(files.model, files.weights)).graph
        keys = LayerKeys(graph, [{"data": batch} for batch in batches])
        given = (ActivationQuant(0.125, 3), WeightMethod(), None)
        return [keys.layer(LayerRequest(node.name, (32, 16)), *given) for node in graph.nodes if node.params]

    first = names()
    assert first == names() == names(name=('name: "small"', 'name: "other"'))
    assert len(set(first)) == len(LAYERS)
    for other in (
        names(seed=1),
        names(batches=(IMAGES[:4], IMAGES[4:])),
        names(slope=("dim: 2 dim: 3", "dim: 4 dim: 3")),
    ):
        assert not set(first) & set(other)
    # Behind a change only.
    assert [a == b for a, b in zip(first, names(slope=("slope: 0.1", "slope: 0.2")), strict=True)] == [
        True,
        True,
        False,
    ]
