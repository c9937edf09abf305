"""A model with a plan for it: what can be run and saved."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuqconv.errors import ConfigError
from nuqconv.files.staging import check_targets
from nuqconv.formats import CAFFE, FORMATS
from nuqconv.ir import Array, Graph
from nuqconv.job.job import Job
from nuqconv.job.output_files import OutputFiles, model_name, output_prefix, record_path
from nuqconv.job.outputs import fitting_files, staging_for, write_outputs
from nuqconv.quantize.plan import Plan
from nuqconv.runtimes.base import Loaded
from nuqconv.runtimes.default import float_feeds, load_graph
from nuqconv.runtimes.table import DEFAULT

__all__ = ["PlannedModel"]


@dataclass(frozen=True)
class PlannedModel:
    """A model with a plan for it.

    Attributes:
        job: The model; its quantizer holds the integers that the plan refers to.
        plan: What happens to each layer.
        notes: What the user should know of it.
        sources: The files that it was read from, which are not written to.
    """

    job: Job
    plan: Plan
    notes: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    _loaded: dict[str, Loaded] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def graph(self) -> Graph:
        """The quantized graph."""
        return self.job.quantizer.apply(self.plan)

    def run(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """Runs the quantized network in onnxruntime.

        Args:
            inputs: float32 arrays by input blob, or the only input's array.

        Returns:
            The outputs by name, float32.

        Raises:
            ModelError: The inputs do not fit the network.
        """
        if DEFAULT not in self._loaded:
            self._loaded[DEFAULT] = load_graph(self.graph)
        return self._loaded[DEFAULT].run(_feeds(self.job.graph, inputs))

    def save(
        self,
        save_dir: str | os.PathLike[str],
        *,
        record: str | os.PathLike[str] | None = None,
        onnx: bool = False,
        without: Collection[str] = (),
    ) -> OutputFiles:
        """Writes the models and record files, whole or not at all.

        Args:
            save_dir: DIR/PREFIX of the files; in a folder that is there, or behind a / at the end, PREFIX is the name of the model.
            record: Where to write the quantization factor record; by default beside the others.
            onnx: Whether to write ONNX models too; they are always written for an ONNX model.
            without: Names of forms (``"deploy"``) and of other files (``"scale_offset_record"``) that are not to be written.

        Returns:
            Their paths.

        Raises:
            OutputError: The files cannot be written. The earlier ones are as they were.
        """
        prefix = output_prefix(save_dir, model_name(self.sources, self.job.format))
        written = [entry for entry in FORMATS if onnx or entry in (CAFFE, self.job.format)]
        place = record_path(prefix) if record is None else Path(record)
        unwanted = [form for entry in FORMATS for form in entry.forms if form.name in without]
        wanted = OutputFiles.for_prefix(prefix, place, written).without(unwanted, without)
        files, _ = fitting_files(wanted, self.job, self.plan)
        targets = list(files.present().values())
        check_targets(targets, inputs=self.sources)
        with staging_for(files) as staging:
            write_outputs(self.job, self.plan, files, staging)
        return files


def _feeds(graph: Graph, inputs: Mapping[str, Array] | Any) -> dict[str, Array]:
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            names = ", ".join(graph.storage_name(item.name) for item in graph.inputs)
            raise ConfigError(f"the network has the inputs {names}; give a mapping from their names to arrays")
        inputs = {graph.inputs[0].name: inputs}
    return float_feeds(graph, inputs)
