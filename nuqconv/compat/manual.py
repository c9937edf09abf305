"""The manual flow: a model with layers that measure is run by the user's own script, and then quantized as the configuration says.

::

    graph = init(config_file, model_file, weights_file, scale_offset_record_file)
    quantize_model(graph, "modified.prototxt", "modified.caffemodel")
    # ... run the modified model batch_num times, in Caffe or nuqconv.pycaffe ...
    save_model(graph, "Both", "out/net")
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from nuqconv.backends.caffe.sinks import CalibrationModel, write_calibration_model
from nuqconv.config import load_config
from nuqconv.errors import CalibrationError, ConfigError, UnsupportedError
from nuqconv.files.staging import check_targets, move_into_place, staging_folder
from nuqconv.formats import CAFFE, open_model
from nuqconv.formats.source import SourceModel, StrPath
from nuqconv.job.calibration import KEPT_BYTES, Calibration, Source, checked_histograms
from nuqconv.job.choice import configured_requests
from nuqconv.job.job import Job, float_graph, make_job
from nuqconv.job.layer_facts import layer_facts
from nuqconv.job.options import PrepareOptions
from nuqconv.job.output_files import OutputFiles
from nuqconv.job.quantization import quantized_by

__all__ = ["ManualGraph", "init", "quantize_model", "save_model", "set_cpu_mode", "set_gpu_mode"]

_LOG = logging.getLogger(__name__)
_LEFT_OUT = {"Fakequant": ("deploy",), "Deploy": ("fake_quant",), "Both": ()}


class ManualGraph:
    """What `init` returns and the other calls go on with.

    Attributes:
        job: The model with its configuration.
        record_file: Where the quantization factor record goes.
        sources: The files read.
    """

    def __init__(self, job: Job, source: SourceModel, config_file: Path, record_file: Path) -> None:
        self.job = job
        self.source = source
        self.record_file = record_file
        self.sources = (*source.files, config_file)
        self._folder = tempfile.TemporaryDirectory(prefix="nuqconv-")
        self._model: CalibrationModel | None = None

    def measuring(self) -> CalibrationModel:
        """Returns the model with layers that measure; it is written at the first call."""
        if self._model is None:
            folder = self._folder.name
            self._model = write_calibration_model(self.job.graph, self.job.values, folder, record_bytes=KEPT_BYTES)
            # The script that runs it, and processes that it starts, must find the layers.
            sys.path.append(folder)
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), folder)))
        return self._model

    def calibration(self) -> Calibration:
        """Returns what the layers have measured.

        Raises:
            CalibrationError: The model was not run, or too few times.
        """
        if self._model is None:
            raise CalibrationError("call quantize_model first, and run the model that it writes")
        found = self._model.histograms()
        passes, asked = self._model.passes(), self.job.config.batch_num
        if passes < asked:
            raise CalibrationError(
                f"the model of quantize_model was run {passes} times, the configuration's batch_num is {asked}; run it so often "
                "before save_model"
            )
        return Calibration(
            Source.CAFFE, checked_histograms(self.job.graph, found, self.job.values), batches=self._model.batches()
        )


def init(
    config_file: StrPath, model_file: StrPath, weights_file: StrPath, scale_offset_record_file: StrPath
) -> ManualGraph:
    """Reads a model and its quantization configuration.

    Args:
        config_file: The configuration, as `create_quant_config` writes it; one without NUQ layers is uniform int8.
        model_file: The .prototxt.
        weights_file: The .caffemodel.
        scale_offset_record_file: Where `save_model` writes the quantization factor record.

    Raises:
        FormatError, ModelError, UnsupportedError: The model cannot be read, is wrong, or is quantized already.
        ConfigError: The configuration is wrong for it.
    """
    source = open_model(model_file, weights_file).read()
    if source.format is not CAFFE:
        raise UnsupportedError(f"{model_file}: the manual flow is for Caffe models; use nuqconv quantize")
    graph = float_graph(source)
    config = load_config(config_file, layer_facts(graph))
    requests = configured_requests(config, graph)
    if not requests:
        raise ConfigError(f"{config_file}: no layer is to be quantized; enable at least one")
    job = make_job(source, config, requests, os.fspath(config_file))
    return ManualGraph(job, source, Path(config_file), Path(scale_offset_record_file))


def quantize_model(graph: ManualGraph, modified_model_file: StrPath, modified_weights_file: StrPath) -> None:
    """Writes the model with layers that measure, which then has to be run ``batch_num`` times.

    Raises:
        OutputError: The files cannot be written, or are those of the original model.
    """
    targets = [Path(modified_model_file), Path(modified_weights_file)]
    check_targets(targets, inputs=graph.sources)
    model = graph.measuring()
    with staging_folder(*targets) as staging:
        staged = {}
        for target, source in zip(targets, (model.model_file, model.weights_file), strict=True):
            staged[target] = staging / source.name
            staged[target].write_bytes(source.read_bytes())
        move_into_place(staged)


def save_model(graph: ManualGraph, save_type: str, save_path: StrPath) -> OutputFiles:
    """Quantizes by what was measured, and writes the files.

    Args:
        graph: What `init` returned.
        save_type: ``"Fakequant"``, ``"Deploy"`` or ``"Both"``.
        save_path: DIR/PREFIX of the files.

    Raises:
        ConfigError: ``save_type`` is none of the three.
        CalibrationError: The model of `quantize_model` was not run often enough.
        OutputError: The files cannot be written.
    """
    if save_type not in _LEFT_OUT:
        raise ConfigError(f"save_type must be {', '.join(map(repr, _LEFT_OUT))}, found {save_type!r}")
    result = quantized_by(graph.job, graph.calibration(), graph.sources, PrepareOptions())
    for note in result.notes:
        _LOG.warning("%s", note)
    return result.save(save_path, record=graph.record_file, without=_LEFT_OUT[save_type])


def set_cpu_mode() -> None:
    """Does nothing: everything here runs on the CPU."""


def set_gpu_mode() -> None:
    """Says that everything here runs on the CPU all the same; the numbers are the same."""
    _LOG.warning("set_gpu_mode: nuqconv calibrates and quantizes on the CPU")
