"""Non-uniform weight quantization of trained Caffe models, searched against your own accuracy evaluator.

See `auto_nuq` for the main job, `create_quant_config` for its configuration, and the ready-made evaluators. `nuqconv.auto_nuq` is a function and
also the module that holds `AutoNuqEvaluatorBase`.
"""

from __future__ import annotations

from nuqconv import auto_nuq, errors
from nuqconv.api import create_quant_config, load, save
from nuqconv.comparison.compare import CompareReport, compare
from nuqconv.custom import register_layer, register_python_layer, unregister_layer
from nuqconv.evaluators import BatchEvaluator, CaffeEvaluator, OnnxRuntimeEvaluator
from nuqconv.formats.convert import Conversion, convert
from nuqconv.job.result import NuqResult
from nuqconv.search.evaluator import AutoNuqEvaluatorBase
from nuqconv.search.objective import NearestMetric, SmallestBytes

__all__ = [
    "AutoNuqEvaluatorBase",
    "BatchEvaluator",
    "CaffeEvaluator",
    "CompareReport",
    "Conversion",
    "NearestMetric",
    "NuqResult",
    "OnnxRuntimeEvaluator",
    "SmallestBytes",
    "auto_nuq",
    "compare",
    "convert",
    "create_quant_config",
    "errors",
    "load",
    "register_layer",
    "register_python_layer",
    "save",
    "unregister_layer",
]
