"""Which series stand twice on a page: added up, they count twice, and evidence promises nothing any more."""

from array import array
from collections.abc import Hashable, Mapping, Sequence, Set

import numpy as np


class Duplicates:
    """Told each series, with those for which it counts: at most 64 of these in all.

    Of a series a hash of 64 bits is kept, whose key is of this process and nobody's to know: whole pages of names would
    fill the memory.
    """

    def __init__(self) -> None:
        self._series = array("q")
        self._counts_for = array("Q")
        """By series, a bit for each."""
        self._bits: dict[Hashable, int] = {}

    def add(self, name: str, labels: Mapping[str, str], of: Sequence[Hashable]) -> None:
        """A series; an empty label is as good as none."""
        said = labels.items() if "" not in labels.values() else [label for label in labels.items() if label[1]]
        self._series.append(hash((name, frozenset(said))))
        counts_for = 0
        for one in of:
            counts_for |= self._bits.setdefault(one, 1 << len(self._bits))
        self._counts_for.append(counts_for)

    def twice(self) -> Set[Hashable]:
        """Those for which one stands twice."""
        series = np.array(self._series, dtype=np.int64)
        order = np.argsort(series)
        again = order[1:][series[order[1:]] == series[order[:-1]]]
        found = np.bitwise_or.reduce(np.array(self._counts_for, dtype=np.uint64)[again])
        return {one for one, bit in self._bits.items() if int(found) & bit}
