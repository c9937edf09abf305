"""``nuqconv trials``: what is in a journal, for people and for other programs."""

from __future__ import annotations

import csv
import io
import json
import sqlite3

import pytest

from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured
from tests.search.simulated import INT8, NUQ16, NUQ32

PLANS = [Plan.of({"a": a, "b": b}) for a, b in ((INT8, INT8), (NUQ16, NUQ16), (NUQ32, LayerPlan(Precision.FLOAT)))]
IDENTITY = {"model": "1f" * 32, "data version": "images [bold]of[/] May"}


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal.open("net_trials.sqlite", IDENTITY) as made:
        made.set_original(0.1 + 0.2)
        made.set_space("[]", {}, float_bytes=4000.0)
        made.record(PLANS[0], Measured(0.3, 1.25), 1, "int8 for all layers", 1000.0, True)
        made.record(PLANS[1], Measured(-0.0, 2.0, "host:7"), 2, "evil \x1b[31m [red]", 500.0, False)
        made.record(PLANS[2], Measured(1 / 3, 0.1, "host:8"), 3, "2 of 4 moves", 700.0, True, ("b",))
        yield made


def lines(ended):
    assert (ended.code, ended.err) == (0, "")
    return [line.rstrip() for line in ended.out.splitlines()]


def test_show_while_a_search_writes(run, journal):
    shown = lines(run("trials", "show", "net_trials.sqlite", columns=120))
    facts = dict(line.strip().split("  ", 1) for line in shown[1 : shown.index("")])
    facts = {name: text.strip() for name, text in facts.items()}
    assert shown[0] == "net_trials.sqlite"
    assert facts.pop("begun") == journal.created
    assert facts.pop("searching now") == journal.holder
    assert facts.pop("last trial ended") == journal.trials()[-1].finished
    assert facts == {
        "search space": "worked out",
        "original metric": "0.3",
        "trials": "3, 2 accepted",
        "evaluator's seconds": "3.4",
        "smallest accepted": "trial 3: metric 0.333333, 700 bytes (17.5 % of float)",
        **IDENTITY,
    }
    assert shown[shown.index("") + 1 :] == [
        "trial  tried                 metric  bytes     %  seconds  verdict   worker",
        "    1  int8 for all layers      0.3  1,000  25.0     1.25  accepted",
        r"    2  evil \x1b[31m [red]       -0    500  12.5     2.00  rejected  host:7",
        "    3  2 of 4 moves         0.33333    700  17.5     0.10  accepted  host:8",
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_show_fits_the_terminal(run, journal, columns):
    assert max(map(len, lines(run("trials", "show", "net_trials.sqlite", columns=columns)))) <= columns


def test_show_before_anything_was_found(run, tmp_path):
    Journal.open(tmp_path / "new.sqlite", {"model": "x"}).close()
    shown = "\n".join(lines(run("trials", "show", tmp_path / "new.sqlite", columns=None)))
    for fact in ("not measured yet", "not worked out yet", "0, 0 accepted", "searching now    no"):
        assert fact in shown
    assert "smallest" not in shown
    assert "worker" not in shown


def test_export_json_keeps_every_bit(run, journal):
    found = json.loads(run("trials", "export", "net_trials.sqlite", columns=None).out)
    assert found["identity"] == IDENTITY
    assert (found["original_metric"], found["float_bytes"]) == (0.1 + 0.2, 4000.0)
    assert found["best"] == {"number": 3, "digest": PLANS[2].digest()}
    assert [str(trial["metric"]) for trial in found["trials"]] == ["0.3", "-0.0", str(1 / 3)]
    assert [trial["float_layers"] for trial in found["trials"]] == [[], [], ["b"]]
    assert [Plan.from_json(json.dumps(trial["plan"])) for trial in found["trials"]] == PLANS


def test_export_csv_by_the_ending_of_the_file(run, journal, tmp_path):
    ended = run("trials", "export", "net_trials.sqlite", "-o", "out.csv")
    assert (ended.code, ended.out) == (0, "")
    text = (tmp_path / "out.csv").read_text()
    assert text == run("trials", "export", "net_trials.sqlite", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["metric"]).hex() for row in rows] == [number.hex() for number in (0.3, -0.0, 1 / 3)]
    assert [row["step"] for row in rows][1] == "evil \x1b[31m [red]"
    assert json.loads(rows[2]["float_layers"]) == ["b"]
    assert [row["digest"] for row in rows] == [plan.digest() for plan in PLANS]


@pytest.mark.parametrize("target", ["net_trials.sqlite", "net_trials.sqlite-wal", "net_trials.sqlite.lock"])
def test_export_never_overwrites_the_journal(run, journal, target):
    ended = run("trials", "export", "net_trials.sqlite", "-o", target)
    assert ended.code == 2
    assert "is an input of this run" in ended.err
    assert len(journal.trials()) == 3


@pytest.mark.parametrize("command", ["show", "export"])
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no such journal"), (b"hello" * 900, "it is no journal"), (b"", "is no journal")],
)
def test_no_journal(run, tmp_path, command, content, said):
    path = tmp_path / "x.sqlite"
    if content is not None:
        path.write_bytes(content)
    ended = run("trials", command, path)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {path}: ")
    assert said in ended.err
    assert list(tmp_path.iterdir()) == ([] if content is None else [path])


def test_a_stored_plan_that_is_none(run, journal):
    journal.close()
    with sqlite3.connect("net_trials.sqlite") as connection:
        text = "{}"
        digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        connection.execute("UPDATE trials SET plan = ?, digest = ? WHERE number = 2", (text, digest))
    ended = run("trials", "export", "net_trials.sqlite")
    assert ended.code == 2
    assert "the journal is damaged: trial 2: the plan is not valid" in ended.err


def test_help_teaches(run):
    assert "show" in run("trials", "--help").out
    assert "nuqconv trials show out/model_trials.sqlite" in " ".join(run("trials", "show", "--help").out.split())
