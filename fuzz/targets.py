"""What is attacked: one target for each kind of file that comes from outside, and for the frames of the Caffe process.

A target may raise errors of `nuqconv.errors` and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx

import nuqconv
from nuqconv.backends.caffe.record import read_record
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.cli.inspect import inspect
from nuqconv.comparison.kept import KeptSide
from nuqconv.config import LayerFacts, load_config, make_config, read_mapping
from nuqconv.data.database import read_datum
from nuqconv.data.datafile import read_data
from nuqconv.data.files import ImageList
from nuqconv.data.labels import read_class_map, read_classes, read_labels, read_voc
from nuqconv.data.pictures import Channels, read_picture
from nuqconv.data.preparation import read_data_layer, read_preparation
from nuqconv.errors import NuqconvError, OnnxProcessError
from nuqconv.frontends.caffe import read_model
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.frontends.onnx import read_onnx, read_onnx_model
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir import dump
from nuqconv.job.codebooks import read_codebooks
from nuqconv.job.layer_facts import layer_facts
from nuqconv.job.preparation import Preparation
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.caffe.process import CAFFE
from nuqconv.runtimes.child import ChildKind, process
from nuqconv.runtimes.onnxruntime.isolated import ONNXRUNTIME
from nuqconv.runtimes.onnxruntime.onnx_file import OnnxSide
from nuqconv.search.journal import Journal
from nuqconv.search.trial import Measured

__all__ = ["CORPUS", "TARGETS", "Target"]

CORPUS = Path(__file__).resolve().parents[1] / "tests" / "corpus"
_VALID = CORPUS / "valid"
_ASSET = hashlib.sha256(b"integers").hexdigest()
_KEY = hashlib.sha256(b"layer").hexdigest()
_LARGEST_CHECKED = 2**27
MODEL, WEIGHTS = _VALID / "model.prototxt", _VALID / "model.caffemodel"


@dataclass(frozen=True)
class Target:
    """One way in.

    Attributes:
        name: Its name, that of its folder in the corpus.
        suffix: Ending of its files.
        read: Reads a file; the whole of it, so that nothing waits unread.
        use: Does with a file what a user does, with a folder for outputs; by default only reads it.
        files: Name of the target whose files it takes too; by default it has its own.
        seed: Makes a valid file, where none can be kept because it holds the time.
    """

    name: str
    suffix: str
    read: Callable[[Path], object]
    use: Callable[[Path, Path], object] | None = None
    files: str = ""
    seed: Callable[[Path], object] | None = None

    def run(self, path: Path, out: Path) -> object:
        """Uses a file."""
        return self.read(path) if self.use is None else self.use(path, out)


@cache
def _facts() -> tuple[LayerFacts, ...]:
    return layer_facts(nuqconv.load(MODEL, WEIGHTS))


def _read_model(model: Path, weights: Path, *, lenient: bool = False) -> None:
    """Reads a model and asks for all that its graph knows."""
    read = read_model(model, weights, ReadOptions(allow_unknown_fields=lenient, cut_for_inference=lenient))
    dump(read.graph, places=True)
    layer_facts(read.graph)


def _read_prototxt(path: Path) -> None:
    with contextlib.suppress(NuqconvError):
        _read_model(path, WEIGHTS, lenient=True)
    _read_model(path, WEIGHTS)


def _read_caffemodel(path: Path) -> None:
    with contextlib.suppress(NuqconvError):
        _read_model(MODEL, path)
    for layer in read_weights(path).layers.values():
        for blob in layer.blobs:
            blob_array(blob)


def _convert(model: Path, weights: Path, out: Path) -> None:
    nuqconv.convert(model, weights, out / "out.prototxt", allow_unknown_fields=False)


def _lower(model: Path, weights: Path) -> None:
    """Makes an ONNX model, with all checks, as `nuqconv.convert` does."""
    graph = read_model(model, weights, ReadOptions(allow_unknown_fields=True, cut_for_inference=True)).graph
    lowered = lower_graph(graph)
    if lowered.size() < _LARGEST_CHECKED:
        onnx.checker.check_model(lowered.for_checker().SerializeToString(), full_check=True)


def _read_definition(path: Path) -> None:
    make_config(_facts(), definition=path)


def _create_config(path: Path, out: Path) -> None:
    nuqconv.create_quant_config(out / "config.json", MODEL, WEIGHTS, config_defination=path)


def _create_config_by_mapping(path: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "definition.cfg"
        definition.write_text(f"nuq_config {{ mapping_file: '{path}' nuq_quantize {{ }} }}")
        _create_config(definition, out)


def _read_plan(path: Path) -> None:
    plan = Plan.from_json(path.read_bytes().decode("utf-8", "surrogateescape"))
    text = plan.to_json()
    if Plan.from_json(text) != plan or Plan.from_json(text).to_json() != text:
        raise AssertionError("a plan changed on its way through JSON")


def _read_onnx(path: Path) -> None:
    OnnxSide(read_onnx(path))


def _read_network(path: Path) -> None:
    graph = read_onnx_model(path).graph
    dump(graph, places=True)
    layer_facts(graph)


def _read_integers(path: Path) -> None:
    data = path.read_bytes()
    found = QuantizedWeights.from_bytes(data)
    if QuantizedWeights.from_bytes(found.to_bytes()).digest() != found.digest():
        raise AssertionError("integers changed on their way through bytes")


def _inspect(path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        inspect([path], layers=True)


def _read_journal(path: Path) -> None:
    with Journal.read(path) as journal:
        found = (journal.identity, journal.created, journal.original, journal.float_bytes, journal.space_text)
        del found
        for trial in journal.trials():
            # Each stored plan is read, too.
            trial.plan.digest()
        journal.asset(_ASSET)
        journal.solved(_KEY)


def _write_journal(path: Path) -> None:
    plan = Plan((("conv1", LayerPlan(Precision.INT8)),))
    with Journal.open(path, {"model": "a"}) as journal:
        journal.set_original(0.5)
        journal.set_space("[]", {_ASSET: b"integers"})
        journal.keep_solved(_KEY, "[]", {_ASSET: b"integers"})
        journal.record(
            plan, Measured(0.5, 1.0, "here"), 1, "int8 for all layers", 4.0, accepted=True, float_layers=["fc"]
        )


def _read_picture(path: Path) -> None:
    for channels in Channels:
        with contextlib.suppress(NuqconvError):
            read_picture(path, channels)
    with contextlib.suppress(NuqconvError):
        read_class_map(path)
    read_preparation("bgr, resize short 8").picture(read_picture(path, Channels.COLOUR))


def _read_datum(path: Path) -> None:
    data = path.read_bytes()
    for prep in ("bgr, resize 4x4, mean 1 2 3", "gray"):
        with contextlib.suppress(NuqconvError):
            read_datum(data, path.name, read_preparation(prep))
    read_datum(data, path.name, read_preparation(None))


def _read_labels(path: Path) -> None:
    with contextlib.suppress(NuqconvError):
        read_classes(path)
    read_labels(path, ["a/one.png", "a/two.png"])


def _read_prep(path: Path) -> None:
    """Reads a preparation and uses it; what it says of itself is read back as the same."""
    prep = read_preparation(path)
    if prep.mean_image is None and read_preparation(str(prep)) != prep and str(prep):
        raise AssertionError("a preparation changed on its way through its text")
    prep.picture(np.zeros((8, 8, prep.channels or 3), np.uint8))


def _read_results(path: Path) -> None:
    side = KeptSide(path)
    side.run({}, side.names)
    side.sizes({})


class _Frames(process.ChildProcess):
    """The parent's side of the pipe, with a file where the child would be."""

    def __init__(self, descriptor: int, kind: ChildKind) -> None:
        self.kind = kind  # type: ignore[misc]
        self._stdout = descriptor
        self._stderr_open = False

    def frame(self) -> process.Reply:
        return self._receive_frame(time.monotonic() + 10)


def _read_frames(path: Path) -> None:
    # This one takes arrays of more types, and what it refuses the other one refuses too.
    with contextlib.suppress(OnnxProcessError):
        _read_frames_of(path, ONNXRUNTIME)
    _read_frames_of(path, CAFFE)


def _read_frames_of(path: Path, kind: ChildKind) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        frames = _Frames(descriptor, kind)
        while os.lseek(descriptor, 0, os.SEEK_CUR) < path.stat().st_size:
            frames.frame()
    except process._ChildEndedError as error:  # noqa: SLF001
        raise kind.error("the frames end") from error
    finally:
        os.close(descriptor)


_ALL = (
    Target(
        "prototxt",
        ".prototxt",
        _read_prototxt,
        lambda path, out: _convert(path, WEIGHTS, out),
    ),
    Target("convert", ".prototxt", lambda path: _lower(path, WEIGHTS), files="prototxt"),
    Target("caffemodel", ".caffemodel", _read_caffemodel, lambda path, out: _convert(MODEL, path, out)),
    Target("config", ".json", lambda path: load_config(path, _facts())),
    Target("definition", ".cfg", _read_definition, _create_config),
    Target("mapping", ".json", read_mapping, _create_config_by_mapping),
    Target("record", ".txt", read_record),
    Target("plan", ".json", _read_plan),
    Target("integers", ".bin", _read_integers),
    Target("npz", ".npz", lambda path: read_data(path, ["data"])),
    Target("onnx", ".onnx", _read_onnx),
    Target("network", ".onnx", _read_network, files="onnx"),
    Target("frames", ".bin", _read_frames),
    Target("inspect", ".json", _inspect),
    Target("preparation", ".json", lambda path: Preparation.from_json(path.read_bytes().decode("utf-8", "replace"))),
    Target("picture", ".png", _read_picture),
    Target("datum", ".bin", _read_datum),
    Target("list", ".txt", ImageList),
    Target("labels", ".txt", _read_labels),
    Target("annotation", ".xml", lambda path: read_voc(path, {"dog": 1, "person": 2})),
    Target("words", ".txt", _read_prep),
    Target("aipp", ".cfg", _read_prep),
    Target("mnn", ".json", _read_prep),
    Target("data_layer", ".prototxt", read_data_layer),
    Target("codebooks", ".json", read_codebooks),
    Target("results", ".npz", _read_results),
    Target("journal", ".journal", _read_journal, seed=_write_journal),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
