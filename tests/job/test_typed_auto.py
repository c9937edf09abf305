"""`nuqconv.auto`, and the files of other trials."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ConfigError, JournalError, SearchError
from nuqconv.job.rewrite import write_trial
from nuqconv.search.journal import Journal
from tests.support.auto import Job, batches, contents, error_evaluator
from tests.support.nets import conv_net

DATA = np.concatenate([batch["data"] for batch in batches(4)])


@pytest.fixture
def net(tmp_path):
    files = conv_net(tmp_path)
    return (files.model, files.weights)


def auto(net, **options):
    options = {"max_error": 0.05, "batch_size": 4, "batch_num": 2, **options}
    return nuqconv.auto(net, data={"data": DATA}, metric="output_error", **options)


def test_without_save_nothing_is_written(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    result = auto(net)
    assert contents(tmp_path) == before
    assert (dict(result.files.present()), result.journal) == ({}, None)
    assert set(result.run(DATA[:2])) == {"prob"}
    saved = result.save(tmp_path / "later" / "net")
    assert all(path.is_file() for path in saved.present().values())


def test_the_files_are_those_of_auto_nuq(net, tmp_path):
    """Same model, configuration, evaluator and data: the same bytes."""
    nuqconv.create_quant_config(tmp_path / "config.json", *net, batch_num=2)
    evaluator = nuqconv.BatchEvaluator({"data": DATA}, metric="output_error", max_error=0.05, batch_size=4)
    names = "net_scale_offset_record.txt"
    old = nuqconv.auto_nuq(*net, evaluator, tmp_path / "config.json", tmp_path / "a" / names, tmp_path / "a" / "net")
    new = auto(net, save=tmp_path / "b" / "net")
    assert new.plan == old.plan
    made = {name: path.read_bytes() for name, path in new.files.present().items()}
    assert made == {name: path.read_bytes() for name, path in old.files.present().items()}
    assert new.journal == tmp_path / "b" / "net_trials.sqlite"


def test_a_graph_is_a_model(net):
    assert auto(nuqconv.load(*net)).plan == auto(net).plan


def test_a_callback_may_end_the_search(net):
    seen, steps = [], []

    def on_trial(trial, progress):
        seen.append((trial.number, progress.done))
        return len(seen) == 2

    result = auto(net, max_error=0.03, on_trial=on_trial, on_step=lambda *step: steps.append(step))
    assert seen == [(1, 1), (2, 2)]
    assert (result.stopped_by, len(result.trials)) == ("callback", 2)
    assert ("choosing integers", 1, 3) in steps
    with pytest.raises(SearchError, match="on_step has ended the work at 1 of 3"):
        auto(net, on_step=lambda *step: True)


def test_what_does_not_go_together(net):
    with pytest.raises(ConfigError, match="has its own demand"):
        auto(net, evaluator=error_evaluator())
    with pytest.raises(ConfigError, match="give data"):
        nuqconv.auto(net, metric="output_error", max_error=1)
    with pytest.raises(ConfigError, match="belong to the files that save names"):
        auto(net, journal=True)


def test_an_earlier_trial_has_the_files_that_a_search_ending_there_writes(tmp_path):
    """The search that may evaluate one model only ends with trial 1; the longer one has gone on from there."""
    job = Job(tmp_path / "job")
    short = job.run(error_evaluator(), max_evaluations=1)
    wanted = {name: path.read_bytes() for name, path in short.files.present().items()}
    result = job.run(error_evaluator(), journal=True)
    assert result.best.number > 1
    best = {name: path.read_bytes() for name, path in result.files.present().items()}
    assert best != wanted
    again = result.write(trial=1, save_dir=tmp_path / "again" / "net")
    assert {name: path.read_bytes() for name, path in again.present().items()} == wanted
    with Journal.read(result.journal) as journal:
        for trial, expected in ((1, wanted), (result.best.number, best)):
            files = write_trial(journal, trial, tmp_path / f"trial{trial}" / "net")
            assert {name: path.read_bytes() for name, path in files.present().items()} == expected
        with pytest.raises(JournalError, match=f"has no trial 99; it has 1 to {len(result.trials)}"):
            write_trial(journal, 99, tmp_path / "x" / "net")
        moved = [tmp_path / "m.prototxt", tmp_path / "w.caffemodel"]
        for old, new in zip((job.files.model, job.files.weights), moved, strict=True):
            old.rename(new)
        with pytest.raises(ConfigError, match="there is no such file"):
            write_trial(journal, 1, tmp_path / "y" / "net")
        files = write_trial(journal, 1, tmp_path / "y" / "net", model=moved)
        assert {name: path.read_bytes() for name, path in files.present().items()} == wanted
        moved[0].write_text(moved[0].read_text() + "\n")
        with pytest.raises(ConfigError, match="has changed since the search"):
            write_trial(journal, 1, tmp_path / "y" / "net", model=moved)
    with pytest.raises(ConfigError, match="there is no trial 0"):
        result.write(trial=0, save_dir=tmp_path / "x" / "net")
