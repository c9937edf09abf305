"""Non-uniform weight quantization of trained Caffe models, searched against your own accuracy evaluator.

See `auto_nuq` for the main job, `create_quant_config` for its configuration, and the ready-made evaluators. `nuqconv.auto_nuq` is a function and
also the module that holds `AutoNuqEvaluatorBase`. A name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nuqconv import errors
    from nuqconv.api import create_quant_config, load, save
    from nuqconv.auto_nuq import auto_nuq
    from nuqconv.comparison.compare import CompareOptions, CompareReport, compare
    from nuqconv.comparison.dump import Dumped, dump
    from nuqconv.comparison.quantization import QuantizationReport, compare_quantized
    from nuqconv.comparison.reduction.reduce import reduce
    from nuqconv.comparison.reduction.result import Reduced
    from nuqconv.compat import (
        accuracy_based_auto_calibration,
        convert_model,
        init,
        quantize_model,
        save_model,
        set_cpu_mode,
        set_gpu_mode,
    )
    from nuqconv.custom import register_layer, register_python_layer, unregister_layer
    from nuqconv.data import Hdf5, ImageList, Images, Lmdb
    from nuqconv.evaluators import BatchEvaluator, CaffeEvaluator, OnnxRuntimeEvaluator
    from nuqconv.evaluators.side_by_side import Evaluation, evaluate
    from nuqconv.formats.convert import Conversion, convert
    from nuqconv.job.options import PrepareOptions, SearchOptions
    from nuqconv.job.quantization import Quantized
    from nuqconv.job.result import NuqResult
    from nuqconv.job.typed import auto, quantize
    from nuqconv.search.evaluator import AutoNuqEvaluatorBase
    from nuqconv.search.objective import NearestMetric, SmallestBytes

__version__ = "0.2.0"

__all__ = [
    "AutoNuqEvaluatorBase",
    "BatchEvaluator",
    "CaffeEvaluator",
    "CompareOptions",
    "CompareReport",
    "Conversion",
    "Dumped",
    "Evaluation",
    "Hdf5",
    "ImageList",
    "Images",
    "Lmdb",
    "NearestMetric",
    "NuqResult",
    "OnnxRuntimeEvaluator",
    "PrepareOptions",
    "QuantizationReport",
    "Quantized",
    "Reduced",
    "SearchOptions",
    "SmallestBytes",
    "accuracy_based_auto_calibration",
    "auto",
    "auto_nuq",
    "compare",
    "compare_quantized",
    "convert",
    "convert_model",
    "create_quant_config",
    "dump",
    "errors",
    "evaluate",
    "init",
    "load",
    "quantize",
    "quantize_model",
    "reduce",
    "register_layer",
    "register_python_layer",
    "save",
    "save_model",
    "set_cpu_mode",
    "set_gpu_mode",
    "unregister_layer",
]

_HOMES = {
    "nuqconv.api": ("create_quant_config", "load", "save"),
    "nuqconv.comparison.compare": ("CompareOptions", "CompareReport", "compare"),
    "nuqconv.comparison.dump": ("Dumped", "dump"),
    "nuqconv.comparison.reduction.reduce": ("reduce",),
    "nuqconv.comparison.reduction.result": ("Reduced",),
    "nuqconv.compat": (
        "accuracy_based_auto_calibration",
        "convert_model",
        "init",
        "quantize_model",
        "save_model",
        "set_cpu_mode",
        "set_gpu_mode",
    ),
    "nuqconv.comparison.quantization": ("QuantizationReport", "compare_quantized"),
    "nuqconv.custom": ("register_layer", "register_python_layer", "unregister_layer"),
    "nuqconv.data": ("Hdf5", "ImageList", "Images", "Lmdb"),
    "nuqconv.evaluators": ("BatchEvaluator", "CaffeEvaluator", "OnnxRuntimeEvaluator"),
    "nuqconv.evaluators.side_by_side": ("Evaluation", "evaluate"),
    "nuqconv.formats.convert": ("Conversion", "convert"),
    "nuqconv.job.quantization": ("Quantized",),
    "nuqconv.job.result": ("NuqResult",),
    "nuqconv.job.options": ("PrepareOptions", "SearchOptions"),
    "nuqconv.job.typed": ("auto",),
    "nuqconv.search.evaluator": ("AutoNuqEvaluatorBase",),
    "nuqconv.search.objective": ("NearestMetric", "SmallestBytes"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Imports a public name, or a part of the package, when it is first used."""
    if name in _HOME:
        found = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
        return found
    place = f"{__name__}.{name}"
    try:
        # A part; `auto_nuq` is one, which can be called.
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
