"""The help as a user reads it: words for values, examples that can be given, what is seldom used apart, old names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
from typer.core import TyperOption
from typer.main import get_command

from nuqconv.cli.app import COMMANDS, app
from nuqconv.cli.helping import OLD_NAMES, SELDOM, examples
from tests.cli.conftest import MODEL


def every_command():
    """All commands by their whole names."""

    def below(name, command):
        parts = getattr(command, "commands", {})
        if not parts:
            yield name, command
        for part, inner in parts.items():
            yield from below(f"{name} {part}", inner)

    group = get_command(app)
    return dict(pair for name in COMMANDS for pair in below(name, group.commands[name].load()))


EVERY = every_command()


@pytest.mark.skipif(not hasattr(TyperOption, "display_type_rich"), reason="this typer adds words of its own")
@pytest.mark.parametrize("name", EVERY)
def test_words_for_values(run, name):
    text = run(*name.split(), "--help", columns=120).out
    assert not re.search(r"<\w+( range)?>|\[x[<>]=|\bTEXT\.\.\.|\{(?!model|weights|inputs)\w+\}", text)
    options = [param for param in EVERY[name].params if param.param_type_name == "option"]
    assert [param.opts for param in options if param.metavar is None and not (param.is_flag or param.count)] == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("columns", [60, None])
def test_examples_can_be_given(run, name, columns):
    found = examples(EVERY[name])
    assert found or name == "doctor"
    text = run(*name.split(), "--help", columns=columns).out
    block = re.sub(r" \\\n +", " ", text.partition(" Example")[2])
    for example in found:
        assert f"\n    {example.command}\n" in block
        words = shlex.split(example.command)
        assert words[0] == "nuqconv"
        parts = name.split()
        if words[1 : 1 + len(parts)] != parts:
            # `nuqconv data SOURCE`
            assert words[1] == parts[0]
            parts = parts[:1]
        # Every option is known, and nothing that is needed is missing.
        EVERY[name].make_parser(_context(name)).parse_args(words[1 + len(parts) :])


def _context(name):
    context = EVERY[name].context_class(EVERY[name], info_name=name)
    context.resilient_parsing = False
    return context


@pytest.mark.parametrize("name", EVERY)
def test_what_is_seldom_used(run, name):
    panels = {getattr(param, "rich_help_panel", None) for param in EVERY[name].params} & SELDOM
    short = run(*name.split(), "--help", columns=120).out
    if not panels:
        assert "--help-all" not in short
        return
    assert [panel for panel in panels if f"─ {panel} ─" in short] == []
    assert all(panel in " ".join(short.partition("--help-all shows more:")[2].split()) for panel in panels)
    ended = run(*name.split(), "--help-all", columns=120)
    assert ended.code == 0
    assert [panel for panel in panels if f"─ {panel} ─" not in ended.out] == []
    # Asking for all of it does not change what is shown afterwards.
    assert run(*name.split(), "--help", columns=120).out == short


OLD = [(name, new, old) for name, options in OLD_NAMES.items() for new, olds in options.items() for old in olds]


@pytest.mark.parametrize(("name", "new", "old"), OLD)
def test_old_names(run, name, new, old):
    (param,) = [param for param in EVERY[name].params if new in param.opts]
    for word in (new, old):
        values, *_ = EVERY[name].make_parser(_context(name)).parse_args([word, "7"])
        assert values[param.name] in (["7"], "7")
    every = "--help-all" if name in ("compare", "convert") else "--help"
    assert not re.search(rf"{re.escape(old)}(?![\w-])", run(name, every).out)


def test_an_old_name_of_data(run, subset, tmp_path):
    target = tmp_path / "model.onnx"
    assert run("convert", *MODEL, target, "--output", "pool1").code == 0
    assert run("compare", *MODEL, target, "--inputs", subset, "--blob", "pool1").code == 0
    assert "--inputs" not in run("compare", "--help-all").out
    assert run("compare", *MODEL, target, "--inputs", subset, "--data", subset).code == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nuqconv conv", ["convert"]),
        ("nuqconv trials s", ["show"]),
        ("nuqconv auto --max-e", ["--max-error", "--max-evaluations"]),
        ("nuqconv auto --strategy ex", ["exhaustive"]),
        ("nuqconv auto --runtime o", ["onnxruntime", "opencv"]),
    ],
)
def test_completion(line, expected):
    words = line.split()
    ended = subprocess.run(
        [sys.executable, "-c", "from nuqconv.cli import main; main()"],
        env={
            **os.environ,
            "_NUQCONV_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.stdout.split() == expected, ended.stderr


def test_a_json_of_the_result(run, subset, tmp_path):
    words = ("auto", *MODEL, "--data", subset, "--max-drop", "5%", "--max-evaluations", 1, "--save", tmp_path / "m")
    assert run(*words, "--json", tmp_path / "a.txt", "--report", tmp_path / "b.json").code == 0
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_weights_are_never_needed(run):
    """An .onnx model has none."""
    with_weights = [name for name, command in EVERY.items() if "weights" in {param.name for param in command.params}]
    assert {"auto", "quantize", "config", "convert", "data check"} <= set(with_weights)
    for name in with_weights:
        assert " MODEL [WEIGHTS]" in run(*name.split(), "--help").out


def test_what_convert_needs(run, tmp_path):
    model = tmp_path / "net.onnx"
    assert "MODEL [WEIGHTS] TARGET [TARGET_WEIGHTS]" in run("convert", "--help", columns=120).out
    assert run("convert", *MODEL, model).code == 0
    assert run("convert", model, tmp_path / "net.prototxt").code == 0
    for words in ([model], MODEL):
        ended = run("convert", *words, columns=None)
        assert ended.code == 2
        assert "what is to be written? Give an .onnx file or a .prototxt" in ended.err
