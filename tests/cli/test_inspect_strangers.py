"""Files of strangers: what a terminal would obey is shown as text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nuqconv.errors import printable
from nuqconv.frontends.caffe.schema import NetParameter
from tests.support.nets import blob_into

CLEAR = "\x1b[2J"


def _config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({f"a{CLEAR}[bold red]": {"weight_quant_params": {"wts_algo": CLEAR}}}))
    return path


def _report(folder):
    path = folder / "report.json"
    layer = {"name": CLEAR, "kind": f"[link=x]{CLEAR}", "precision": "\x9b", "num_steps": None, "bits": 8, "bytes": 4}
    sizes = {"float_bytes": 4, "bytes": 1, "bits_per_weight": 8.0}
    path.write_text(json.dumps({"trials": [], "metric": 1, "original_metric": 1, "sizes": sizes, "layers": [layer]}))
    return path


def _weights(folder):
    net = NetParameter()
    blob_into(net.layer.add(name="x", type=f"[red]{'T'}").blobs.add(), np.zeros(2))
    path = folder / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    return path


def _record(folder):
    path = folder / "record.txt"
    path.write_text('record { key: "a\\033[2J" value { scale_d: 1 } }')
    return path


def _names(folder):
    path = folder / "names.txt"
    path.write_text(f"conv1;{CLEAR}\n")
    return path


@pytest.mark.parametrize("make", [_config, _report, _weights, _record, _names])
def test_nothing_for_a_terminal_to_obey(tmp_path, run, make):
    path = make(tmp_path)
    ended = run("inspect", path, columns=400)
    assert (ended.code, ended.err) == (0, "")
    assert all(letter.isprintable() or letter == "\n" for letter in ended.out)
    assert "[bold red]" in ended.out or "[red]T" in ended.out or "\\x1b[2J" in ended.out


def test_printable():
    assert printable("a\tb\nc é 漢 \U0001f600") == "a\tb\nc é 漢 \U0001f600"
    assert printable("\x00\x1b\x7f\x9f\r\u202e\ud800") == "\\x00\\x1b\\x7f\\x9f\\r\\u202e\\ud800"
    long = printable("a" * 10_000 + "\nb")
    assert long == "a" * 2000 + " ... (6000 characters) ... " + "a" * 2000 + "\nb"
    assert printable(long) == long
