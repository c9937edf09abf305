"""Numbers only: integers for weights and activations, codebooks, plans, and what a plan makes of a graph.

``nuqconv.quantize`` is this package, and can be called: ``nuqconv.quantize(model, {"conv1": 16}, data=...)`` (`nuqconv.job.typed.quantize`).
"""

from __future__ import annotations

from nuqconv.callable_module import make_callable

make_callable(__name__, "nuqconv.job.typed:quantize")
