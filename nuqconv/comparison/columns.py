"""One side of a comparison held against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nuqconv.comparison.causes import Evidence, likely_causes
from nuqconv.comparison.measure import compare_blob, detections, worst
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence
from nuqconv.comparison.tolerance import Tolerance
from nuqconv.errors import ModelError
from nuqconv.ir import Array
from nuqconv.ir.ops import DetectionOutput, Quantize
from nuqconv.runtimes.loaded import Side, check_inputs

__all__ = ["Comparison"]


class Comparison:
    """Two sides with the same inputs."""

    def __init__(self, one: Side, two: Side, inputs: dict[str, Array], tolerance: Tolerance) -> None:
        self.one, self.two = one, two
        self.inputs = inputs
        self.tolerance = tolerance
        self.notes = [*one.notes, *two.notes]
        # Names, places and order come from a Caffe model where there is one.
        self.guide = one if one.graph is not None or two.graph is None else two

    def report(self, source: str, blobs: Sequence[str] | None) -> CompareReport:
        """Runs both and compares what they have in common."""
        one, two = self.one, self.two
        feeds = self._feeds_of_second()
        check_inputs(one, self.inputs)
        check_inputs(two, feeds)
        names = self._common(blobs)
        if not names:
            raise ModelError(
                "the two models have no blob in common, so there is nothing to compare",
                [f"{side.label}: {', '.join(side.names[:8])}, ... ({len(side.names)})" for side in (one, two)],
            )
        self.feeds = feeds
        values = one.run(self.inputs, names), two.run(feeds, names)
        for own in values:
            own.update({name: self._plain(name, array) for name, array in own.items()})
        self.notes += [
            f"'{name}' is empty on both sides with these inputs, which proves little; give inputs of the kind that the model is for"
            for name in names
            if not values[0][name].size and not values[1][name].size
        ]
        found = {name: self._compared(name, values[0][name], values[1][name]) for name in names}
        first = None
        for name in names:
            if not found[name].agrees:
                found[name] = self._rechecked(name, values, found[name])
            if not found[name].agrees:
                first = self._diverged(name, values, found)
                break
        missing = {
            name: self._why_not(name)
            for name in (one.outputs if blobs is None else blobs)
            if name not in found and name not in self.inputs
        }
        order = [name for name in self._order() if name in found]
        return CompareReport(
            (one.label, two.label),
            {name: tuple(array.shape) for name, array in self.inputs.items()},
            source,
            self.tolerance.rtol,
            self.tolerance.atol,
            tuple(found[name] for name in order),
            first,
            missing,
            tuple(self.notes),
        )

    def _feeds_of_second(self) -> dict[str, Array]:
        """Inputs by the second model's names; other names are matched by position where shapes allow only that."""
        two = self.two
        if set(self.inputs) == set(two.inputs) or len(self.inputs) != len(two.inputs):
            return self.inputs
        feeds = dict(zip(two.inputs, self.inputs.values(), strict=True))
        pairs = ", ".join(f"'{ours}' is '{theirs}'" for ours, theirs in zip(self.inputs, two.inputs, strict=True))
        self.notes.append(f"inputs are called otherwise on the second side and are matched by position: {pairs}")
        return feeds

    def _plain(self, name: str, array: Array) -> Array:
        """Takes out what runtimes write in their own way without meaning anything else by it."""
        node = None if self.guide.graph is None else self.guide.graph.producer.get(name)
        if node is not None and isinstance(node.op, Quantize) and array.dtype == np.uint8:
            return array.astype(np.float32) - (128 + node.op.offset)
        if node is not None and isinstance(node.op, DetectionOutput) and array.shape[-1:] == (7,):
            return detections(array)
        return array

    def _order(self) -> tuple[str, ...]:
        graph = self.guide.graph
        return self.guide.names if graph is None else tuple(name for node in graph.nodes for name in node.outputs)

    def _common(self, blobs: Sequence[str] | None) -> list[str]:
        wanted = None if blobs is None else set(blobs)
        theirs = set(self.two.names) & set(self.one.names)
        return [name for name in self._order() if name in theirs and (wanted is None or name in wanted)]

    def _why_not(self, name: str) -> str:
        for side in (self.one, self.two):
            if not side.has(name):
                return f"{side.label} does not give it"
        return "it is made by no layer"

    def _compared(self, name: str, a: Array, b: Array) -> BlobComparison:
        layer, kind = self.guide.layer(name)
        return compare_blob(name, layer, kind, a, b, self.tolerance)

    def _rechecked(
        self, name: str, values: tuple[dict[str, Array], dict[str, Array]], before: BlobComparison
    ) -> BlobComparison:
        """Takes the value from the moment at which its layer has run, where a runtime overwrites memory later."""
        changed = False
        for side, feeds, own in ((self.one, self.inputs, values[0]), (self.two, self.feeds, values[1])):
            exact = side.exact(feeds, name)
            if exact is not None and not np.array_equal(exact, own[name], equal_nan=True):
                own[name], changed = exact, True
        if changed:
            self.notes.append(f"blob '{name}' is overwritten in memory that it shares; compared is what its layer made")
            return self._compared(name, values[0][name], values[1][name])
        return before

    def _diverged(
        self, name: str, values: tuple[dict[str, Array], dict[str, Array]], found: dict[str, BlobComparison]
    ) -> Divergence:
        """Narrows the difference down to one layer, among those that write the blob in place, and explains it."""
        graph = self.guide.graph
        states = [] if graph is None else [state for state, blob in graph.storage.items() if blob == name]
        states = [state for state in states if state not in found and self.one.has(state) and self.two.has(state)]
        if states:
            values[0].update(self.one.run(self.inputs, states))
            values[1].update(self.two.run(self.feeds, states))
        for state in states:
            found[state] = self._compared(state, values[0][state], values[1][state])
        culprit = next((item for item in (*states, name) if not found[item].agrees), name)
        item = found[culprit]
        a, b = values[0][culprit], values[1][culprit]
        at = worst(a, b)
        evidence = self._evidence(culprit, values)
        node = evidence.node
        return Divergence(
            item.layer,
            item.layer_type,
            culprit,
            str(node.origin) if node is not None and node.origin is not None else f"{self.guide.label}: '{item.layer}'",
            node.op.describe() if node is not None else "",
            None if at is None else at[0],
            None if at is None else at[1],
            likely_causes(evidence),
            self._suspects(culprit, found),
        )

    def _evidence(self, name: str, values: tuple[dict[str, Array], dict[str, Array]]) -> Evidence:
        graph = self.guide.graph
        node = None if graph is None else graph.producer.get(name)
        layer, kind = self.guide.layer(name)
        other = self.two.graph if self.guide is self.one else self.one.graph
        inputs: tuple[list[Array | None], list[Array | None]] = ([], [])
        states: dict[str, Array] = {}
        if graph is not None and node is not None:
            for number, (side, feeds) in enumerate(((self.one, self.inputs), (self.two, self.feeds))):
                inputs[number].extend(self._value(side, feeds, item, values[number]) for item in node.inputs)
            blob = graph.storage_name(name)
            for state in (state for state, stored in graph.storage.items() if stored == blob and state != name):
                for side, feeds, own in ((self.one, self.inputs, values[0]), (self.two, self.feeds, values[1])):
                    value = self._value(side, feeds, state, own)
                    if value is not None:
                        states.setdefault(graph.producer[state].name if state in graph.producer else "input", value)
        return Evidence(
            node,
            kind,
            values[0][name],
            values[1][name],
            None if other is None or other is graph else other.node.get(layer),
            *inputs,
            self.one.parameters(layer),
            self.two.parameters(layer),
            states,
            self.tolerance,
        )

    @staticmethod
    def _value(side: Side, feeds: Mapping[str, Array], name: str, known: Mapping[str, Array]) -> Array | None:
        if name in known:
            return known[name]
        graph = side.graph
        fed = name if graph is None else graph.storage_name(name)
        if name not in side.names and fed in feeds and (graph is None or name not in graph.producer):
            return feeds[fed]
        return side.run(feeds, [name])[name] if side.has(name) else None

    def _suspects(self, name: str, found: Mapping[str, BlobComparison]) -> tuple[str, ...]:
        """Layers before a value that no comparison stands between."""
        graph = self.guide.graph
        if graph is None or name not in graph.producer:
            return ()
        waiting, seen = list(graph.producer[name].inputs), set[str]()
        while waiting:
            value = waiting.pop()
            maker = graph.producer.get(value)
            if maker is None or value in found or maker.name in seen:
                continue
            seen.add(maker.name)
            waiting.extend(maker.inputs)
        return tuple(node.name for node in graph.nodes if node.name in seen)
