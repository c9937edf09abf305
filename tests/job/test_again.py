"""A command that is given again, corrected."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from nuqconv.errors import CalibrationError, JournalError
from nuqconv.search.journal import Journal
from tests.support.auto import Job, batches, contents, error_evaluator
from tests.support.nets import conv_net

JOURNAL = "net_trials.sqlite"


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job")


def test_a_journal_without_an_evaluation_is_replaced(job):
    """The first command fails behind the original's evaluation; the corrected one needs no word more."""
    bad = batches()
    bad[0]["data"][0] = np.nan
    with pytest.raises(CalibrationError):
        job.run(error_evaluator(), journal=True, calibration_data=bad)
    with Journal.read(job.out / JOURNAL) as journal:
        assert (journal.trials(), journal.original) == ((), 0.0)
    result = job.run(error_evaluator(), journal=True, calibration_data=batches(), max_evaluations=1)
    assert len(result.trials) == 1
    assert not (job.out / (JOURNAL + ".1")).exists()


def test_other_weights_are_another_search(job):
    """The definition stays the same when a net is trained again."""
    job.run(error_evaluator(), journal=True, max_evaluations=1)
    conv_net(job.folder, seed=7)
    before = contents(job.folder)
    with pytest.raises(JournalError, match="--restart") as caught:
        job.run(error_evaluator(), journal=True, max_evaluations=1)
    assert caught.value.problems == (f"{job.files.weights} has changed",)
    assert contents(job.folder) == before
    job.run(error_evaluator(), journal=True, max_evaluations=1, on_mismatch="restart")
    assert (job.out / (JOURNAL + ".1")).is_file()


def test_an_earlier_journal_gets_the_weights_when_it_goes_on(job):
    first = job.run(error_evaluator(), journal=True, max_evaluations=1)
    with Journal.open(first.journal, identity(first.journal)) as journal:
        journal._connection.execute("DELETE FROM identity WHERE name = 'weights file'")
    assert "weights file" not in identity(first.journal)
    job.run(error_evaluator(), journal=True, max_evaluations=1)
    assert len(identity(first.journal)["weights file"]) == 64


def identity(path):
    with Journal.read(path) as journal:
        return journal.identity


def test_what_the_journal_spared_is_said(job):
    first = job.run(error_evaluator(), journal=True, max_evaluations=1)
    assert not [note for note in first.notes if "taken from" in note]
    again = job.run(error_evaluator(), journal=True)
    assert f"1 of {len(again.trials)} evaluations are taken from {again.journal}" in again.notes


def test_an_interruption_says_how_far_it_was(job, caplog):
    evaluator = error_evaluator()
    run, seen = evaluator.eval_model, []

    def interrupted(*arguments):
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return run(*arguments)

    evaluator.eval_model = interrupted
    with pytest.raises(KeyboardInterrupt):
        job.run(evaluator, journal=True)
    assert "interrupted after 1 evaluations; the same command goes on" in caplog.messages


SCRIPT = """
import logging, sys, nuqconv
if "own" in sys.argv:
    logging.basicConfig(level=logging.WARNING)
for _ in range(2):
    nuqconv.auto_nuq("net.prototxt", "net.caffemodel", nuqconv.OnnxRuntimeEvaluator(
        {"data": __import__("numpy").ones((2, 3, 12, 12), "f4")}, metric="output_error", max_error=1),
        "config.json", "out/record.txt", "out/net", max_evaluations=1, journal=False, progress=False)
"""


@pytest.mark.parametrize(("how", "lines"), [("", 2), ("own", 0), ("off", 0)])
def test_a_script_without_logging_sees_each_line_once(job, how, lines):
    environment = {**os.environ, **({"NUQCONV_LOG": "off"} if how == "off" else {})}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        cwd=job.folder, env=environment, capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    assert ended.stdout == ""
    assert sum("INFO original model: metric 0" in line for line in ended.stderr.splitlines()) == lines
