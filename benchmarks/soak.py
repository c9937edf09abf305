"""Long work through one process: does memory grow, are descriptors lost?

10,000 forward passes of LeNet through the child of real Caffe, through that of onnxruntime and through pycaffe's face, and searches of 1,000
trials over a small net with the evaluator in this process, in the onnxruntime process and in the Caffe process; each with its journal. Memory
is what the kernel says is resident; its slope is that of a straight line through the second half, after allocators and caches have taken what
they keep.

    python benchmarks/soak.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import nuqconv
from nuqconv import pycaffe
from nuqconv.evaluators import CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.frontends.caffe import load_graph
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from nuqconv.runtimes.onnxruntime.isolated import OnnxProcess

__all__ = ["SEARCHES", "Soak", "caffe_forwards", "onnx_forwards", "pycaffe_forwards", "search"]

LENET = Path(__file__).parents[1] / "examples" / "lenet"
MODEL, WEIGHTS = LENET / "deploy.prototxt", LENET / "lenet.caffemodel"
FORWARDS, TRIALS = 10_000, 1_000
_SAMPLES = 200
_LAYERS = 5
_SIZE = 24


@dataclass
class Soak:
    """What was seen meanwhile, at regular distances.

    Attributes:
        name: What was done.
        count: How often.
        resident: Bytes of this process.
        child: Bytes of its child; none where there is none.
        descriptors: Open descriptors of this process.
        seconds: Time that it took.
    """

    name: str
    count: int
    resident: list[int] = field(default_factory=list)
    child: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def sample(self, child: int | None = None) -> None:
        """Looks once."""
        self.resident.append(_resident("self"))
        self.descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
        if child is not None:
            self.child.append(_resident(str(child)))

    def slope(self, samples: list[int]) -> float:
        """Returns by how many bytes memory grows with each pass or trial, in the second half."""
        half = samples[len(samples) // 2 :]
        return float(np.polyfit(np.arange(len(half)), half, 1)[0]) * len(samples) / self.count

    @property
    def lost_descriptors(self) -> int:
        """How many more descriptors are open in the end than after a tenth."""
        return self.descriptors[-1] - self.descriptors[len(self.descriptors) // 10]

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.count:,} in {self.seconds:.0f} s"]
        for name, samples in (("this process", self.resident), ("child", self.child)):
            if samples:
                whole = f"{samples[len(samples) // 2] / 2**20:.1f} MiB halfway, {samples[-1] / 2**20:.1f} in the end"
                parts.append(f"{name} {whole}, {self.slope(samples):+.0f} bytes each")
        tenth = self.descriptors[len(self.descriptors) // 10]
        return "; ".join([*parts, f"descriptors {tenth} after a tenth, {self.descriptors[-1]} in the end"])


def _resident(process: str) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def _repeat(soak: Soak, once: Callable[[], object], child: int | None) -> Soak:
    begun = time.monotonic()
    every = max(1, soak.count // _SAMPLES)
    for number in range(soak.count):
        once()
        if number % every == 0:
            soak.sample(child)
    soak.sample(child)
    soak.seconds = time.monotonic() - begun
    return soak


def caffe_forwards(count: int = FORWARDS) -> Soak:
    """Runs LeNet in real Caffe."""
    batch = np.random.default_rng(0).random((4, 1, 28, 28), np.float32)
    with Net(MODEL, WEIGHTS) as net:
        return _repeat(Soak("forward passes in real Caffe", count), lambda: net.forward(data=batch), net.process.pid)


def onnx_forwards(count: int = FORWARDS) -> Soak:
    """Runs LeNet in the onnxruntime process, with a new session every 100 passes."""
    batch = np.random.default_rng(0).random((4, 1, 28, 28), np.float32)
    graph = load_graph(MODEL, WEIGHTS)
    with OnnxProcess() as process:

        def passes() -> Iterator[None]:
            while True:
                session = OnnxSession(graph, threads=1, create=process.session)
                for _ in range(100):
                    session.run({"data": batch})
                    yield

        runs = passes()
        return _repeat(Soak("forward passes in the onnxruntime process", count), lambda: next(runs), process.pid)


def pycaffe_forwards(count: int = FORWARDS) -> Soak:
    """Runs LeNet through pycaffe's face: inputs written in place, results and a blob inside read, batch sizes and weights changed at times."""
    rng = np.random.default_rng(0)
    batches = {size: rng.random((size, 1, 28, 28), np.float32) for size in (4, 8)}
    net = pycaffe.Net(MODEL, WEIGHTS, pycaffe.TEST)

    def passes() -> Iterator[None]:
        number = 0
        while True:
            batch = batches[8 if number % 50 == 49 else 4]
            if net.blobs["data"].shape != batch.shape:
                net.blobs["data"].reshape(*batch.shape)
            net.blobs["data"].data[...] = batch
            scores = net.forward()["prob"]
            if number % 7 == 0:
                net.blobs["conv1"].data.sum()
            if number % 100 == 0:
                net.params["ip2"][1].data[...] += scores[0] * 1e-6
            number += 1
            yield

    runs = passes()
    return _repeat(Soak("forward passes through pycaffe's face", count), lambda: next(runs), None)


class _Watched:
    """What evaluators are mixed with to be watched: they look after each model, and accept the last one."""

    soak: Soak

    def watch(self, soak: Soak) -> None:
        self.soak = soak
        self.seen = 0

    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        metric = super().eval_model(model_file, weights_file, batch_num)  # type: ignore[misc]
        # Models in this process have no children.
        children = getattr(self._models, "idle", ())  # type: ignore[attr-defined]
        self.seen += 1
        if self.seen % max(1, self.soak.count // _SAMPLES) == 0:
            self.soak.sample(children[0].process.pid if children else None)
        return float(metric)

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        return new_metric == original_metric or self.seen > self.soak.count


class _InOnnxruntime(_Watched, OnnxRuntimeEvaluator):
    pass


class _InCaffe(_Watched, CaffeEvaluator):
    pass


SEARCHES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "in this process": (_InOnnxruntime, {"threads": 1}),
    "in the onnxruntime process": (_InOnnxruntime, {"threads": 1, "isolate": True}),
    "in the Caffe process": (_InCaffe, {}),
}
"""Where the models of a search are evaluated."""


def search(where: str, count: int = TRIALS) -> Soak:
    """Searches exhaustively over a small net, in one of `SEARCHES`; the evaluator accepts the last trial only."""
    kind, options = SEARCHES[where]
    soak = Soak(f"trials {where}", count)
    inputs = {"data": np.random.default_rng(1).standard_normal((8, _SIZE), np.float32)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _net(folder)
        nuqconv.create_quant_config(folder / "config.json", *files, batch_num=1)
        evaluator: Any = kind(inputs, metric="output_error", max_error=0.0, batch_size=4, **options)
        evaluator.watch(soak)
        begun = time.monotonic()
        with evaluator:
            result = nuqconv.auto_nuq.auto_nuq(
                *files,
                evaluator,
                folder / "config.json",
                folder / "record.txt",
                folder / "out",
                max_evaluations=count,
                strategy="exhaustive",
                progress=False,
            )
        soak.seconds = time.monotonic() - begun
    if len(result.trials) != count:
        raise RuntimeError(f"{len(result.trials)} trials, expected {count}")
    return soak


def _net(folder: Path) -> tuple[Path, Path]:
    """Five layers in a row, which have 1,023 quantized states."""
    from nuqconv.frontends.caffe.schema import NetParameter  # noqa: PLC0415

    rng = np.random.default_rng(2)
    layers = [f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 4 dim: {_SIZE} }} }} }}']
    weights = NetParameter()
    bottom = "data"
    for index in range(_LAYERS):
        layers.append(
            f'layer {{ name: "fc{index}" type: "InnerProduct" bottom: "{bottom}" top: "fc{index}" '
            f"inner_product_param {{ num_output: {_SIZE} bias_term: false }} }}"
        )
        bottom = f"fc{index}"
        blob = weights.layer.add(name=bottom).blobs.add()
        blob.shape.dim.extend((_SIZE, _SIZE))
        blob.data.append(rng.standard_normal((_SIZE, _SIZE)).astype("<f4").tobytes())
    model, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    model.write_text("\n".join(layers))
    caffemodel.write_bytes(weights.SerializeToString())
    return model, caffemodel


def rows(forwards: int = FORWARDS, trials: int = TRIALS) -> Iterator[Soak]:
    """Yields all that is measured."""
    yield caffe_forwards(forwards)
    yield onnx_forwards(forwards)
    yield pycaffe_forwards(forwards)
    for where in SEARCHES:
        yield search(where, trials)


if __name__ == "__main__":
    for found in rows(*map(int, sys.argv[1:])):
        print(found, flush=True)
