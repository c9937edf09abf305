"""What a typed user writes; the first part is README's example. Read by type checkers only (test_types.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import assert_type

import nuqconv
import nuqconv.auto_nuq as module
from nuqconv.auto_nuq import AutoNuqEvaluatorBase
from nuqconv.search.objective import Objective
from nuqconv.search.space import SearchSpace
from nuqconv.search.strategies import Planner, Proposal, Verdict, View


def accuracy_of(model_file: str, weights_file: str, batch_num: int) -> float:
    return float(len(model_file) + len(weights_file) + batch_num)


class Evaluator(AutoNuqEvaluatorBase):
    def eval_model(self, model_file: str, weights_file: str, batch_num: int) -> float:
        return accuracy_of(model_file, weights_file, batch_num)

    def is_satisfied(self, original_metric: float, new_metric: float) -> bool:
        return original_metric - new_metric < 0.01


nuqconv.create_quant_config("config.json", "deploy.prototxt", "weights.caffemodel", batch_num=4)
result = nuqconv.auto_nuq(
    "deploy.prototxt", "weights.caffemodel", Evaluator(), "config.json", "record.txt", "./results/model"
)
print(result.metric, result.sizes.bits_per_weight, result.files.deploy_model)
assert_type(result, nuqconv.NuqResult)


class Own(Planner):
    def __init__(self, space: SearchSpace, objective: Objective, original: float) -> None:
        super().__init__()
        self.space = space

    def run(self, view: View) -> None:
        view.ask(self.space.uniform(), "int8")


class Bare:
    def propose(self, limit: int) -> Sequence[Proposal]:
        return ()

    def tell(self, proposal: Proposal, verdict: Verdict) -> None:
        pass

    def remaining(self) -> int:
        return 0


for strategy in ("path", Own, Bare()):
    nuqconv.auto_nuq("m.onnx", None, Evaluator(), "c.json", "r.txt", "out/m", strategy=strategy)
assert_type(module.auto_nuq("m", "w", Evaluator(), "c", "r", "s"), nuqconv.NuqResult)
assert_type(module.AutoNuqEvaluatorBase(), nuqconv.AutoNuqEvaluatorBase)
assert_type(nuqconv.compare(("m.prototxt", "w.caffemodel"), "m.onnx"), nuqconv.CompareReport)
assert_type(nuqconv.convert("m.onnx", "m.prototxt"), nuqconv.Conversion)
assert_type(nuqconv.__version__, str)
data = {"data": np.zeros((1, 2), np.float32)}
nuqconv.OnnxRuntimeEvaluator(data, labels=np.zeros(1, np.int64), max_drop=0.1)
try:
    nuqconv.save(nuqconv.load("m.onnx"), "other.onnx")
except nuqconv.errors.NuqconvError as error:
    print(error.problems)
