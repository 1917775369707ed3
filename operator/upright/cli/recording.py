"""Recorded metrics: what each pod of each version counted in each interval."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from upright.analysis import Counts, Histogram, Look, Moments
from upright.analysis.looks import Bools, Floats, Ints, Measurement

WHOLE = ""  # the pod of what names none


class Kind(Enum):
    """What was counted of a metric; the value names the columns of a file."""

    COUNTS = ("total", "bad")
    HISTOGRAM = ("le", "count")
    MOMENTS = ("number", "sum", "sumsq")

    def __str__(self) -> str:
        return f"{', '.join(self.value[:-1])} and {self.value[-1]}"


@dataclass(frozen=True)
class Recorded:
    """One metric, as cells: what one pod counted in one interval. The first axis of every array is the cell.

    Attributes:
        kind: what was counted.
        edges: the bounds between the buckets of a histogram.
        times: the end of the interval, in seconds.
        canary: whether the pod is the canary's, else it is stable's.
        pods: by name.
        counts: (total, bad), or the count of each bucket, or (number, sum, sum of squares).
        cumulative: whether a histogram stood in its file as counts that rise with `le`.
    """

    kind: Kind
    edges: tuple[float, ...]
    times: Floats
    canary: Bools
    pods: NDArray[np.str_]
    counts: Floats
    cumulative: bool = False

    def only(self, chosen: Bools | Ints) -> "Recorded":
        """The chosen cells, in the order in which they are chosen."""
        return replace(
            self,
            times=self.times[chosen],
            canary=self.canary[chosen],
            pods=self.pods[chosen],
            counts=self.counts[chosen],
        )

    def measurement(self, canary: Floats, stable: Floats) -> Measurement:
        """Counts of two arms, with the parts along their last axis, as the analysis takes them."""
        if self.kind is Kind.HISTOGRAM:
            return Histogram(canary, stable, self.edges)
        if self.kind is Kind.MOMENTS:
            return Moments(
                (canary[..., 0], canary[..., 1], canary[..., 2]), (stable[..., 0], stable[..., 1], stable[..., 2])
            )
        return Counts((canary[..., 0], canary[..., 1]), (stable[..., 0], stable[..., 1]))

    def measurements(self, look: Ints, canary: Bools, looks: int) -> list[Measurement | None]:
        """The cells summed by look and arm, as the arguments assign them; None for a look without any."""
        sums = np.zeros((looks, 2, self.counts.shape[1]))
        np.add.at(sums, (look, 1 - canary.astype(np.int64)), self.counts)
        found = np.bincount(look, minlength=looks) > 0
        return [self.measurement(*arms) if there else None for arms, there in zip(sums, found.tolist(), strict=True)]


@dataclass(frozen=True)
class Recording:
    """The metrics by name."""

    metrics: Mapping[str, Recorded]

    @cached_property
    def times(self) -> Floats:
        """The times of the looks, rising."""
        return np.unique(np.concatenate([recorded.times for recorded in self.metrics.values()]))

    def looks(self) -> Iterator[Look]:
        """The looks, in order."""
        measured = {
            name: recorded.measurements(np.searchsorted(self.times, recorded.times), recorded.canary, len(self.times))
            for name, recorded in self.metrics.items()
        }
        halves = {name: self._halves(recorded) for name, recorded in self.metrics.items()}
        return looks(self.times, measured, halves)

    @property
    def has_canary(self) -> bool:
        """Whether anything was recorded of it."""
        return any(recorded.canary.any() for recorded in self.metrics.values())

    @property
    def names_pods(self) -> bool:
        """Whether what counted is told by pod, as a rollout knows it."""
        return any((recorded.pods != WHOLE).any() for recorded in self.metrics.values())

    def _halves(self, recorded: Recorded) -> list[Measurement | None]:
        """The stable version's cells by each second of its pods in a look and the others, as `increase` has them; None
        for a look at fewer than two.
        """
        stable = recorded.only(~recorded.canary)
        stable = stable.only(np.lexsort((stable.pods, stable.times)))
        look = np.searchsorted(self.times, stable.times)
        pods = np.bincount(look, minlength=len(self.times))
        place = np.arange(len(look)) - np.searchsorted(look, look)
        found = stable.measurements(look, place % 2 == 0, len(self.times))
        return [half if several else None for half, several in zip(found, (pods > 1).tolist(), strict=True)]


def looks(
    times: Floats,
    measured: Mapping[str, list[Measurement | None]],
    halves: Mapping[str, list[Measurement | None]] = MappingProxyType({}),
) -> Iterator[Look]:
    """The measurements of each metric, one for each time, as looks."""
    for place, time in enumerate(times.tolist()):
        found, apart = (
            {name: there for name, column in columns.items() if (there := column[place]) is not None}
            for columns in (measured, halves)
        )
        yield Look(time, found, halves=apart)
