"""A calibration model for a user's own Caffe: the float net with layers that gather histograms and record its inputs."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from nuqconv.backends.caffe.layer import new_layer
from nuqconv.backends.caffe.writer import write_caffe
from nuqconv.errors import CalibrationError
from nuqconv.ir import Array, Graph, Node, Origin
from nuqconv.ir.ops import Opaque
from nuqconv.quantize import histogram as histogram_module
from nuqconv.quantize.histogram import Histogram

__all__ = ["CalibrationModel", "write_calibration_model"]

_IMPORT = "from nuqconv.quantize.histogram import Histogram\n"


@dataclass(frozen=True)
class CalibrationModel:
    """A written calibration model.

    Attributes:
        model_file: The .prototxt with sink layers.
        weights_file: The .caffemodel.
        folder: Where model and module lie, and where the sinks write.
        values: The values measured, in the order of the sinks' numbers.
        inputs: Names of the inputs recorded; empty where they cannot be.
    """

    model_file: Path
    weights_file: Path
    folder: Path
    values: tuple[str, ...]
    inputs: tuple[str, ...]

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Puts the folder on the module search path of this process and of those that it starts."""
        folder, before = str(self.folder), os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = folder if not before else folder + os.pathsep + before
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            sys.modules.pop(_module_source()[0], None)
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before

    def histograms(self) -> Mapping[str, Histogram]:
        """Collects what the sinks have written, over all nets and processes.

        Returns:
            A histogram for each value that at least one sink saw.

        Raises:
            CalibrationError: A file that a sink wrote is damaged.
        """
        found: dict[str, Histogram] = {}
        for path in sorted(self.folder.glob("*-*-*.npz")):
            value = self.values[int(path.name.split("-", 1)[0])]
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    part = Histogram.from_arrays({name: arrays[name] for name in ("counts", "integers", "floats")})
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise CalibrationError(f"{path}: a sink layer's histogram of '{value}' is damaged: {error}") from error
            found.setdefault(value, Histogram()).merge(part)
        return found

    def passes(self) -> int:
        """Returns how often the model was run, over all nets and processes: as often as the sink that was reached least.

        Raises:
            CalibrationError: A file that a sink wrote is damaged.
        """
        counts = dict.fromkeys(range(len(self.values)), 0)
        for path in self.folder.glob("*-*-*.npz"):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    counts[int(path.name.split("-", 1)[0])] += int(arrays["batches"].sum())
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise CalibrationError(f"{path}: a sink layer's count of batches is damaged: {error}") from error
        return min(counts.values(), default=0)

    def batches(self) -> tuple[Mapping[str, Array], ...]:
        """Collects the inputs that were recorded, over all nets and processes.

        Returns:
            For each batch the arrays by input name. Their order depends on nothing but their values and their places in each net's run.

        Raises:
            CalibrationError: A recorded file is damaged.
        """
        found: list[tuple[str, str, Mapping[str, Array]]] = []
        for path in self.folder.glob("inputs_*_*_*.npz"):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    batch = {name: np.asarray(arrays[str(index)], np.float32) for index, name in enumerate(self.inputs)}
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise CalibrationError(f"{path}: recorded inputs are damaged: {error}") from error
            digest = hashlib.sha256(b"".join(array.tobytes() for array in batch.values())).hexdigest()
            found.append((path.stem.rsplit("_", 1)[1], digest, batch))
        # Nets that ran side by side have names drawn by chance.
        return tuple(batch for _, _, batch in sorted(found, key=lambda item: item[:2]))


def write_calibration_model(
    graph: Graph, values: Sequence[str], folder: str | Path, *, record_bytes: int = 0
) -> CalibrationModel:
    """Writes a float Caffe model whose ``Python`` layers keep a histogram of each value, and record its inputs.

    The net's outputs stay as they were. The Python layers' module is one file beside the model.

    Args:
        graph: The float graph; every value measured must have a reader in it that does not work in place, since Caffe lets no second
            layer read what an in-place layer overwrites.
        values: The values to measure.
        folder: An existing, empty folder.
        record_bytes: How many bytes of inputs each net of this model records at most; a net whose inputs an in-place layer overwrites
            records none.

    Returns:
        The model.
    """
    folder = Path(folder).absolute()
    module, source = _module_source()
    (folder / f"{module}.py").write_text(source, encoding="utf-8", newline="\n")
    recorded = _recordable(graph) if record_bytes else ()
    nodes = [_recorder(graph, recorded, module, folder, record_bytes)] if recorded else []
    waiting = {value: number for number, value in enumerate(values)}
    for node in graph.nodes:
        # Right before its first reader, a value stands in its blob.
        nodes += [_sink(graph, value, waiting.pop(value), module, folder) for value in node.inputs if value in waiting]
        nodes.append(node)
    model = CalibrationModel(
        folder / "calibration.prototxt", folder / "calibration.caffemodel", folder, tuple(values), recorded
    )
    write_caffe(graph.with_nodes(nodes), model.model_file, model.weights_file)
    return model


def _recordable(graph: Graph) -> tuple[str, ...]:
    """Returns the inputs, or none of them where one shares its blob with what an in-place layer writes: then no other layer can read it."""
    names = tuple(item.name for item in graph.inputs)
    shared = {graph.storage_name(output) for node in graph.nodes for output in node.outputs}
    return () if any(graph.storage_name(name) in shared for name in names) else names


def _recorder(graph: Graph, inputs: tuple[str, ...], module: str, folder: Path, size: int) -> Node:
    return _python_node(
        graph, f"{module}_inputs", inputs, module, "InputRecorder", {"folder": str(folder), "bytes": size}
    )


def _sink(graph: Graph, value: str, number: int, module: str, folder: Path) -> Node:
    options = {"number": number, "folder": str(folder)}
    return _python_node(graph, f"{module}_{number}", (value,), module, "HistogramSink", options)


def _python_node(
    graph: Graph, name: str, values: tuple[str, ...], module: str, layer: str, options: Mapping[str, object]
) -> Node:
    message: Any = new_layer(name, "Python", [graph.storage_name(value) for value in values], [])
    message.python_param.module, message.python_param.layer = module, layer
    message.python_param.param_str = json.dumps(options)
    text = f"layer {{\n{text_format.MessageToString(message, indent=2)}}}"
    origin = Origin("calibration model", None, name, "Python", "caffe", message, text)
    return Node(name, Opaque("Python", "a sink layer"), values, (), (), origin)


def _module_source() -> tuple[str, str]:
    """Returns the module's name, which changes with its text, and the text."""
    layer = resources.files(__package__).joinpath("sink_layer.py").read_text(encoding="utf-8")
    before, after = layer.split(_IMPORT)
    source = f"{inspect.getsource(histogram_module)}\n\n{before}{after}"
    return f"nuqconv_sink_{hashlib.sha256(source.encode()).hexdigest()[:8]}", source
