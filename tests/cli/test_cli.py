"""The commands as a user calls them: options, exit codes, messages."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from typer.main import get_command

from nuqconv.cli import app
from nuqconv.cli.app import COMMANDS
from nuqconv.cli.options import parse_size
from nuqconv.config import load_config
from nuqconv.errors import ConfigError
from nuqconv.frontends.caffe import load_graph
from nuqconv.job.layer_facts import layer_facts
from nuqconv.search.metrics import METRIC_NAMES
from nuqconv.search.strategies import STRATEGIES

from .conftest import LENET, MODEL

PYTHON = [sys.executable, "-m", "nuqconv"]
FILES = [
    "model_deploy_model.prototxt",
    "model_deploy_weights.caffemodel",
    "model_fake_quant_model.prototxt",
    "model_fake_quant_weights.caffemodel",
    "model_nuq_codebooks.json",
    "model_nuq_layer_record.txt",
    "model_quant.json",
    "model_scale_offset_record.txt",
]


def auto(run, subset, folder, *more, drop="0.01", **options):
    return run(
        *("auto", *MODEL, "--data", subset, "--max-drop", drop, "--save", folder / "model", "--max-evaluations", 3),
        *more,
        **options,
    )


def in_a_child(*arguments, **options):
    return subprocess.run(
        [*PYTHON, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=600, **options
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 120])
def test_help_names_every_option(run, command, columns):
    whole = get_command(app)
    options = (whole.commands[command].load() if command else whole).params
    every = "--help-all" if any("--help-all" in param.opts for param in options) else "--help"
    ended = run(*filter(None, [command]), every, columns=columns)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert f"Usage: nuqconv {command}".rstrip() in ended.out
    # An argument is called what its metavar says.
    names = [
        opt if opt.startswith("-") else param.metavar
        for param in options
        if not getattr(param, "hidden", False)
        for opt in param.opts
    ]
    names += [] if command else COMMANDS
    assert [name for name in names if not re.search(rf"(?m)^.*(?<![\w-]){re.escape(name)}(?![\w-])", ended.out)] == []
    # A word that does not fit would be cut off.
    assert "…" not in ended.out


def test_no_command_shows_the_help(run):
    ended = run()
    assert ended.code == 2
    assert "Usage: nuqconv [OPTIONS] COMMAND" in ended.out + ended.err


def test_version(run):
    ended = run("--version")
    assert ended.code == 0
    assert re.fullmatch(r"nuqconv \d+\.\d+\.\d+\n", ended.out)


def test_auto(run, subset, tmp_path):
    ended = auto(run, subset, tmp_path, "--report", tmp_path / "deep" / "report.json")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["deep", *FILES, "model_trials.sqlite"])
    report = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert [layer["name"] for layer in report["layers"]] == ["conv1", "conv2", "ip1", "ip2"]
    assert report["original_metric"] - report["metric"] <= 0.01
    assert 1 <= len(report["trials"]) <= 3
    assert report["metric"] == report["trials"][-1]["metric"]
    assert report["sizes"]["bytes"] < report["sizes"]["int8_bytes"] < report["sizes"]["float_bytes"] == 1724320
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"data  200 x 1x28x28 from {subset}, 0.00 .. 1.00")
    assert lines[1].split() == ["layer", "type", "weights", "levels", "bits", "bytes"]
    for layer in report["layers"]:
        (row,) = (line for line in lines if line.startswith(f"{layer['name']} "))
        assert row.split()[-2:] == [str(layer["bits"]), f"{layer['bytes']:,}"]
    assert [line.split()[-1] for line in lines if line.startswith("top1 ")] == [f"{report['metric']:.5g}"]
    assert f"quantized models evaluated: {len(report['trials'])} (the search is complete)" in lines
    assert "activations calibrated: in onnxruntime" in lines
    assert lines[-9] == "files"
    sizes = {name: f"{(tmp_path / name).stat().st_size:,} bytes" for name in FILES}
    assert {line.strip() for line in lines[-8:]} == {f"{tmp_path / name}  {size}" for name, size in sizes.items()}
    tables = [line for line in lines[1:-8] if not re.match(r"[a-z][a-z ]*: ", line)]
    assert max(map(len, tables)) <= 80


@pytest.mark.caffe
@pytest.mark.usefixtures("caffe_python")
@pytest.mark.slow
def test_auto_in_real_caffe_and_opencv_finds_the_same(run, subset, tmp_path):
    runtimes = ("caffe", "onnxruntime", "opencv")
    for runtime in runtimes:
        ended = auto(run, subset, tmp_path / runtime, "--runtime", runtime, "--report", tmp_path / f"{runtime}.json")
        assert (ended.code, ended.err) == (0, "")
    theirs, *ours = (json.loads((tmp_path / f"{name}.json").read_text()) for name in runtimes)
    for report in ours:
        assert report["plan"] == theirs["plan"]
        assert report["metric"] == theirs["metric"]


def test_auto_in_a_child_finds_the_same(run, subset, tmp_path):
    more = ("--isolate", "--memory-limit", 1024, "--child-timeout", 60)
    for name, options in (("here", ()), ("there", more)):
        ended = auto(run, subset, tmp_path / name, "--report", tmp_path / f"{name}.json", *options)
        assert (ended.code, ended.err) == (0, "")
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("here", "there"))
    for report in (ours, theirs):
        for trial in report["trials"]:
            del trial["seconds"]
    assert ours["trials"] == theirs["trials"]


def test_auto_with_every_file_given(run, subset, tmp_path):
    assert run("config", *MODEL, "-o", tmp_path / "c.json", "--skip", "conv1", "--batch-num", 2).code == 0
    record, report = tmp_path / "record.txt", tmp_path / "report.json"
    ended = run(
        *("auto", *MODEL, "--data", subset, "--metric", "output_error", "--max-error", "0.2", "--outputs", "ip2"),
        *("--config", tmp_path / "c.json", "--record", record, "--calibration", LENET / "calibration.npz"),
        *("--save", tmp_path / "m", "--batch-size", 50, "--report", report, "--timeout", 60),
    )
    assert (ended.code, ended.err) == (0, "")
    assert not (tmp_path / "m_scale_offset_record.txt").exists()
    assert re.findall(r'key: "(\w+)"', record.read_text()) == ["conv2", "ip1", "ip2"]
    found = json.loads(report.read_text())
    assert found["original_metric"] == 0
    assert 0 < found["metric"] <= 0.2
    assert found["layers"][0]["precision"] == "float"


def test_auto_at_a_size(run, subset, tmp_path):
    report = tmp_path / "report.json"
    ended = run("auto", *MODEL, "--data", subset, "--max-size", "400kB", "--save", tmp_path / "m", "--report", report)
    assert ended.code == 0, ended.err
    found = json.loads(report.read_text())
    assert found["sizes"]["bytes"] <= 400_000
    assert [item["number"] for item in found["trials"] if item["pareto"]]
    assert "the result" in ended.out


def test_auto_with_few_codebooks(run, subset, tmp_path):
    report = tmp_path / "report.json"
    options = ["--max-drop", "0.02", "--max-layers", "1", "--save", tmp_path / "m", "--report", report]
    ended = run("auto", *MODEL, "--data", subset, *options)
    assert ended.code == 0, ended.err
    layers = json.loads(report.read_text())["layers"]
    assert [layer["name"] for layer in layers if layer["precision"] == "nuq"] == ["ip1"]


@pytest.mark.parametrize(
    ("text", "size"), [("6MB", 6e6), ("600 kB", 6e5), ("2.5MiB", 2.5 * 2**20), ("123456", 123456), ("1g", 1e9)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "0", "6XB", "1e6", "6 M B", "\u0666MB"])
def test_texts_that_are_no_sizes(text):
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_can_be_chosen(run, subset, tmp_path, name):
    ended = auto(run, subset, tmp_path, "--strategy", name, drop="0.05")
    assert (ended.code, ended.err) == (0, "")
    # LeNet has few enough layers for every one of them.
    assert "quantized models evaluated: " in ended.out


def test_nothing_accepted_is_exit_code_1(run, subset, tmp_path):
    ended = run(
        *("auto", *MODEL, "--data", subset, "--metric", "output_error", "--max-error", "0", "--save", tmp_path / "m")
    )
    assert (ended.code, ended.out.splitlines()[1:]) == (1, [])
    assert ended.out.startswith("data  200 x 1x28x28 from ")
    assert ended.err.startswith("error: no plan with a quantized layer satisfies the evaluator: ")
    assert [path.name for path in tmp_path.iterdir()] == ["m_trials.sqlite"]


WRONG_USAGE = [
    ([], "Missing option '--save'"),
    (["--data", "d.npz"], "Missing option '--save'"),
    (["--data", "d.npz", "--save", "m", "--runtime", "torch"], "Invalid value for '--runtime'"),
    (["--data", "d.npz", "--save", "m", "--unknown"], "No such option: --unknown"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data, or an --evaluator of your own"),
        (["--data", "d.npz", "--evaluator-arg", "a=1"], "--evaluator-arg goes with an --evaluator of your own"),
        (["--data", "d.npz", "--evaluator", "e.py"], "--data go without --evaluator"),
        (["--evaluator", "e.py", "--metric", "top1", "--isolate"], "--metric, --isolate go without --evaluator"),
        (["--evaluator", "no_evaluator.py"], "no_evaluator.py: there is no such file"),
        (["--evaluator", "e.py", "--evaluator-arg", "a"], "'a': expected name=value"),
        (["--data", "d.npz", "--metric", "agreement"], "--metric agreement needs --max-drop, and no other limit"),
        (["--data", "d.npz", "--metric", "best"], "metric 'best' is not known"),
    ],
)
def test_what_an_evaluator_or_a_metric_needs(run, arguments, message):
    ended = run("auto", *MODEL, "--save", "m", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in " ".join(ended.err.split())


@pytest.mark.parametrize(("arguments", "message"), WRONG_USAGE)
def test_wrong_usage_is_exit_code_2(run, arguments, message):
    ended = run("auto", *MODEL, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: nuqconv auto" in ended.err
    assert message in ended.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--metric top1 needs --max-drop, and no other limit"),
        (["--max-layers", "2", "--max-size", "1MB"], "--max-layers and --max-size exclude each other"),
        (
            ["--max-size", "many"],
            "'many' is no size: expected a positive number of bytes, or one with kB, MB, GB, KiB, MiB or GiB",
        ),
        (["--max-error", "0.1"], "--metric top1 needs --max-drop, and no other limit"),
        (["--max-drop", "0.1", "--max-error", "0.1"], "--metric top1 needs --max-drop, and no other limit"),
        (
            ["--max-drop", "0.1", "--metric", "output_error"],
            "--metric output_error needs --max-error, and no other limit",
        ),
        (
            ["--max-drop", "0.1", "--metric", "topx"],
            f"metric 'topx' is not known; these are: {METRIC_NAMES}; or give a function of your own",
        ),
        (["--max-drop", "-1"], "max_drop is '-1', expected a number from 0 on, as 0.01 or 1%"),
        (["--max-drop", "0.1", "--report", "/"], "/: a report ends in one of .html, .md, .json, which says its form"),
        (
            ["--max-drop", "0.1", "--config", "gone.json"],
            "gone.json: the quantization configuration cannot be read: No such file or directory",
        ),
        (
            ["--max-drop", "0.1", "--memory-limit", "512"],
            "--memory-limit and --child-timeout are limits of the child process; they need --isolate",
        ),
        (
            ["--max-drop", "0.1", "--isolate", "--memory-limit", "255"],
            "--memory-limit 255: expected at least 256 MiB, which onnxruntime takes before any model",
        ),
        (
            ["--max-drop", "0.1", "--isolate", "--runtime", "caffe"],
            "--isolate is for onnxruntime; real Caffe always runs in a child process",
        ),
        (
            ["--max-drop", "0.1", "--isolate", "--runtime", "opencv"],
            "--isolate is for onnxruntime; OpenCV always runs in this process",
        ),
        (["--max-drop", "0.1", "--calibration", "gone.npz"], "gone.npz: there is no such file or folder"),
    ],
)
def test_options_that_do_not_fit_are_exit_code_2(run, subset, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    ended = run("auto", *MODEL, "--data", subset, "--save", "out/m", *options)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_report_in_the_place_of_an_input(run, subset, tmp_path):
    config = tmp_path / "c.json"
    run("config", *MODEL, "-o", config)
    before = config.read_bytes()
    ended = auto(run, subset, tmp_path, "--config", config, "--report", config)
    assert ended.code == 2
    assert f"  - {config}: is an input of this run\n" in ended.err
    assert config.read_bytes() == before


def test_data_that_does_not_fit(run, tmp_path):
    np.savez(tmp_path / "d.npz", image=np.zeros((2, 1, 28, 28)))
    ended = auto(run, tmp_path / "d.npz", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: {tmp_path / 'd.npz'}: does not fit the net; it holds image\n"
        "  - array 'data' for the net's input of that name is missing\n"
        "  - 'image' is not used; known are data, label, scale\n"
    )


def test_config(run, tmp_path):
    target = tmp_path / "c.json"
    ended = run("config", *MODEL, "-o", target, "--skip", "ip2", "--skip", "conv1", "--no-offset", "--batch-num", 3)
    assert (ended.code, ended.err) == (0, "")
    assert [line.rstrip() for line in ended.out.splitlines()] == [
        "layer  type          input  weights",
        "conv1  Convolution   float  float",
        "conv2  Convolution   int8   nuq, down to 16 steps",
        "ip1    InnerProduct  int8   nuq, down to 16 steps",
        "ip2    InnerProduct  float  float",
        "",
        f"written to {target}",
    ]
    found = load_config(target, layer_facts(load_graph(*MODEL)))
    assert (found.batch_num, found.activation_offset) == (3, False)
    assert [name for name, layer in found.layers.items() if layer.quant_enable] == ["conv2", "ip1"]


def test_config_with_a_definition_and_the_device_rule(run, tmp_path):
    definition = tmp_path / "d.cfg"
    definition.write_text("batch_num: 5 nuq_config { nuq_quantize: { num_steps: 32 } }\n")
    ended = run("config", *MODEL, "-o", tmp_path / "c.json", "--definition", definition, "--ddr-rate", 100)
    assert (ended.code, ended.err) == (0, "")
    assert [line.rstrip().split("  ")[-1].strip() for line in ended.out.splitlines()[1:5]] == [
        "int8 by channel",
        "int8 by channel",
        "nuq, down to 32 steps",
        "nuq, down to 32 steps",
    ]
    assert json.loads((tmp_path / "c.json").read_text())["batch_num"] == 5


def test_config_of_a_layer_that_is_not_there(run, tmp_path):
    ended = run("config", *MODEL, "-o", tmp_path / "c.json", "--skip", "conv9")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "conv9" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_doctor(run):
    ended = run("doctor", columns=None)
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["part", "status", "found"]
    assert [row[0] for row in rows[1:5]] == ["Python", "onnxruntime", "real", "OpenCV"]


def test_verbose_tells_the_steps(subset, tmp_path):
    """In a child: the log is set up once for a process."""
    ended = in_a_child(
        *("-v", "auto", *MODEL, "--data", subset, "--max-drop", "0.05", "--save", tmp_path / "m"),
        *("--max-evaluations", 1),
    )
    assert ended.returncode == 0
    assert "original model: metric 0.9" in ended.stderr
    assert "calibration: 4 blobs measured (onnxruntime)" in ended.stderr
    assert "quantized models evaluated: 1 (no more were allowed)" in ended.stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_messages_stand_above_the_bars_and_none_is_lost(subset, tmp_path, columns):
    code, shown = screen(
        *("auto", *MODEL, "--data", subset, "--metric", "output_error", "--max-error", "1e-9", "--max-evaluations", 4),
        *("--save", tmp_path / "m", "-v"),
        columns=columns,
    )
    assert code == 1
    text = "\n".join(shown)
    numbers = re.findall(r"^\d\d:\d\d:\d\d trial (\d):", text, re.MULTILINE)
    assert numbers == ["1", "2", "3", "4"]
    assert [sum(line.startswith(bar) for line in shown) for bar in ("choosing integers", "search ")] == [1, 1]
    # No word is cut: the error's words are all there with one blank between them.
    assert "error: no plan with a quantized layer satisfies the evaluator:" in " ".join(text.split())
    assert "…" not in text


def screen(*arguments, columns):
    """Exit code and the lines that stand on a terminal in the end, where the cursor was moved up and lines were painted over."""
    code, sent = on_a_terminal(*arguments, columns=columns, plain=False)
    rows, row, column = [""], 0, 0
    for number, command, mark in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", sent):
        if command == "A":
            row -= int(number or 1)
        elif command == "K":
            rows[row] = "" if number == "2" else rows[row][:column]
        elif mark == "\r":
            column = 0
        elif mark == "\n" or (mark and column == columns):
            row, column = row + 1, 0
            rows += [""] * (row == len(rows))
        if mark not in ("", "\r", "\n"):
            rows[row] = rows[row].ljust(column)[:column] + mark + rows[row][column + 1 :]
            column += 1
    return code, [line.rstrip() for line in rows]


def test_errors_of_a_true_process_have_no_traceback(tmp_path):
    (tmp_path / "bad.prototxt").write_text("layer {")
    for module in ("nuqconv", "nuqconv.cli"):
        ended = subprocess.run(
            [sys.executable, "-m", module, "inspect", "bad.prototxt"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=600,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: bad.prototxt:1")
        assert "Traceback" not in ended.stderr


def test_an_interrupt_is_exit_code_130(tmp_path):
    arguments = ["-v", "auto", *MODEL, "--data", LENET / "test_set.npz", "--max-drop", "0", "--save", tmp_path / "m"]
    with subprocess.Popen(
        [*PYTHON, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        said = child.stderr.readline()
        while "calibration:" not in said:
            line = child.stderr.readline()
            assert line, said
            said += line
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=600)
    assert (child.returncode, out.splitlines()[1:]) == (130, [])
    assert out.startswith("data  2500 x 1x28x28 from ")
    assert err.endswith("interrupted; the outputs are as they were\n")
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["m_trials.sqlite"]


def on_a_terminal(*arguments, columns=80, plain=True):
    """Exit code and what a terminal of that width is sent, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    child = subprocess.Popen(
        [*PYTHON, *map(str, arguments)], stdout=theirs, stderr=theirs, stdin=theirs, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    content = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        content += part
    os.close(ours)
    if not plain:
        return child.wait(timeout=600), content.decode()
    return child.wait(timeout=600), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", content.decode()).replace("\r\n", "\n")


def test_a_terminal_of_80_columns(subset, tmp_path):
    code, text = on_a_terminal(
        *("auto", *MODEL, "--data", subset, "--max-drop", "0.01", "--save", tmp_path / "m", "--max-evaluations", 3)
    )
    assert code == 0
    assert "search" in text
    tables = text[text.index("layer  type") : text.index("files\n")].split("\n")
    assert max(map(len, tables)) <= 80
    # Numbers are never broken over two lines.
    assert re.search(r"^ip1 +InnerProduct +400,000 +\S.* \d +\d{3},\d{3}$", "\n".join(tables), re.MULTILINE)


def test_a_narrow_terminal_folds_names_and_loses_nothing(run):
    ended = run("inspect", MODEL[1], columns=40)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines()[1:])) <= 40
    assert "400,500" in ended.out


def test_a_pipe_is_not_folded_and_has_no_colours(subset, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    ended = in_a_child(
        *("auto", *MODEL, "--data", subset, "--max-drop", "0.01", "--save", tmp_path / "m", "--max-evaluations", 3),
        env=environment,
    )
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout + ended.stderr
    # One line for each step and trial, with the time.
    lines = ended.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \w", line)] == []
    told = [line.split(" ", 1)[1] for line in lines]
    assert [line.split(":")[0] for line in told if line.startswith("trial")] == ["trial 1", "trial 2"]
    assert {"predicting losses: 1 of 4", "predicting losses: 4 of 4"} <= set(told)
    assert re.search(
        r"^ +2  8 of 8 steps, the last .* to 16 levels .*(accepted|rejected)(, .*)?$", ended.stdout, re.MULTILINE
    )
