"""pycaffe's face: nets, layers and messages under its names, on any Python, without Caffe.

Nets run in onnxruntime, or with the environment variable ``NUQCONV_PYCAFFE=caffe`` in real Caffe in a child process. `install` makes ``import caffe``
mean this package; ``nuqconv run script.py`` does so for a whole script. See docs/pycaffe.md for what differs.
"""

from __future__ import annotations

from nuqconv.pycaffe import classifier, coord_map, detector, draw, io, net_spec, proto
from nuqconv.pycaffe import net as pycaffe
from nuqconv.pycaffe.blob import Blob, BlobVec
from nuqconv.pycaffe.classifier import Classifier
from nuqconv.pycaffe.detector import Detector
from nuqconv.pycaffe.installation import install, run_script
from nuqconv.pycaffe.layer import Layer
from nuqconv.pycaffe.machine import (
    Timer,
    has_nccl,
    init_log,
    layer_type_list,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from nuqconv.pycaffe.net import TEST, TRAIN, Net
from nuqconv.pycaffe.net_spec import NetSpec, layers, params, to_proto
from nuqconv.pycaffe.training import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__version__ = "1.0.0"
"""Of the pycaffe whose face this is."""

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "classifier",
    "coord_map",
    "detector",
    "draw",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "proto",
    "pycaffe",
    "run_script",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]
