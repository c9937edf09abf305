"""What a conversion may replace: what nuqconv wrote, as it wrote it."""

from __future__ import annotations

import onnx
import pytest

import nuqconv
from nuqconv.errors import OutputError
from tests.support.nets import conv_net


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return conv_net(tmp_path_factory.mktemp("net"))


def refused(files, *targets):
    before = [path.read_bytes() for path in targets if path.exists()]
    with pytest.raises(OutputError, match="--force") as caught:
        nuqconv.convert(files.model, files.weights, *targets)
    assert [path.read_bytes() for path in targets if path.exists()] == before
    return caught.value.problems


def test_its_own_files_are_replaced(files, tmp_path):
    for name in ("m.prototxt", "m.onnx"):
        first = nuqconv.convert(files.model, files.weights, tmp_path / name)
        before = [path.read_bytes() for path in first.files]
        second = nuqconv.convert(files.model, files.weights, tmp_path / name)
        assert [path.read_bytes() for path in second.files] == before


def test_files_of_others_stay_unless_forced(files, tmp_path):
    model, weights = tmp_path / "m.prototxt", tmp_path / "m.caffemodel"
    model.write_bytes(files.model.read_bytes())
    assert refused(files, model, weights) == (str(model),)
    weights.write_bytes(files.weights.read_bytes())
    assert refused(files, model, weights) == (str(model), str(weights))
    nuqconv.convert(files.model, files.weights, model, force=True)
    nuqconv.convert(files.model, files.weights, model)


def test_its_own_files_are_somebody_elses_once_they_are_edited(files, tmp_path):
    model, weights = nuqconv.convert(files.model, files.weights, tmp_path / "m.prototxt").files
    written = model.read_text()
    model.write_text(written + "# a note\n")
    assert refused(files, model) == (str(model),)
    model.write_text(written)
    weights.write_bytes(weights.read_bytes() + files.weights.read_bytes())
    assert refused(files, model, weights) == (str(weights),)
    model.unlink()
    assert refused(files, model, weights) == (str(weights),)


def test_an_onnx_model_of_another_program_stays(files, tmp_path):
    target = tmp_path / "m.onnx"
    nuqconv.convert(files.model, files.weights, target)
    message = onnx.load(target)
    message.producer_name = "pytorch"
    onnx.save(message, target)
    assert refused(files, target) == (str(target),)
    target.write_bytes(b"\xff no model")
    assert refused(files, target) == (str(target),)
