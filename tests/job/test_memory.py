"""Memory of a preparation: next to the float weights of its largest layer, which may be most of a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHILD = """
import numpy as np
import nuqconv
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import InnerProduct
from tests.support.peak import peak_memory

rng = np.random.default_rng(0)

def prepare(outputs, inputs):
    weights = rng.standard_normal((outputs, inputs), np.float32)
    params = {"w": weights, "b": np.ones(outputs, np.float32)}
    node = Node("fc", InnerProduct(outputs), ("data",), ("fc",), ("w", "b"))
    graph = Graph("net", (Input("data", (8, inputs)),), (node,), params, ("fc",))
    data = np.maximum(rng.standard_normal((8, inputs), np.float32), 0)
    before = peak_memory()
    nuqconv.quantize(graph, {"*": 16}, data={"data": data})
    return (peak_memory() - before) / weights.nbytes

# What is imported and set up at the first use is no part of it.
prepare(5, 64)
print(prepare(384, 25088))
"""


@pytest.mark.slow
def test_a_large_layer_takes_less_than_five_times_its_weights():
    """Its session, its moments and the arrays of its solver took 16 times as much once."""
    env = {**os.environ, "NUQCONV_LOG": "off", "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=True
    )
    assert 0.5 < float(child.stdout) < 5
