"""What the package and the command line import to start: only what they need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.main import get_command

import nuqconv
from nuqconv.cli.app import COMMANDS, app
from nuqconv.search.strategies import STRATEGIES

HEAVY = {"numpy", "onnx", "onnxruntime", "pydantic", "google.protobuf", "rich"}
PROBE = """
import json, sys
{code}
print("\\n" + json.dumps([name for name in sys.modules if name.split(".")[0] in ("nuqconv",) or name in {heavy}]))
"""
RUN = """
sys.argv = ["nuqconv", *{arguments}]
from nuqconv.cli import main
try:
    main()
except SystemExit as ended:
    print("code", ended.code)
"""


def imported_by(code):
    """What a child has imported after some code, and what it printed before."""
    ended = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code, heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    said, modules = ended.stdout.rstrip("\n").rsplit("\n", 1)
    return set(json.loads(modules)), said + ended.stderr


def test_the_package_alone():
    assert imported_by("import nuqconv") == ({"nuqconv"}, "")
    assert imported_by("import nuqconv; nuqconv.errors")[0] == {"nuqconv", "nuqconv.errors"}


def test_a_name_is_imported_when_it_is_used():
    modules, _ = imported_by("import nuqconv; nuqconv.load")
    assert {"nuqconv.api", "numpy"} <= modules
    assert "nuqconv.auto_nuq" not in modules


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], f"nuqconv {nuqconv.__version__}"),
        (["--unknown"], "No such option: --unknown"),
        (["unknown"], "No such command 'unknown'"),
        *(
            ([name, "--unknown"], "No such option: --unknown")
            for name, place in COMMANDS.items()
            if not (place.settings or {}).get("ignore_unknown_options")
        ),
        *(
            ([name], "Missing argument")
            for name in COMMANDS
            if name not in ("data", "doctor", "trials", "evaluator-template")
        ),
        (["trials", "unknown"], "No such command 'unknown'"),
        (["trials", "show"], "Missing argument"),
    ],
)
def test_the_version_and_wrong_usage(arguments, said):
    modules, text = imported_by(RUN.format(arguments=arguments))
    assert said in text
    assert f"code {0 if '--version' in arguments else 2}" in text
    # Neither what computes nor what paints.
    assert modules & HEAVY == set()


def test_the_list_of_commands_imports_none():
    modules, text = imported_by(RUN.format(arguments=["--help"]))
    assert [name for name in COMMANDS if name not in text] == []
    assert {name for name in modules if name.startswith("nuqconv.cli.")} == {
        f"nuqconv.cli.{name}" for name in ("app", "helping", "lazy", "messages")
    }
    assert modules & HEAVY <= {"rich"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_what_the_list_says(name):
    command = get_command(app).commands[name].load()
    assert command.name == name
    assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name].summary


def test_names_of_a_table(run):
    text = " ".join(re_joined(run("auto", "--help-all", columns=200).out))
    assert "stop|refuse" in text
    for name, strategy in STRATEGIES.items():
        assert f"{name}: {strategy.summary}" in text
    assert "by default 32." in text


def re_joined(text):
    return text.replace("│", " ").split()


@pytest.mark.parametrize(("option", "names"), [("--strategy", list(STRATEGIES)), ("--on-crash", ["stop", "refuse"])])
def test_a_name_that_is_not_in_the_table(run, option, names):
    ended = run("auto", "m", "w", "--data", "d", "--save", "s", option, "clever")
    assert (ended.code, ended.out) == (2, "")
    known = ", ".join(f"'{name}'" for name in names)
    assert ended.err.endswith(f"Invalid value for '{option}': 'clever' is not one of {known}.\n")
