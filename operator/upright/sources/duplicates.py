"""Which series stand twice on a page: added up, they count twice, and evidence promises nothing any more."""

from array import array
from collections.abc import Hashable, Mapping, Sequence, Set
from functools import reduce
from operator import or_

import numpy as np


class Duplicates:
    """Told each series, with those for which it counts.

    Of a series a hash of 64 bits is kept, whose key is of this process and nobody's to know: whole pages of names would
    fill the memory.
    """

    def __init__(self) -> None:
        self._series = array("q")
        self._counts_for = array("L")
        """By series, the place of those together for which it counts."""
        self._together: dict[int, int] = {}
        """These places, each by the bits of what it is made of: few series count for just the same."""
        self._bits: dict[Hashable, int] = {}

    def add(self, name: str, labels: Mapping[str, str], of: Sequence[Hashable]) -> None:
        """A series; an empty label is as good as none."""
        said = labels.items() if "" not in labels.values() else [label for label in labels.items() if label[1]]
        self._series.append(hash((name, frozenset(said))))
        counts_for = 0
        for one in of:
            counts_for |= self._bits.setdefault(one, 1 << len(self._bits))
        self._counts_for.append(self._together.setdefault(counts_for, len(self._together)))

    def twice(self) -> Set[Hashable]:
        """Those for which one stands twice."""
        series = np.array(self._series, dtype=np.int64)
        order = np.argsort(series)
        again = order[1:][series[order[1:]] == series[order[:-1]]]
        places = {*np.array(self._counts_for)[again].tolist()}
        found = reduce(or_, (bits for bits, place in self._together.items() if place in places), 0)
        return {one for one, bit in self._bits.items() if found & bit}
