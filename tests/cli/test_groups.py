"""Options that the parser makes into one object: no command lists them, and what is new in a group is in all of its commands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np
import onnxruntime
import pytest
import typer
from typer.testing import CliRunner

import nuqconv
from nuqconv.cli.groups import OptionGroup, flat
from nuqconv.cli.lazy import make_app
from nuqconv.cli.model_options import Computing, Reading
from nuqconv.comparison.reduction.question import Difference
from nuqconv.errors import ConfigError
from nuqconv.frontends.options import ReadOptions
from nuqconv.runtimes.opencv import OpenCv
from nuqconv.runtimes.table import DEFAULT, RUNTIMES, register, unregister
from tests.cli.conftest import LENET, MODEL
from tests.cli.test_help import EVERY

NET = str(LENET / "deploy.prototxt"), str(LENET / "lenet.caffemodel")
WHOLE = {"allow_unknown_fields": True, "stage": ["a", "b"], "level": 3, "exact_sizes": True}
HOW = ReadOptions(allow_unknown_fields=True, stages=frozenset({"a", "b"}), level=3, exact_sizes=True)


@dataclass(frozen=True)
class _Two(OptionGroup):
    name: Annotated[str, typer.Option("--name", "-n")] = "x"
    several: Annotated[list[int] | None, typer.Option("--several")] = None


def test_a_group_is_one_object():
    app, seen = make_app(), []

    @app.command()
    def work(first: Annotated[str, typer.Argument()], two: _Two = _Two(), *, must: Annotated[int, typer.Option()]):
        seen.append((first, two, must))

    for words, wanted in (
        (["a", "--must", "1"], ("a", _Two(), 1)),
        (["-n", "y", "a", "--several", "2", "--must", "1", "--several", "3"], ("a", _Two("y", [2, 3]), 1)),
    ):
        assert CliRunner().invoke(app, words).exit_code == 0
        assert seen.pop() == wanted
    assert CliRunner().invoke(app, ["a"]).exit_code == 2
    # The function itself is as it was.
    work("b", must=2)
    assert seen == [("b", _Two(), 2)]
    plain = LENET.exists
    assert flat(plain) is plain


def test_what_is_read_in_one_place():
    assert Reading().options() == ReadOptions()
    assert [item.name for item in fields(Reading)] == list(WHOLE)
    for name, value in WHOLE.items():
        assert Reading(**{name: value}).options() != ReadOptions()
    assert Reading(**WHOLE).options() == HOW
    # The command that a reduced model comes with reads it in the same way.
    words = Difference((DEFAULT, DEFAULT), 1e-3, 1e-5, read_options=HOW).how([["a.prototxt"]], "nuqconv").split()
    for param in EVERY["compare"].params:
        if param.name in WHOLE:
            assert param.opts[0] in words


READS = {"auto", "quantize", "config", "convert", "compare", "reduce", "dump", "evaluate", "data show", "data check"}
RUNS = {"auto", "quantize", "compare", "reduce", "dump", "evaluate", "data check"}


@pytest.mark.parametrize(("group", "wanted"), [(Reading, READS | {"inspect"}), (Computing, RUNS)])
def test_commands_have_whole_groups(group, wanted):
    names = {item.name for item in fields(group)}
    assert {name for name, command in EVERY.items() if names <= {param.name for param in command.params}} == wanted
    parts = {name for name, command in EVERY.items() if names & {param.name for param in command.params}}
    assert parts == wanted


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    with np.load(LENET / "test_set.npz") as whole:
        data = whole["data"][:16] * whole["scale"]
    nuqconv.convert(*NET, folder / "net.onnx")
    np.savez(folder / "set.npz", data=data.astype(np.float32), label=np.zeros(16, int))
    nuqconv.quantize(NET, {"*": "int8"}, data={"data": data.astype(np.float32)}).save(folder / "q")
    return folder


LINES = {
    "auto": "auto MODEL --data DATA --max-drop 1% --save OUT/a",
    "quantize": "quantize MODEL --data DATA --save OUT/q",
    "evaluate": "evaluate MODEL --data DATA",
    "evaluate onnx": "evaluate ONNX --data DATA",
    "compare": "compare ONNX MODEL --runtime onnxruntime",
    "compare onnx": "compare ONNX ONNX --runtime onnxruntime",
    "compare quantized": "compare MODEL QUANTIZED --data DATA",
    "reduce": "reduce MODEL ONNX --runtime onnxruntime,onnxruntime -o OUT/r",
    "dump": "dump MODEL --runtime onnxruntime -o OUT/d",
    "dump onnx": "dump ONNX --runtime onnxruntime -o OUT/d",
    "data check": "data check MODEL --data DATA",
}


def _words(line, quantized, out):
    places = {
        "MODEL": MODEL,
        "ONNX": [quantized / "net.onnx"],
        "QUANTIZED": [quantized / "q_fake_quant_model.prototxt", quantized / "q_fake_quant_weights.caffemodel"],
        "DATA": [quantized / "set.npz"],
    }
    return [part for word in line.split() for part in places.get(word, [word.replace("OUT", str(out))])]


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_each_command_computes_where_it_is_told(run, quantized, tmp_path, monkeypatch, line):
    """onnxruntime says that it has CUDA and, without a driver, computes on the CPU: whoever asks its session is told."""
    words = _words(line, quantized, tmp_path)
    ended = run(*words, "--provider", "rknpu,cpu", columns=None)
    assert ended.code == 2
    assert "'rknpu' is not in the onnxruntime that is installed" in ended.err
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    ended = run(*words, "--provider", "cuda,cpu", columns=None)
    assert ended.code == 2
    assert "onnxruntime cannot use cuda here and would compute on cpu" in ended.err
    # Afterwards it is as it was.
    assert RUNTIMES[DEFAULT].providers == ()


@pytest.mark.parametrize("line", [line for name, line in LINES.items() if "compare" in name or "evaluate" in name])
def test_threads(run, quantized, tmp_path, monkeypatch, line):
    counts = []
    make = onnxruntime.InferenceSession.__init__

    def watched(session, model, options=None, *rest, **more):
        counts.append(options.intra_op_num_threads)
        make(session, model, options, *rest, **more)

    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", watched)
    words = _words(line, quantized, tmp_path)
    assert run(*words, "--threads", 2, columns=None).code == 0
    assert set(counts) == {2}


@pytest.mark.parametrize("name", ["evaluate", "compare", "dump"])
def test_a_runtime_that_decides_itself(run, quantized, tmp_path, name):
    words = {"evaluate": ("--data", quantized / "set.npz"), "compare": (), "dump": ("-o", tmp_path / "d")}[name]
    runtime = "caffe,opencv" if name == "compare" else "caffe"
    ended = run(name, *MODEL, *words, "--runtime", runtime, "--threads", 1, columns=None)
    assert ended.code == 2
    assert "--provider and --threads are for onnxruntime; real Caffe" in ended.err


def test_a_runtime_that_is_not_known_is_said_first(run, quantized):
    ended = run(
        "evaluate", *MODEL, "--data", quantized / "set.npz", "--runtime", "nowhere", "--threads", 1, columns=None
    )
    assert ended.code == 2
    assert "runtime 'nowhere' is not known; known are onnxruntime" in ended.err
    assert ended.out == ""


def test_other_runtimes_have_such_options_too():
    """One that a plugin brings, chosen by a user."""

    @dataclass(frozen=True)
    class Mine(OpenCv):
        name = "mine"
        threads: int | None = None

    register(Mine())
    try:
        with Computing(threads=3).in_force(["mine", "caffe"]):
            assert RUNTIMES["mine"].threads == 3
            assert RUNTIMES[DEFAULT].threads is None
        assert RUNTIMES["mine"].threads is None
        with (
            pytest.raises(ConfigError, match="are for onnxruntime, mine; real Caffe decides"),
            Computing(threads=3).in_force(["caffe"]),
        ):
            pass
        with pytest.raises(ConfigError, match="are for onnxruntime; OpenCV"), Computing("cpu", 3).in_force(["mine"]):
            pass
    finally:
        unregister("mine")
