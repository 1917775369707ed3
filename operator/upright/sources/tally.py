"""What a page of metrics counts of one that a user selects, whatever its exporter."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from upright.analysis.counters import fell
from upright.analysis.looks import INFINITE
from upright.sources.buckets import Buckets
from upright.sources.selectors import Selected, Selector

MOST_EDGES = 256
"""Buckets of one histogram."""
_LONGEST_EDGE = 32
"""Characters of an edge; a number takes fewer."""


@dataclass(frozen=True)
class Tally:
    """Events of one pod since its process began; NaN where a part of a sum is no count."""

    total: float
    bad: float = 0.0
    """Always 0 of a histogram."""
    upto: Mapping[float, float] | None = None
    """Of a histogram, how many were at most as much as each finite edge of its buckets, which rise; none of one that is
    declared and has counted nothing."""
    knows_bad: bool = True
    """The page has, or declares, what counts the bad ones. One that does not may have had none yet, or count them under
    another name."""
    matches: bool = True
    """Not when there are series of that name, and none of them is one that counts: the labels may be misspelt."""

    def counters(self, edges: Sequence[float] | None) -> tuple[float, ...]:
        """All events, and the bad ones, or those in each bucket between some of its edges."""
        if edges is None:
            return self.total, self.bad
        rising = [0.0, *_buckets(self.upto).at(edges), self.total]
        return self.total, *(high - low for low, high in pairwise(rising))

    def falls_to(self, later: "Tally") -> bool:
        """Whether any of its counters shows less later."""
        return (
            fell(self.total, later.total)
            or fell(self.bad, later.bad)
            or _buckets(self.upto).fall_to(_buckets(later.upto))
        )


def _buckets(upto: Mapping[float, float] | None) -> Buckets:
    return upto if isinstance(upto, Buckets) else Buckets(upto or {})


class Sum:
    """Adds up counts exactly, so that the order of a page's lines makes no difference."""

    def __init__(self) -> None:
        self._whole = 0
        self._parts = 0
        """Of those that are not whole, in units of the smallest number that there is."""
        self._are_counts = True

    def add(self, count: float) -> None:
        """Take in one more."""
        if not 0 <= count < INFINITE:
            self._are_counts = False
        elif count.is_integer():
            self._whole += int(count)
        else:
            numerator, denominator = count.as_integer_ratio()
            self._parts += numerator << (_SMALLEST - denominator.bit_length() + 1)

    @property
    def value(self) -> float:
        """Of all, rounded once; NaN when one was no count."""
        return ((self._whole << _SMALLEST) + self._parts) / (1 << _SMALLEST) if self._are_counts else math.nan


_SMALLEST = 1074
"""The power of a half that it is."""


@dataclass(frozen=True, eq=False)
class Part:
    """What makes up a metric: all events, or the bad ones."""

    selector: Selector
    take: Callable[[Mapping[str, str], float], None]
    """What to do with the labels and the value of each sample that it selects."""


class Counting:
    """Adds up the samples of one metric, as they are read."""

    def __init__(self, selected: Selected) -> None:
        self._selected = selected
        self._total, self._bad = Sum(), Sum()
        self._upto: dict[str, Sum] = defaultdict(Sum)
        self._series: dict[str, int] = defaultdict(int)
        """By edge, as it is written, how many series have one such bucket."""
        self._has_total = False
        total, bad = selected.total, selected.bad
        self.parts: Sequence[Part] = (
            [Part(total, self._add_bucket)]
            if bad is None
            else [Part(total, self._add_total), Part(bad, lambda _, count: self._bad.add(count))]
        )

    def add(self, family: str, labels: Mapping[str, str], count: float) -> None:
        """A sample of one of the families."""
        for part in self.parts:
            if part.selector.name == family and part.selector.selects(labels):
                part.take(labels, count)

    def _add_total(self, _: Mapping[str, str], count: float) -> None:
        self._has_total = True
        self._total.add(count)

    def _add_bucket(self, labels: Mapping[str, str], count: float) -> None:
        edge = labels.get("le", "")[: _LONGEST_EDGE + 1]
        if len(self._upto) <= MOST_EDGES:
            self._upto[edge].add(count)
            self._series[edge] += 1

    def tally(self, *, has_series: bool = False, knows_bad: bool = True) -> Tally | str:
        """What all samples together count, or why that cannot be said: "its page of metrics ...".

        Args:
            has_series: there are some of the name of all events, be they selected or not.
            knows_bad: see `Tally`.
        """
        if self._selected.bad is not None:
            return Tally(self._total.value, self._bad.value, None, knows_bad, self._has_total or not has_series)
        return self._histogram(self._selected.total.text) if self._upto else Tally(0, upto={}, matches=not has_series)

    def _histogram(self, name: str) -> Tally | str:
        if "" in self._upto:
            return f"its page of metrics has {name} without le, where the buckets of a histogram were expected"
        if len(self._upto) > MOST_EDGES:
            return f"its page of metrics has more than {MOST_EDGES} buckets of {name}"
        try:
            upto = {_edge(edge): count.value for edge, count in self._upto.items()}
        except ValueError:
            return f"its page of metrics has a bucket of {name} whose le is no number"
        if math.inf not in upto:
            return f'its page of metrics has no bucket le="+Inf" of {name}'
        if len(set(self._series.values())) > 1 or len(upto) < len(self._upto):
            return f"its page of metrics has series of {name} with different buckets"
        rising = dict(sorted(upto.items()))
        if any(low > high for low, high in pairwise(rising.values())):
            return f"its page of metrics has buckets of {name} that do not rise with le"
        total, compared = rising.pop(math.inf), self._selected.edges
        if not rising:
            return f"its page of metrics has no bucket of {name} but +Inf"
        kept = Buckets({edge: count for edge, count in rising.items() if compared is None or edge in compared})
        return Tally(total, upto=kept) if kept else f"its page of metrics has no bucket of {name} that buckets names"


def _edge(text: str) -> float:
    """Raises ValueError for what is no upper bound."""
    edge = float(text)
    if not edge > -math.inf or len(text) > _LONGEST_EDGE:
        raise ValueError(text)
    return edge
