"""Finds the strongest quantization that the user's evaluator accepts. Knows plans and numbers; no files, no Caffe, no ONNX."""

from __future__ import annotations

from nuqconv.search.evaluator import AutoNuqEvaluatorBase, CheckedEvaluator
from nuqconv.search.metrics import output_error, sqnr_db, top1, topk
from nuqconv.search.objective import NearestMetric, Objective, SmallestBytes
from nuqconv.search.pending import Submit
from nuqconv.search.run import DEFAULT_MAX_EVALUATIONS, run_search
from nuqconv.search.space import FLOAT_LEVEL, LayerSpace, Levels, Move, Option, SearchSpace
from nuqconv.search.strategies import PathStrategy, Proposal, Strategy, Verdict
from nuqconv.search.trial import (
    Measured,
    Progress,
    SearchOutcome,
    StopReason,
    Trial,
    TrialJournal,
)

__all__ = [
    "DEFAULT_MAX_EVALUATIONS",
    "FLOAT_LEVEL",
    "AutoNuqEvaluatorBase",
    "CheckedEvaluator",
    "LayerSpace",
    "Levels",
    "Measured",
    "Move",
    "NearestMetric",
    "Objective",
    "Option",
    "PathStrategy",
    "Progress",
    "Proposal",
    "SearchOutcome",
    "SearchSpace",
    "SmallestBytes",
    "StopReason",
    "Strategy",
    "Submit",
    "Trial",
    "TrialJournal",
    "Verdict",
    "output_error",
    "run_search",
    "sqnr_db",
    "top1",
    "topk",
]
