"""Every command and code block of README and the documents is run, or says beside it why not."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import nuqconv
from nuqconv.cli.app import COMMANDS
from tests.cli.conftest import LENET

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "examples" / "fashion-mobilenet"
PAGES = [*sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")), "README.md"]
BLOCK = re.compile(r"(?ms)^(<!-- not run: (?P<why>[^\n]+) -->\n)?( *)```(?P<kind>\w+)\n(?P<text>.*?)^\3```$")
LINE = re.compile(r"(?m)^    (?P<text>(?:nuqconv|pip|make|python3?|dask|kubectl|sbatch) .*)$")

ELSEWHERE = {
    "README.md": "tests/cli/test_readme.py",
    "docs/api.md": "tests/house/test_publish.py",
    "docs/commands.md": "tests/cli/test_help.py",
    "docs/custom-layers.md": "tests/custom/test_custom_layers.py",
    "docs/data.md": "tests/cli/test_data_docs.py",
    "docs/search.md": "tests/search/test_own_strategies.py",
    "docs/tour.md": "tests/cli/test_readme.py",
}
"""Pages whose commands and code another test runs, or parses where a page is made from the program."""

HELD = "docs/start.md"
"""A page whose examples are run whole, so that what it shows below a command is what comes out."""

SHOWN = re.compile(r"(?m)^```sh\n(?P<command>nuqconv [^\n]+)\n```\n\n(?P<text>(?:    [^\n]*\n|\n(?=    ))+)")
SECONDS = re.compile(r"( [\d,]+ )\d+\.\d\d( (?:accepted|rejected))")

NOT_COMMANDS = ("make ", "pip install", "python -m mkdocs", "python tools/", "python3 -m venv")
"""What starts like a command and works on the checkout: targets and tools have tests of their own."""


class Block(NamedTuple):
    """What a page shows to be typed."""

    kind: str
    text: str
    why: str | None


def blocks(page):
    """Returns the fenced blocks of a page, and its indented lines that are commands."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        Block(item["kind"], re.sub(rf"(?m)^{item[3]}", "", item["text"]), item["why"]) for item in BLOCK.finditer(text)
    ]
    rest = BLOCK.sub("", text)
    return [
        *found,
        *(
            Block("sh", item["text"], _why(rest, item.start()))
            for item in LINE.finditer(rest)
            if not item["text"].startswith(NOT_COMMANDS)
        ),
    ]


def _why(text, start):
    """Returns the reason that stands above the block of a line."""
    lines = text[:start].splitlines()
    while lines and lines[-1].startswith("    "):
        lines.pop()
    while lines and not lines[-1]:
        lines.pop()
    found = re.fullmatch(r"<!-- not run: (.+) -->", lines[-1] if lines else "")
    return found and found[1]


def to_run(page):
    """Returns the blocks of a page that are run here."""
    kinds = {"python"} if page == "README.md" else {"sh", "python"} if page not in ELSEWHERE else set()
    return [block for block in blocks(page) if block.kind in kinds and block.why is None]


RUN = [page for page in PAGES if to_run(page)]


def test_every_page_is_run_here_or_elsewhere():
    for page, test in ELSEWHERE.items():
        assert page in PAGES
        assert (ROOT / test).is_file()
    assert {"docs/start.md", "docs/howto/device.md", "docs/howto/evaluator.md", "docs/stability.md"} <= set(RUN)
    assert {block.kind for page in PAGES for block in blocks(page)} <= {"sh", "python", "text", "json"}


def test_a_reason_is_one():
    reasons = [block.why for page in PAGES for block in blocks(page) if block.why is not None]
    assert all(len(why) > 10 for why in reasons)
    # A block that could be run should not hide behind a reason.
    assert len(reasons) < 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the pages speak of, made small."""
    place = tmp_path_factory.mktemp("documents")
    shutil.copy(LENET / "lenet.caffemodel", place / "weights.caffemodel")
    for name in ("mobilenet.caffemodel",):
        shutil.copy(FASHION / name, place)
    for name, count in (("test", 64), ("calibration", 32)):
        lines = (FASHION / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (place / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        shutil.copytree(FASHION / name, place / name)
    return place


@pytest.fixture(scope="module")
def whole_example(tmp_path_factory):
    """The example with all of its pictures."""
    place = tmp_path_factory.mktemp("example")
    for path in FASHION.iterdir():
        (place / path.name).symlink_to(path)
    return place


def in_words(text):
    """Returns the lines of a text as words, without the seconds of trials."""
    lines = [SECONDS.sub(r"\1S\2", " ".join(line.split())) for line in text.splitlines()]
    return [line.split() for line in lines if line]


def alike(one, two):
    """Whether two words are the same, or numbers that differ in no more than what another processor rounds otherwise."""
    if one == two:
        return True
    try:
        numbers = [float(word.rstrip("%;").replace(",", "")) for word in (one, two)]
    except ValueError:
        return False
    return numbers[0] == pytest.approx(numbers[1], rel=0.01, abs=0.001)


def not_there(shown, out):
    """Returns the lines shown that do not come out, each right below the one before but for a line of dots."""
    left, missing, anywhere = in_words(out), [], True
    for line in in_words(shown):
        if line == ["..."]:
            anywhere = True
            continue
        places = [
            number
            for number, words in enumerate(left if anywhere else left[:1])
            if len(words) == len(line) and all(map(alike, line, words))
        ]
        if not places:
            missing.append(" ".join(line))
            continue
        left = left[places[0] + 1 :]
        anywhere = False
    return missing


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        ("a 1.00\nb 2", []),
        ("a 1.001\n...\nc 4", []),
        ("a 1.00\nc 4", ["c 4"]),
        ("a 1.02", ["a 1.02"]),
        ("b 3", ["b 3"]),
        ("7 x 1,000 0.25 accepted, the result", []),
        ("7 x 1,100 0.25 accepted, the result", ["7 x 1,100 S accepted, the result"]),
    ],
)
def test_what_is_shown_is_compared(shown, missing):
    assert not_there(shown, "head\n a  1.00\nb 2\n\nc 4\n7  x 1,000  9.75  accepted, the result") == missing


def accuracy_of(model_file, weights_file, batch_num):
    """What README leaves to its readers."""
    with np.load("set.npz") as arrays:
        inputs, labels = {"data": arrays["data"][:50].astype(np.float32) * arrays["scale"]}, arrays["label"][:50]
    with nuqconv.OnnxRuntimeEvaluator(inputs, labels=labels, max_drop=0, batch_size=25) as evaluator:
        return evaluator.eval_model(model_file, weights_file, min(batch_num, 2))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_what_a_page_shows(run, folder, whole_example, subset, monkeypatch, request, page):
    if any(re.search(r"--runtime \S*caffe\b", block.text) for block in to_run(page)):
        request.getfixturevalue("caffe_python")
    shown = {}
    if page == HELD:
        folder = whole_example
        found = SHOWN.finditer((ROOT / page).read_text(encoding="utf-8"))
        shown = {item["command"]: item["text"] for item in found}
        assert len(shown) >= 3
    else:
        shutil.copy(LENET / "deploy.prototxt", folder)
        shutil.copy(subset, folder / "set.npz")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for block in to_run(page):
        if block.kind == "python":
            exec(compile(block.text, page, "exec"), {"__name__": "__main__", "accuracy_of": accuracy_of})
        else:
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    assert words[0] == "nuqconv", line
                    assert words[1] in COMMANDS, line
                    ended = run(*words[1:], columns=None)
                    assert ended.code == 0, (line, ended)
                    assert not not_there(shown.get(line, ""), ended.out), (line, ended.out)
