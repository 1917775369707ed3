"""A policy replayed on recorded looks, and on splits of the stable version's own history. Pure."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import numpy as np
from numpy.random import Generator

from upright.analysis import (
    Decision,
    Histogram,
    Look,
    Policy,
    Verdict,
    begin,
    estimate_dispersion,
    update,
    verdict,
)
from upright.analysis.engine import combined_evidence, reported
from upright.analysis.looks import Floats, Ints
from upright.cli.recording import Recorded, Recording, looks

Item = TypeVar("Item")
TOGETHER = "all together"
BATCH = 1000  # splits at once, for which 14 bucket edges take some tens of megabytes


class Each(Protocol):
    """Wraps an iteration, for a progress bar."""

    def __call__(self, items: Sequence[Item], /) -> Iterable[Item]:
        """The same items."""


@dataclass(frozen=True)
class Replay:
    """What a policy would have done.

    `verdicts` has one for every look, also after the decision, and `combined` the evidence of all metrics then.
    `decided` is the place of the rollback, when there is one before the horizon ends, and else of the first verdict
    that is not Continue: a Deployment goes through all its steps, also when its candidate is shown to be good in the
    first.
    """

    policy: Policy
    dispersion: Mapping[str, float]  # that was estimated beforehand
    times: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    combined: tuple[float, ...]
    decided: int | None

    @property
    def last(self) -> Verdict:
        """The verdict that counts: the first decision, or how it stands at the end."""
        return self.verdicts[-1 if self.decided is None else self.decided]

    def after(self, time: float) -> timedelta:
        """How long the canary had had traffic at the end of a look."""
        return timedelta(seconds=time - self.times[0]) + self.policy.interval

    @property
    def evidence(self) -> dict[str, list[float]]:
        """The evidence at each look by metric and, of several metrics, of all together, which is what decides."""
        metrics = self.policy.metrics
        found = {
            metric.name: [said.metrics[place].evidence for said in self.verdicts]
            for place, metric in enumerate(metrics)
        }
        return found | {TOGETHER: list(self.combined)} if len(metrics) > 1 else found


@dataclass(frozen=True)
class NullSplits:
    """How often the policy rolls the stable version back when it is compared with itself.

    `low` and `high` are Wilson's 95 % interval; `by` says what was split.
    """

    rolled_back: int
    splits: int
    low: float
    high: float
    looks: int
    by: str
    windows: int
    """Parts of the history, each as long as a rollout."""


def replay(policy: Policy, recording: Recording, each: Each) -> Replay:
    """Replay the policy. Looks before the canary's first traffic are history.

    Dispersion is learned from halves of the stable pods, as in a rollout, so that both say the same of the same looks.
    Where the looks name no pods there are no halves, and it is estimated beforehand from neighbouring looks.
    """
    dispersion = _dispersion(policy, recording)
    recorded = list(recording.looks())
    start = next((place for place, look in enumerate(recorded) if _has_canary(look)), len(recorded))
    state = begin(policy, history=recorded[:start], dispersion=dispersion)
    verdicts, combined = [], []
    for look in each(recorded[start:]):
        state = update(policy, state, look)
        verdicts.append(verdict(policy, state))
        combined.append(float(reported(combined_evidence(policy, state))))
    times = tuple(look.time for look in recorded[start:])
    return Replay(policy, dispersion, times, tuple(verdicts), tuple(combined), _decided(policy, times, verdicts))


def _dispersion(policy: Policy, recording: Recording) -> Mapping[str, float]:
    return {} if recording.names_pods else estimate_dispersion(policy, neighbours(recording))


def _decided(policy: Policy, times: Sequence[float], verdicts: Sequence[Verdict]) -> int | None:
    ends = [place for place, said in enumerate(verdicts) if said.decision is not Decision.CONTINUE]
    rollout = (policy.horizon - policy.interval / 2).total_seconds()  # its last look is one interval before the horizon
    backs = [
        place for place in ends if verdicts[place].decision is Decision.ROLLBACK and times[place] - times[0] < rollout
    ]
    return min(backs or ends, default=None)


def neighbours(recording: Recording) -> Iterator[Look]:
    """Looks that compare each look at the stable version with the next."""
    units = _stable_units(recording)
    measured = {
        name: cells.measurements(units.look[name], units.unit[name] == 0, len(units.times))
        for name, cells in units.cells.items()
    }
    return looks(units.times, measured)


def null_splits(policy: Policy, recording: Recording, splits: int, rng: Generator, each: Each) -> NullSplits | None:
    """Compare parts of the stable version with the rest; None when fewer than two looks can be split.

    The stable version's history is cut into windows as long as a rollout, and each gets its share of the splits.
    With pods, each split is a set of pods that stays a whole run: a random one or, where there are no more, each once.
    Without, each look is compared with the one after it, and which of the two plays the canary is drawn anew for every
    pair, so that bursts stay whole.
    """
    units, dispersion = _stable_units(recording), _dispersion(policy, recording)
    if len(units.times) < 2:
        return None
    length = min(policy.planned_looks, len(units.times))
    starts = range(0, len(units.times) - length + 1, length)
    runs = max(2, splits // len(starts))
    every = _every_part(units.pods) if 1 < math.comb(units.pods, units.pods // 2) <= runs else None
    if every is not None:
        runs = len(every)
    parts = [(start, batch) for start in starts for batch in _batches(runs)]
    hits = 0
    for start, batch in each(parts):
        size = batch.stop - batch.start
        state = begin(policy, dispersion=dispersion)
        chosen = None if units.pods == 1 else _random_parts(rng, size, units.pods) if every is None else every[batch]
        for look in range(start, start + length):
            canary = _random_parts(rng, size, 2) if chosen is None else chosen
            state = update(policy, state, _split(units, look, canary))
        hits += int((np.asarray(verdict(policy, state, ends=False).decision) == str(Decision.ROLLBACK)).sum())
    runs *= len(starts)
    low, high = _wilson(hits, runs)
    by = "pairs of looks" if units.pods == 1 else f"{'random' if every is None else 'all'} halves of {units.pods} pods"
    return NullSplits(hits, runs, low, high, length, by, len(starts))


@dataclass(frozen=True)
class _Units:
    """The stable version's cells, to be compared with each other: those of one look, unit against unit.

    Attributes:
        times: of the looks.
        pods: how many there are; each is a unit. With one pod the units are two looks, taken for one.
        cells: by metric, in the order of the looks.
        look: by metric, the look of each cell.
        unit: by metric, the unit of each cell.
    """

    times: Floats
    pods: int
    cells: Mapping[str, Recorded]
    look: Mapping[str, Ints]
    unit: Mapping[str, Ints]


def _stable_units(recording: Recording) -> _Units:
    stable = {name: recorded.only(~recorded.canary) for name, recorded in recording.metrics.items()}
    times = np.unique(np.concatenate([cells.times for cells in stable.values()]))
    pods = np.unique(np.concatenate([cells.pods for cells in stable.values()]))
    if len(pods) <= 1:
        paired = times[: len(times) // 2 * 2]
        stable = {name: cells.only(np.isin(cells.times, paired)) for name, cells in stable.items()}
    stable = {name: cells.only(cells.times.argsort(kind="stable")) for name, cells in stable.items()}
    look = {name: np.searchsorted(times, cells.times) for name, cells in stable.items()}
    if len(pods) > 1:
        unit = {name: np.searchsorted(pods, cells.pods) for name, cells in stable.items()}
        return _Units(times, len(pods), stable, look, unit)
    halves = {name: places // 2 for name, places in look.items()}
    return _Units(paired[1::2], 1, stable, halves, {name: places % 2 for name, places in look.items()})


def _split(units: _Units, look: int, canary: Floats) -> Look:
    """One look split: `canary` of shape (runs, units) is 1 where a unit plays the canary."""
    found, halves = {}, {}
    for name, cells in units.cells.items():
        first, last = np.searchsorted(units.look[name], (look, look + 1))
        if first < last:
            counts = cells.counts[first:last]
            of_canary = canary[:, units.unit[name][first:last]]
            rest = 1 - of_canary
            found[name] = cells.measurement(of_canary @ counts, rest @ counts)
            if units.pods > 1:  # the others by turns, as in a rollout
                half = rest * (rest.cumsum(axis=1) % 2)
                halves[name] = cells.measurement(half @ counts, (rest - half) @ counts)
    return Look(float(units.times[look]), found, halves=halves)


def _batches(runs: int) -> list[slice]:
    """The runs in parts that fit into memory, and none of which is a single run, whose state is another."""
    ends = np.linspace(0, runs, -(-runs // BATCH) + 1).round().astype(int).tolist()
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _every_part(units: int) -> Floats:
    """Every half of the units, rounded down."""
    places = np.array(list(itertools.combinations(range(units), units // 2)))
    return np.asarray((places[:, :, None] == np.arange(units)).any(axis=1), dtype=np.float64)


def _random_parts(rng: Generator, runs: int, units: int) -> Floats:
    """For each run a random half of the units, rounded down and at least one."""
    order = rng.random((runs, units)).argsort(axis=1).argsort(axis=1)
    return (order < max(1, units // 2)).astype(np.float64)


def _has_canary(look: Look) -> bool:
    for found in look.measurements.values():
        if found.canary is not None:
            arm = found.canary if isinstance(found, Histogram) else found.canary[0]
            if np.sum(np.asarray(arm)) > 0:
                return True
    return False


def _wilson(hits: int, runs: int) -> tuple[float, float]:
    z, share = 1.96, hits / runs
    middle = share + z * z / (2 * runs)
    spread = z * np.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    whole = 1 + z * z / runs
    return max(0.0, float((middle - spread) / whole)), min(1.0, float((middle + spread) / whole))
