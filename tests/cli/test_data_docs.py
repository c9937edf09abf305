"""The commands and the code of docs/data.md, one after another in one folder."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from real_models import PackageUnavailableError, model_files
from tests.cli.conftest import LENET
from tests.support.datasets import image, raw_datum, write_lmdb
from tests.support.scenes import write_scenes

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"(?m)^    nuqconv (.*)$", TEXT)]
TRAIN_VAL = """layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test_lmdb" backend: LMDB batch_size: 100 } transform_param { scale: 0.00390625 } }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the text speaks of."""
    shutil.copy(LENET / "deploy.prototxt", tmp_path)
    shutil.copy(LENET / "lenet.caffemodel", tmp_path / "weights.caffemodel")
    with np.load(LENET / "test_set.npz") as whole:
        images, labels = whole["data"][:200], whole["label"][:200]
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "clothes" / str(label) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image(pixels.transpose(1, 2, 0)).save(path)
    write_lmdb(tmp_path / "test_lmdb", [raw_datum(*pair) for pair in zip(images, map(int, labels), strict=True)])
    (tmp_path / "train_val.prototxt").write_text(TRAIN_VAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands(run, folder):
    found = [words for words in COMMANDS if "ssd.prototxt" not in words]
    assert len(found) == 4
    for words in found:
        ended = run(*words, columns=None)
        assert ended.code == 0, (words, ended)
        if words[0] == "data" and words[1] != "check":
            # The lines that the text shows.
            for line in ended.out.splitlines()[:3]:
                assert f"    {line}\n" in TEXT


@pytest.mark.package
@pytest.mark.slow
def test_the_search_on_boxes(run, folder, monkeypatch):
    try:
        files = model_files("mobilenet_ssd")
    except PackageUnavailableError as error:
        if os.environ.get("NUQCONV_REQUIRE_PACKAGES") == "1":
            raise
        pytest.skip(str(error))
    for path, name in zip(files, ("ssd.prototxt", "ssd.caffemodel"), strict=True):
        shutil.copy(path, folder / name)
    (folder / "scenes").mkdir()
    places = write_scenes(folder / "scenes", 12)
    assert [path.name for path in places] == ["list.txt", "classes.txt"]
    (words,) = [words for words in COMMANDS if "ssd.prototxt" in words]
    # The nearest levels, which are there at once: what is tried here is the command, and the solver of large nets elsewhere.
    module = importlib.import_module("nuqconv.auto_nuq")
    monkeypatch.setattr(module, "auto_nuq", partial(module.auto_nuq, weight_method=None))
    ended = run(*words, "--threads", 1, columns=None)
    assert ended.code == 0, ended
    assert "prepared: bgr, resize 300x300, mean 127.5, scale 0.007843" in ended.out


@pytest.mark.usefixtures("folder")
def test_the_code():
    pytest.importorskip("cv2")
    blocks = re.findall(r"(?s)```python\n(.*?)```", TEXT)
    assert len(blocks) == 1
    for block in blocks:
        exec(compile(block, "docs/data.md", "exec"), {})
