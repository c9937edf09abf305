"""``nuqconv data``, and data sets in the commands that take them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from nuqconv.cli.options import parse_drop
from nuqconv.errors import ConfigError
from tests.cli.conftest import LENET, MODEL
from tests.support.datasets import encoded_datum, image, picture, write_lmdb, write_mean


@pytest.fixture(scope="session")
def clothes(tmp_path_factory):
    """100 pictures of LeNet's test set in folders of their classes."""
    folder = tmp_path_factory.mktemp("clothes")
    with np.load(LENET / "test_set.npz") as whole:
        for number, (pixels, label) in enumerate(zip(whole["data"][:100], whole["label"], strict=False)):
            path = folder / str(label) / f"{number:03}.png"
            path.parent.mkdir(exist_ok=True)
            image(pixels.transpose(1, 2, 0)).save(path)
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        image(picture(np.random.default_rng(number), 30, 40)).save(folder / f"{number}.png")
    return folder


def test_says_what_the_net_sees_and_writes_it(run, photos, tmp_path):
    prep = "rgb, resize 12x16, mean 127.5, scale 0.0078125"
    done = run(
        "data", photos, "--prep", prep, "-o", tmp_path / "set.npz", "--sheet", tmp_path / "sheet.png", columns=None
    )
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert re.fullmatch(rf"data  3 x 3x12x16 from {photos}/, RGB, -\d\.\d\d \.\. \d\.\d\d, mean -?\d\.\d\d", lines[0])
    assert lines[1:] == [
        f"prep  {prep}",
        "labels  none",
        f"written  {tmp_path / 'set.npz'}",
        f"written  {tmp_path / 'sheet.png'}",
    ]
    again = run("data", tmp_path / "set.npz", columns=None)
    assert again.out.splitlines()[0] == lines[0].replace(f"{photos}/, RGB", str(tmp_path / "set.npz"))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (20, 64, 3)
    # What the net sees as red is red on the sheet.
    first = np.asarray(Image.open(photos / "0.png").resize((16, 12))).astype(float)
    shown = sheet[4:16, 4:20].astype(float)
    for channel in range(3):
        matches = [np.corrcoef(shown[..., channel].ravel(), first[..., other].ravel())[0, 1] for other in range(3)]
        assert int(np.argmax(matches)) == channel


def test_the_same_files_have_the_same_bytes(run, photos, tmp_path):
    for name in ("a.npz", "b.npz"):
        assert run("data", photos, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_writes_an_aipp_file(run, photos, tmp_path):
    prep = "bgr, resize 20x30, mean 104 117 123"
    assert run("data", photos, "--prep", prep, "--aipp", tmp_path / "aipp.cfg").code == 0
    done = run("data", photos, "--prep", tmp_path / "aipp.cfg", columns=None)
    assert f"prep  {prep}" in done.out
    refused = run("data", photos, "--prep", "bgr, mean -1", "--aipp", tmp_path / "other.cfg")
    assert refused.code == 2
    assert not (tmp_path / "other.cfg").exists()


def test_faults_are_told_in_a_line_each(run, photos, tmp_path):
    (photos / "1.png").write_bytes(b"x")
    (photos / "2.png").write_bytes(b"")
    done = run("data", photos, columns=None)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: {photos}/: 2 of 3 samples cannot be read"
    assert len(done.err.splitlines()) == 3
    assert run("data", photos, "--prep", "bgr, resiz 3").code == 2
    assert "should be called so" in run("data", photos, "-o", tmp_path / "set.txt").err
    assert "Usage: nuqconv data" in run("data", "--help").out


def test_the_inputs_are_never_overwritten(run, tmp_path):
    np.savez(tmp_path / "set.npz", data=np.ones((2, 1, 4, 4), np.float32))
    before = (tmp_path / "set.npz").read_bytes()
    done = run("data", tmp_path / "set.npz", "-o", tmp_path / "set.npz")
    assert done.code == 2
    assert (tmp_path / "set.npz").read_bytes() == before


def test_a_search_on_a_folder_with_a_declared_preparation(run, clothes, tmp_path):
    options = ("--metric", "top1", "--max-drop", "2%", "--max-evaluations", 2, "--batch-size", 16)
    prep = "gray, scale 0.00390625"
    report = tmp_path / "report.json"
    done = run(
        "auto",
        *MODEL,
        "--data",
        clothes,
        "--prep",
        prep,
        *options,
        "--save",
        tmp_path / "net",
        "--report",
        report,
        columns=None,
    )
    assert done.code == 0, done.err
    first = done.out.splitlines()[0]
    assert first.startswith(
        f"data  100 x 1x28x28 from {clothes}/, gray, 10 classes (0, 1, ..., 9), 0.00 .. 1.00, mean 0."
    )
    assert first.endswith("(in the first 64); calibrated on 100 of them")
    found = json.loads(report.read_text())
    assert found["preparation"] == prep
    assert found["data"].startswith("100 x 1x28x28 from")
    notes = "\n".join(found["notes"])
    assert "calibrated on the evaluation data themselves" in notes
    assert "calibrated on 7 batches, fewer than the 8 asked for (100 samples)" in notes
    assert f"prepared: {prep}" in done.out
    # Another preparation is another search.
    other = run("auto", *MODEL, "--data", clothes, "--prep", "gray, scale 0.004", *options, "--save", tmp_path / "net")
    assert other.code == 2
    assert "is the journal of another search" in other.err
    assert "the metric or the outputs) has changed" in other.err


def test_a_search_on_a_train_val_over_an_lmdb(run, tmp_path, monkeypatch):
    with np.load(LENET / "test_set.npz") as whole:
        images, labels = whole["data"][:60], whole["label"][:60]
    records = []
    for pixels, label in zip(images, labels, strict=True):
        image(pixels.transpose(1, 2, 0)).save(tmp_path / "one.png")
        records.append(encoded_datum((tmp_path / "one.png").read_bytes(), int(label)))
    (tmp_path / "data").mkdir()
    write_lmdb(tmp_path / "data" / "test_lmdb", records)
    write_mean(tmp_path / "data" / "mean.binaryproto", np.zeros((1, 28, 28), np.float32))
    (tmp_path / "models").mkdir()
    train_val = tmp_path / "models" / "train_val.prototxt"
    train_val.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } data_param { source: "none" } }\n'
        'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }\n'
        '  data_param { source: "data/test_lmdb" backend: LMDB batch_size: 20 }\n'
        '  transform_param { scale: 0.00390625 mean_file: "data/mean.binaryproto" } }\n'
    )
    # Caffe is run above the folder of the net; wherever this is run, the files are found.
    monkeypatch.chdir(tmp_path / "models")
    options = (
        "--metric",
        "top1",
        "--max-drop",
        "0.05",
        "--max-evaluations",
        1,
        "--no-journal",
        "--save",
        tmp_path / "net",
    )
    done = run("auto", *MODEL, "--data", train_val, *options, columns=None)
    assert done.code == 0, done.err
    assert 'prepared: native, mean "data/mean.binaryproto", scale 0.00390625' in done.out
    np.savez(tmp_path / "set.npz", data=images, label=labels, scale=np.float32(1 / 256))
    again = run("auto", *MODEL, "--data", tmp_path / "set.npz", *options, columns=None)
    numbers = [re.search(r"^top1 .*$", one.out, re.MULTILINE)[0] for one in (done, again)]
    assert numbers[0] == numbers[1]


def test_what_is_said_twice_or_means_something_else_is_asked_back(run, subset, tmp_path):
    assert run("config", *MODEL, "-o", tmp_path / "config.json").code == 0
    assert json.loads((tmp_path / "config.json").read_text())["batch_num"] == 8
    common = ("auto", *MODEL, "--data", subset, "--save", tmp_path / "net")
    done = run(*common, "--max-drop", 0.01, "--config", tmp_path / "config.json", "--batch-num", 4, columns=None)
    assert done.code == 2
    assert "--batch-num 4 is given beside" in done.err
    done = run(*common, "--max-drop", 1, columns=None)
    assert "is 1% (or 0.01) meant? Write 100% if it is not" in done.err
    assert "expected a number from 0 on" in run(*common, "--max-drop", "one").err
    np.savez(tmp_path / "more.npz", data=np.ones((2, 1, 28, 28), np.float32), label=[1, 2], mean=np.zeros(3))
    done = run(
        "auto", *MODEL, "--data", tmp_path / "more.npz", "--save", tmp_path / "net", "--max-drop", "1%", columns=None
    )
    assert "'mean' is not used; known are data, label, scale" in done.err
    np.savez(tmp_path / "last.npz", data=np.ones((2, 28, 28, 1), np.float32), label=[1, 2])
    done = run(
        "auto", *MODEL, "--data", tmp_path / "last.npz", "--save", tmp_path / "net", "--max-drop", "1%", columns=None
    )
    assert "the samples have their channels last" in done.err


def test_percentages():
    assert parse_drop("1%", share=True) == 0.01
    assert parse_drop("0.1", share=True) == 0.1
    assert parse_drop("25%", share=True) == 0.25
    assert parse_drop("1", share=False) == 1
    for text in ("0.2", "5"):
        with pytest.raises(ConfigError, match="percentage points"):
            parse_drop(text, share=True)


def test_compare_takes_the_data_of_auto(run, subset, clothes):
    runtimes = ("--runtime", "onnxruntime", "--runtime", "opencv")
    done = run("compare", *MODEL, "--data", subset, *runtimes, columns=None)
    assert done.code == 0, done.err
    assert "inputs  data 200x1x28x28: given" in done.out
    done = run("compare", *MODEL, "--data", clothes, "--prep", "gray, scale 0.00390625", *runtimes, columns=None)
    assert done.code == 0, done.err
    assert "inputs  data 8x1x28x28: the first samples of 100 x 1x28x28 from" in done.out


def test_check_names_what_was_forgotten(run, clothes):
    done = run("data", "check", *MODEL, "--data", clothes, "--prep", "gray", "--samples", 64, columns=None)
    assert done.code == 0, done.err
    assert "these data are probably prepared wrongly: '0..1 for 0..255' is clearly better by the labels" in done.out
    done = run(
        "data", "check", *MODEL, "--data", clothes, "--prep", "gray, scale 0.00390625", "--samples", 64, columns=None
    )
    assert "no other way to prepare the data is clearly better than what is declared" in done.out
    assert re.search(r"int8 moves the outputs by \d\.\d\d% \(64 samples\)", done.out)
