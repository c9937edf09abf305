"""coremltools' palettization of one matrix, where coremltools is installed.

python benchmarks/palettize.py WEIGHTS.npz RESULT.npz    does so with every array of a file
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["available", "palettized"]

# tqdm looks at it once, when it is imported.
os.environ.setdefault("TQDM_DISABLE", "1")


def available() -> bool:
    """Returns whether coremltools can be imported."""
    try:
        import coremltools  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def palettized(weights: NDArray[Any], bits: int = 4) -> NDArray[np.float64]:
    """Returns a matrix whose numbers coremltools has put on ``2 ** bits`` levels by its k-means, as `palettize_weights` does by default."""
    import coremltools as ct  # noqa: PLC0415
    import coremltools.optimize.coreml as optimize  # noqa: PLC0415
    from coremltools.converters.mil import Builder  # noqa: PLC0415

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    matrix = np.ascontiguousarray(weights.reshape(len(weights), -1), np.float32)
    target = ct.target.iOS16

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, matrix.shape[1]))], opset_version=target)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return Builder.linear(x=x, weight=matrix, name="y")

    model = ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        minimum_deployment_target=target,
    )
    palettizer = optimize.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=0)
    small = optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=palettizer))
    for operation in small._mil_program.functions["main"].operations:  # noqa: SLF001  (there is no public way to the weights)
        if "lut" in operation.op_type:
            found = operation.outputs[0].val
            array = operation.materialized_val_inference() if found is None else found
            return np.asarray(array, np.float64).reshape(weights.shape)
    raise RuntimeError("coremltools left the weights as they were")


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        np.savez(sys.argv[2], **{name: palettized(file[name]) for name in file.files})
