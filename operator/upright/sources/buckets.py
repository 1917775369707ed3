"""The buckets of a histogram. Every pod of a rollout may have many, and they are kept from look to look."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress

from upright.analysis.counters import fell


class Buckets(Mapping[float, float]):
    """How many events were at most as much as each edge, in 16 bytes for each.

    Args:
        upto: the same; the edges rise.
    """

    def __init__(self, upto: Mapping[float, float]) -> None:
        self._edges = array("d", upto.keys())
        self._counts = array("d", upto.values())

    def __getitem__(self, edge: float) -> float:
        place = bisect_left(self._edges, edge)
        if place == len(self._edges) or self._edges[place] != edge:
            raise KeyError(edge)
        return self._counts[place]

    def __iter__(self) -> Iterator[float]:
        return iter(self._edges)

    def __len__(self) -> int:
        return len(self._edges)

    def __repr__(self) -> str:
        return f"Buckets({dict(zip(self._edges, self._counts, strict=True))})"

    def at(self, edges: Sequence[float]) -> Sequence[float]:
        """The counts at some edges, 0 where there is no such bucket."""
        by_edge = dict(zip(self._edges, self._counts, strict=True))
        return [by_edge.get(edge, 0.0) for edge in edges]

    def fall_to(self, later: "Buckets") -> bool:
        """Whether one with the same edge shows less later."""
        if self._edges == later._edges:
            return any(map(fell, self._counts, later._counts))
        there = set(later._edges)
        common = [edge in there for edge in self._edges]
        return any(map(fell, compress(self._counts, common), later.at(list(compress(self._edges, common)))))
