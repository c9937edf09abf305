"""The commands of README and of the tour, one after another in one folder."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import LENET

ROOT = Path(__file__).parents[2]
SCRIPT = "import caffe\nprint(list(caffe.Net('deploy.prototxt', 'weights.caffemodel', caffe.TEST).blobs))\n"


def commands():
    """Returns the commands as words."""
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "tour.md").read_text()
    lines = re.findall(r"(?m)^    nuqconv (.*)$", text)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.usefixtures("caffe_python")
@pytest.mark.slow
def test_one_after_another_in_one_folder(run, subset, tmp_path, monkeypatch):
    for name, source in {
        "deploy.prototxt": LENET / "deploy.prototxt",
        "weights.caffemodel": LENET / "lenet.caffemodel",
    }.items():
        shutil.copy(source, tmp_path / name)
    shutil.copy(subset, tmp_path / "set.npz")
    (tmp_path / "evaluate.py").write_text(SCRIPT)
    given = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    found = commands()
    assert len(found) > 10
    for words in found:
        ended = run(*words)
        assert ended.code == 0, (words, ended)
    assert {name: (tmp_path / name).read_bytes() for name in given} == given


def test_convert_keeps_a_model_of_somebody_else(run, tmp_path):
    target = tmp_path / "deploy.prototxt"
    shutil.copy(LENET / "deploy.prototxt", target)
    words = ("convert", LENET / "deploy.prototxt", LENET / "lenet.caffemodel", target)
    ended = run(*words)
    assert ended.code == 2
    assert "--force" in ended.err
    assert run(*words, "--force").code == run(*words).code == 0


@pytest.mark.parametrize("text", ["o", "o/"])
def test_save_into_a_folder(run, subset, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    if text == "o":
        (tmp_path / "o").mkdir()
    model = [LENET / "deploy.prototxt", LENET / "lenet.caffemodel"]
    ended = run("auto", *model, "--data", subset, "--max-drop", "0.05", "--max-evaluations", 1, "--save", text)
    assert ended.code == 0, ended
    assert f"{text} is a folder; the files in it are called deploy_*" in ended.out
    assert {"deploy_deploy_model.prototxt", "deploy_trials.sqlite", "deploy_scale_offset_record.txt"} <= {
        path.name for path in (tmp_path / "o").iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
