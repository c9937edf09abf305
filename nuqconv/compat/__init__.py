"""The names of the toolkit whose users move here: ``import amct_caffe as amct`` means this package after `install`.

`init`, `quantize_model` and `save_model` are its manual flow, without a search: see `nuqconv.compat.manual`.
"""

from __future__ import annotations

import sys

from nuqconv import auto_nuq
from nuqconv.api import create_quant_config
from nuqconv.compat.manual import ManualGraph, init, quantize_model, save_model, set_cpu_mode, set_gpu_mode

__all__ = [
    "ManualGraph",
    "auto_nuq",
    "create_quant_config",
    "init",
    "install",
    "quantize_model",
    "save_model",
    "set_cpu_mode",
    "set_gpu_mode",
]


def install() -> None:
    """Makes ``import amct_caffe`` mean this package in this process."""
    sys.modules["amct_caffe"] = sys.modules[__name__]
    sys.modules["amct_caffe.auto_nuq"] = sys.modules["nuqconv.auto_nuq"]
