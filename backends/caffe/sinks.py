"""A calibration model for a user's own Caffe: the float net with sink layers that gather histograms."""

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
from nuqconv.ir import Graph, Node, Origin
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
    """

    model_file: Path
    weights_file: Path
    folder: Path
    values: tuple[str, ...]

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


def write_calibration_model(graph: Graph, values: Sequence[str], folder: str | Path) -> CalibrationModel:
    """Writes a float Caffe model whose ``Python`` layers keep a histogram of each value.

    The net's outputs stay as they were. The Python layers' module is one file beside the model.

    Args:
        graph: The float graph; every value measured must have a reader in it that does not work in place, since Caffe lets no second
            layer read what an in-place layer overwrites.
        values: The values to measure.
        folder: An existing, empty folder.

    Returns:
        The model.
    """
    folder = Path(folder).absolute()
    module, source = _module_source()
    (folder / f"{module}.py").write_text(source, encoding="utf-8", newline="\n")
    nodes: list[Node] = []
    waiting = {value: number for number, value in enumerate(values)}
    for node in graph.nodes:
        # Right before its first reader, a value stands in its blob.
        nodes += [_sink(graph, value, waiting.pop(value), module, folder) for value in node.inputs if value in waiting]
        nodes.append(node)
    model = CalibrationModel(folder / "calibration.prototxt", folder / "calibration.caffemodel", folder, tuple(values))
    write_caffe(graph.with_nodes(nodes), model.model_file, model.weights_file)
    return model


def _sink(graph: Graph, value: str, number: int, module: str, folder: Path) -> Node:
    name = f"{module}_{number}"
    message: Any = new_layer(name, "Python", [graph.storage_name(value)], [])
    message.python_param.module, message.python_param.layer = module, "HistogramSink"
    message.python_param.param_str = json.dumps({"number": number, "folder": str(folder)})
    text = f"layer {{\n{text_format.MessageToString(message, indent=2)}}}"
    origin = Origin("calibration model", None, name, "Python", "caffe", message, text)
    return Node(name, Opaque("Python", "a sink layer"), (value,), (), (), origin)


def _module_source() -> tuple[str, str]:
    """Returns the module's name, which changes with its text, and the text."""
    layer = resources.files(__package__).joinpath("sink_layer.py").read_text(encoding="utf-8")
    before, after = layer.split(_IMPORT)
    source = f"{inspect.getsource(histogram_module)}\n\n{before}{after}"
    return f"nuqconv_sink_{hashlib.sha256(source.encode()).hexdigest()[:8]}", source
