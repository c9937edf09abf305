"""``create_quant_config`` as the original has it: uniform int8 unless a definition says otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nuqconv import api
from nuqconv.formats import Model
from nuqconv.formats.source import StrPath

__all__ = ["create_quant_config"]


def create_quant_config(
    config_file: StrPath,
    model_file: Model,
    weights_file: StrPath | None = None,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: StrPath | None = None,
) -> None:
    """Writes a quantization configuration for a model.

    It differs from `nuqconv.create_quant_config` where a script leaves something out: without ``config_defination`` every layer is uniform int8, and
    ``batch_num`` is 1, since a script of the manual flow that says no number runs the model once (decision D37).

    Args:
        config_file: The JSON file to write.
        model_file: The .prototxt, or an .onnx model.
        weights_file: The .caffemodel; None for an ONNX model.
        skip_layers: Layers to leave in float.
        batch_num: Batches to calibrate on.
        activation_offset: Whether activations may have an offset.
        config_defination: A simplified configuration (protobuf text); what it sets goes before the arguments.

    Raises:
        NuqconvError: As of `nuqconv.create_quant_config`.
    """
    with tempfile.TemporaryDirectory(prefix="nuqconv-") as folder:
        definition = Path(folder) / "int8.cfg"
        definition.write_text("")
        api.create_quant_config(
            config_file,
            model_file,
            weights_file,
            skip_layers,
            batch_num,
            activation_offset,
            config_defination or definition,
        )
