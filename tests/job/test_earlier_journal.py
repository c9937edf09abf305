"""A journal that earlier code has written: it is read, its text is what is written today, and its search goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import nuqconv
from nuqconv.job.preparation import Preparation
from nuqconv.quantize.plan import Plan
from nuqconv.search.journal import Journal
from tests.support.auto import error_evaluator

EARLIER = Path(__file__).with_name("earlier_journal")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EARLIER, tmp_path / "earlier"))


def test_what_is_read_is_written_the_same(folder):
    with Journal.read(folder / "net_trials.sqlite") as journal:
        text = journal.space_text
        assert Preparation.from_json(text).to_json() == text
        plans = [record.plan.to_json() for record in journal.trials()]
    assert len(plans) == 2
    assert [Plan.from_json(plan).to_json() for plan in plans] == plans
    found = (folder / "plan.json").read_text()
    assert Plan.from_json(found).to_json() + "\n" == found


def test_its_search_goes_on(folder):
    evaluator = error_evaluator(0.02)
    evaluated = []
    run = evaluator.eval_model
    evaluator.eval_model = lambda *arguments: evaluated.append(arguments) or run(*arguments)
    try:
        result = nuqconv.auto_nuq(
            folder / "net.prototxt",
            folder / "net.caffemodel",
            evaluator,
            folder / "config.json",
            folder / "record.txt",
            folder / "net",
        )
    finally:
        del evaluator.eval_model
    assert [trial.step for trial in result.trials[:2]] == [
        "int8 for all layers",
        "6 of 6 steps, the last fc to 16 levels",
    ]
    # The two known plans are not evaluated again; this evaluator has to see the original to compare with it.
    models = [Path(arguments[0]).name for arguments in evaluated]
    assert models.count("net.prototxt") == 1
    assert models.count("net_fake_quant_model.prototxt") == len(models) - 1 == len(result.trials) - 2
    assert result.plan.to_json() + "\n" == (folder / "plan.json").read_text()
