"""The names of the toolkit whose users move here: ``import amct_caffe as amct`` means this package after `install`.

`init`, `quantize_model` and `save_model` are its manual flow, without a search (`nuqconv.compat.manual`); `convert_model` takes factors that
the user has worked out; `accuracy_based_auto_calibration` chooses between int8 and float. See ``docs/moving.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nuqconv import auto_nuq
from nuqconv.compat.auto_calibration import AutoCalibrationEvaluatorBase, accuracy_based_auto_calibration
from nuqconv.compat.configuration import create_quant_config
from nuqconv.compat.conversion import convert_model
from nuqconv.compat.manual import ManualGraph, init, quantize_model, save_model, set_cpu_mode, set_gpu_mode

__all__ = [
    "AutoCalibrationEvaluatorBase",
    "ManualGraph",
    "accuracy_based_auto_calibration",
    "auto_nuq",
    "convert_model",
    "create_quant_config",
    "init",
    "install",
    "quantize_model",
    "save_model",
    "set_cpu_mode",
    "set_gpu_mode",
]

_MODULES = {
    "amct_caffe": __name__,
    "amct_caffe.auto_nuq": "nuqconv.auto_nuq",
    "amct_caffe.common": __name__,
    "amct_caffe.common.auto_calibration": "nuqconv.compat.auto_calibration",
}
_ON_PATH = str(Path(__file__).resolve().with_name("on_path"))


def install() -> None:
    """Makes ``import amct_caffe``, and of its parts, mean this package: in this process, and in those that multiprocessing starts from it."""
    for name, module in _MODULES.items():
        sys.modules[name] = sys.modules[module]
    # A process that is spawned gets this one's search path.
    if _ON_PATH not in sys.path:
        sys.path.insert(min(1, len(sys.path)), _ON_PATH)
