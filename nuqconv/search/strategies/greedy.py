"""Everything at its strongest, then one layer after the other taken back."""

from __future__ import annotations

from nuqconv.search.space import FLOAT_LEVEL, SearchSpace
from nuqconv.search.strategies.base import Planner, Proposal, View

__all__ = ["GreedyRevertStrategy"]


class GreedyRevertStrategy(Planner):
    """Quantization with accuracy control as NNCF describes it (``nncf.quantize_with_accuracy_control``), with the levels of this package.

    The strongest plan comes first. If it fails, each layer is ranked by the metric of the strongest plan with that layer alone taken back, one
    evaluation each (NNCF ranks on a subset of the data; here an evaluation is an evaluation). Then layers are taken back in that order, one more
    with each evaluation, until a plan is accepted. Taking back goes to int8 first; if all layers are at int8 and that fails, it goes on to
    float, ranked again. Whether more or less is better in a metric is not known, so layers are ranked by how far their metric is from that of
    the plan that they are taken back from, the farthest first.

    Args:
        space: What to choose from.
        max_layers: How many layers may have a codebook, those that save the most with one; None for any number.
    """

    def __init__(self, space: SearchSpace, max_layers: int | None = None) -> None:
        super().__init__()
        self._space = space
        limits = space.few_codebooks(space.uniform(), {}, max_layers)
        self._strongest = tuple(min(level, limits.get(index, level)) for index, level in enumerate(space.smallest()))

    def run(self, view: View) -> None:
        """Go through the search; see `Planner.run`."""
        space = self._space
        levels = self._strongest
        view.expect(2 * len(space) + 1)
        reference = view.ask(levels, "every layer at its strongest", 0.2)
        if reference.accepted:
            return
        for target, form in ((0, "int8"), (FLOAT_LEVEL, "float")):
            left = [index for index, level in enumerate(levels) if level > target]
            trials = [
                Proposal(
                    _with(levels, index, target), f"only {space.layers[index].name} in {form}, to see what that changes"
                )
                for index in left
            ]
            verdicts = view.ask_all(trials)
            influence = [abs(verdict.metric - reference.metric) for verdict in verdicts]
            order = sorted(range(len(left)), key=lambda place: (-influence[place], place))
            for done, place in enumerate(order, 1):
                levels = _with(levels, left[place], target)
                step = f"{done} of {len(left)} layers in {form}, the last {space.layers[left[place]].name}"
                reference = view.ask(levels, step, 0.2)
                if reference.accepted:
                    return


def _with(levels: tuple[int, ...], index: int, level: int) -> tuple[int, ...]:
    return (*levels[:index], level, *levels[index + 1 :])
