"""What a page of metrics counts of one that a user selects, whatever its exporter."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from upright.analysis.counters import fell
from upright.analysis.looks import INFINITE
from upright.sources.selectors import Selected, Selector

MOST_EDGES = 256
"""Buckets of one histogram."""
_COUNTERS = frozenset({"counter", "histogram", "summary", "unknown", "untyped"})
"""What a page may call that which only rises."""


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

    def counters(self, edges: Sequence[float] | None) -> tuple[float, ...]:
        """All events, and the bad ones, or those in each bucket between some of its edges."""
        if edges is None:
            return self.total, self.bad
        rising = [0.0, *((self.upto or {}).get(edge, 0.0) for edge in edges), self.total]
        return self.total, *(high - low for low, high in pairwise(rising))

    def falls_to(self, later: "Tally") -> bool:
        """Whether any of its counters shows less later."""
        upto, of_later = self.upto or {}, later.upto or {}
        return (
            fell(self.total, later.total)
            or fell(self.bad, later.bad)
            or any(fell(upto[edge], of_later[edge]) for edge in upto.keys() & of_later.keys())
        )


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


class Counting:
    """Adds up the samples of one metric, as they are read."""

    def __init__(self, selected: Selected) -> None:
        self._selected = selected
        self._known: set[str] = set()
        """Families that the page has, or declares."""
        self._types: dict[str, str] = {}
        self._total, self._bad = Sum(), Sum()
        self._upto: dict[str, Sum] = defaultdict(Sum)
        self._series: dict[str, int] = defaultdict(int)
        """By edge, as it is written, how many series have one such bucket."""

    @property
    def families(self) -> frozenset[str]:
        """The names that its samples have."""
        selectors = (self._selected.total, self._selected.bad)
        return frozenset(selector.name for selector in selectors if selector)

    def declare(self, family: str, type: str) -> None:
        """The page says of what type one of the families is; empty when it only describes it."""
        self._known.add(family)
        if type:
            self._types[family] = type

    def add(self, family: str, labels: Mapping[str, str], value: float) -> None:
        """A sample of one of the families."""
        self._known.add(family)
        total, bad = self._selected.total, self._selected.bad
        if _means(total, family, labels):
            if bad is not None:
                self._total.add(value)
            elif len(self._upto) <= MOST_EDGES:
                self._upto[labels.get("le", "")].add(value)
                self._series[labels.get("le", "")] += 1
        if bad is not None and _means(bad, family, labels):
            self._bad.add(value)

    def tally(self) -> Tally | str:
        """What the whole page counts, or why that cannot be said: "its page of metrics ..."."""
        total, bad = self._selected.total, self._selected.bad
        for selector in filter(None, (total, bad)):
            if (kind := self._types.get(selector.name, "counter")) not in _COUNTERS:
                return f"its page of metrics says that {selector.name} is a {kind}, where a counter was expected"
        if total.name not in self._known:
            return f"its page of metrics has no {total.text}"
        if bad is None:
            return self._histogram(total.text) if self._upto else Tally(0.0, upto={})
        return Tally(self._total.value, self._bad.value, knows_bad=bad.name in self._known)

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
        total = rising.pop(math.inf)
        if not rising:
            return f"its page of metrics has no bucket of {name} but +Inf"
        return Tally(total, upto=rising)


def _edge(text: str) -> float:
    """Raises ValueError for what is no upper bound."""
    edge = float(text)
    if not edge > -math.inf:
        raise ValueError(text)
    return edge


def _means(selector: Selector, family: str, labels: Mapping[str, str]) -> bool:
    return selector.name == family and selector.selects(labels)
