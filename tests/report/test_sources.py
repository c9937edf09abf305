"""Reports of searches that have ended, go on, or were killed: read only, and whole at every moment."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace

import pytest

from nuqconv.errors import ConfigError, JournalError
from nuqconv.evaluators import OnnxRuntimeEvaluator
from nuqconv.report.forms import write_report
from nuqconv.report.html import html_page
from nuqconv.report.sources import find_journal, report_of_journal, report_of_result
from tests.report.documents import Page
from tests.search.test_journal_file import as_format_1, change
from tests.support.auto import Job, contents, error_evaluator
from tests.support.forks import forking


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A search that has ended, with its journal."""
    job = Job(tmp_path_factory.mktemp("job"))
    return job.run(error_evaluator(), journal=True)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_journal_tells_what_the_result_tells(ended):
    before = files_of(ended.journal.parent)
    report = report_of_journal(ended.journal)
    assert report == report_of_result(ended)
    assert html_page(report) == ended.to_html()
    assert files_of(ended.journal.parent) == before
    assert json.loads(report.document.to_json()) == json.loads(ended.to_json())


def test_what_the_json_tells(ended):
    found = json.loads(ended.to_json())
    assert (found["metric_name"], found["demand"], found["limit"], found["better"]) == (
        "output_error",
        "at most 0.05",
        0.05,
        "lower",
    )
    assert (found["samples"], found["runtime"], found["state"]) == (8, "onnxruntime", "finished")
    assert found["data"].startswith("8 x 3x12x12")
    assert set(found["model"]) == set(found["hashes"]) == {"model", "weights", "configuration"}
    assert set(found["versions"]) >= {"nuqconv", "python", "numpy", "onnxruntime"}
    assert found["date"].endswith("Z")
    assert found["file_bytes"] == {name: path.stat().st_size for name, path in ended.files.present().items()}
    quantized = [name for name, layer in ended.plan.items() if layer.precision.value != "float"]
    assert [layer["layer"] for layer in found["errors"]["layers"]] == quantized


def test_there_is_one_size(ended):
    found = json.loads(ended.to_json())
    best = found["trials"][found["best_trial"] - 1]
    saved = sum(layer["float_bytes"] - layer["bytes"] for layer in found["layers"])
    assert found["sizes"]["bytes"] == best["bytes"] == found["sizes"]["float_bytes"] - saved
    assert f"{best['bytes']:,} bytes" in ended.to_html()


def test_places_of_a_journal(ended, tmp_path):
    assert find_journal(ended.journal) == find_journal(ended.journal.parent / "net") == ended.journal
    with pytest.raises(JournalError, match=r"there is no journal of this name, and no other_trials.sqlite either"):
        find_journal(ended.journal.parent / "other")
    with pytest.raises(JournalError):
        report_of_journal(tmp_path / "nothing.sqlite")


def test_unfinished_searches_tell_as_much_as_they_know(ended, tmp_path):
    """Without the result, the rest of the journal gives the same sizes, layers and trials."""
    path = tmp_path / "net_trials.sqlite"
    path.write_bytes(ended.journal.read_bytes())
    change(path, "DELETE FROM facts WHERE name = 'result'")
    whole, part = ended.document(), report_of_journal(path).document
    assert part.state == "stopped"
    same = replace(
        whole, state="stopped", journal=str(path), errors=None, difference=None, files={}, file_bytes={}, notes=()
    )
    assert replace(part, notes=()) == replace(same, seconds=None, stopped_by=None)
    assert "The search was stopped." in html_page(report_of_journal(path))


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        ("DELETE FROM trials", "Trials"),
        ("DELETE FROM facts WHERE name IN ('run', 'result')", "How to make it again"),
        ("DELETE FROM facts WHERE name IN ('network', 'result')", "Layers"),
        ("UPDATE search SET space = NULL, original = NULL", "Layers"),
    ],
)
def test_what_is_not_known_yet_is_left_out(ended, tmp_path, lost, missing):
    path = tmp_path / "net_trials.sqlite"
    path.write_bytes(ended.journal.read_bytes())
    change(path, "DELETE FROM facts WHERE name = 'result'", lost)
    page = html_page(report_of_journal(path))
    assert f">{missing}</h2>" not in page or missing == "How to make it again"
    assert Page.of(page).faults == []


def test_journals_of_the_first_version(ended, tmp_path):
    path = tmp_path / "old.sqlite"
    path.write_bytes(ended.journal.read_bytes())
    as_format_1(path)
    before = path.read_bytes()
    document = report_of_journal(path).document
    assert any("earlier version" in note for note in document.notes)
    assert [trial.metric for trial in document.trials] == [trial.metric for trial in ended.trials]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["run", "network", "result"])
@pytest.mark.parametrize("value", ["", "3", '{"network": 3}', "[" * 100000])
def test_damaged_facts_are_refused(ended, tmp_path, name, value):
    path = tmp_path / "net_trials.sqlite"
    path.write_bytes(ended.journal.read_bytes())
    statements = [("UPDATE facts SET value = ? WHERE name = ?", (value, name))]
    if name != "result":
        statements.append("DELETE FROM facts WHERE name = 'result'")
    change(path, *statements)
    with pytest.raises(JournalError, match="is damaged"):
        report_of_journal(path)


def test_a_search_that_goes_on(tmp_path):
    """The page is made at every trial, from the journal that is being written."""
    job = Job(tmp_path / "job")
    pages = []

    class Watched(OnnxRuntimeEvaluator):
        def eval_model(self, model_file, weights_file, batch_num):
            path = job.out / "net_trials.sqlite"
            if path.exists():
                pages.append(html_page(report_of_journal(path)))
            return super().eval_model(model_file, weights_file, batch_num)

    inner = error_evaluator()
    result = job.run(Watched(inner.data, metric="output_error", max_error=0.05, batch_size=4), journal=True)
    assert len(pages) == len(result.trials) + 1
    assert all("The search goes on." in page and not Page.of(page).faults for page in pages)
    assert [page.count("<td>exchange") + page.count("<tr class=") > 0 for page in pages[3:]]
    assert "The search goes on." not in html_page(report_of_journal(result.journal))


def _search(job, told):
    """Goes on with a search, in a process that is killed."""
    told.send("begun")
    job.run(error_evaluator(0.02), journal=True)


@pytest.mark.slow
def test_searches_that_were_killed(tmp_path):
    """20 kills at moments that are spread over the search; the page of each is whole, and the last run ends as if nothing had been."""
    job = Job(tmp_path / "job")
    journal = job.out / "net_trials.sqlite"
    seen, ended = set(), set()
    context = forking()
    for number in range(20):
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=_search, args=(job, there))
        child.start()
        there.close()
        with here:
            assert here.recv() == "begun"
        time.sleep(0.05 + 0.12 * number)
        child.kill()
        child.join()
        ended.add(child.exitcode)
        if journal.exists():
            report = report_of_journal(journal)
            page = html_page(report)
            assert Page.of(page).faults == []
            seen.add((report.document.state, len(report.document.trials)))
    assert any(state == "stopped" for state, _ in seen)
    # Some were killed, and no run failed.
    assert -signal.SIGKILL in ended <= {-signal.SIGKILL, 0}
    result = job.run(error_evaluator(0.02), journal=True)
    assert report_of_journal(journal) == report_of_result(result)


def test_the_ending_says_the_form(ended, tmp_path):
    report = report_of_result(ended)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"ends in one of \.html, \.md, \.json"):
        write_report(report, tmp_path / "report.pdf")
    assert contents(tmp_path) == before
    for name, beginning in (("a.HTML", "<!doctype html>"), ("b.md", "## "), ("c.json", "{\n")):
        write_report(report, tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(beginning)


def test_in_a_notebook(ended):
    shown = ended._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html')
    assert shown.count("<") == 2
