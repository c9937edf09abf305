"""All benchmarks in one run: every figure is a ratio to something else that was measured beside it.

    make bench

Writes the numbers to build/bench.json too.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

import codebooks
import convert
import nuqconv
import overhead
import pycaffe_speed
from nuqconv.passes import fold_affine
from nuqconv.quantize.capability import capabilities
from nuqconv.runtimes.caffe import find_caffe
from real_models import model_files

TARGET = Path(__file__).resolve().parent.parent / "build" / "bench.json"


def main() -> None:
    """Runs the benchmarks."""
    console = Console(width=170)
    found: dict[str, object] = {}
    graph = fold_affine(nuqconv.load(*model_files("nsfw"))).graph
    weights = {
        item.name: graph.params[graph.node[item.name].params[0]] for item in capabilities(graph) if item.weighted
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "weights.npz", **weights)
        codebooks.main(["--weights", str(folder / "weights.npz"), "--json", str(folder / "codebooks.json")])
        found["codebooks"] = json.loads((folder / "codebooks.json").read_text())
    found["convert"] = convert.measure(console)
    if find_caffe() is None:
        console.print(
            "real Caffe is not there (make caffe), so neither the cost of the search beside an evaluator nor pycaffe's face is measured"
        )
    else:
        found["overhead"] = overhead.measure(console)
        found["pycaffe"] = pycaffe_speed.measure(console)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written to {TARGET}")


if __name__ == "__main__":
    main()
