"""A policy replayed on recorded looks, and on random splits of the stable version's own history. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import numpy as np
from numpy.random import Generator

from upright.analysis import (
    Counts,
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
from upright.analysis.looks import Floats, Measurement
from upright.cli.recording import WHOLE, Cell, Recording

Item = TypeVar("Item")


class Each(Protocol):
    """Wraps an iteration, for a progress bar."""

    def __call__(self, items: Sequence[Item], /) -> Iterable[Item]:
        """The same items."""


@dataclass(frozen=True)
class Replay:
    """What a policy would have done.

    `verdicts` has one for every look of the rollout, also after the decision; `decided` is the place of the first that
    is not Continue.
    """

    policy: Policy
    dispersion: Mapping[str, float]
    times: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    decided: int | None

    @property
    def last(self) -> Verdict:
        """The verdict that counts: the first decision, or how it stands at the end."""
        return self.verdicts[-1 if self.decided is None else self.decided]


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


def with_recorded_interval(policy: Policy, recording: Recording) -> Policy:
    """The policy with the interval at which the looks were recorded, where it is another."""
    gaps = np.diff(recording.times)
    if not gaps.size:
        return policy
    recorded = float(np.median(gaps))
    if abs(recorded - policy.interval.total_seconds()) <= 0.05 * recorded:
        return policy
    horizon = max(policy.horizon, timedelta(seconds=recorded))
    return policy.model_copy(update={"interval": timedelta(seconds=recorded), "horizon": horizon})


def replay(policy: Policy, recording: Recording, each: Each) -> Replay:
    """Replay the policy. Looks before the canary's first traffic are history."""
    dispersion = estimate_dispersion(policy, self_comparison(recording))
    looks = list(recording.looks())
    start = next((place for place, look in enumerate(looks) if _has_canary(look)), len(looks))
    state = begin(policy, history=looks[:start], dispersion=dispersion)
    verdicts = []
    for look in each(looks[start:]):
        state = update(policy, state, look)
        verdicts.append(verdict(policy, state))
    decided = next((place for place, said in enumerate(verdicts) if said.decision is not Decision.CONTINUE), None)
    return Replay(policy, dispersion, tuple(look.time for look in looks[start:]), tuple(verdicts), decided)


def self_comparison(recording: Recording) -> Iterator[Look]:
    """Looks that compare one half of the stable pods with the other; without pods, each look with the next."""
    names, units = _stable_units(recording)
    for time, cells in units:
        first = {name: [cell for place, cell in column if place % 2 == 0] for name, column in cells.items()}
        second = {name: [cell for place, cell in column if place % 2 == 1] for name, column in cells.items()}
        yield Look(time, _compared(names, first, second))


def null_splits(
    policy: Policy, recording: Recording, dispersion: Mapping[str, float], splits: int, rng: Generator, each: Each
) -> NullSplits | None:
    """Compare random parts of the stable version with the rest; None when fewer than two looks can be split.

    The stable version's history is cut into windows as long as a rollout, and each gets its share of the splits.
    With pods, each split is a set of pods that stays a whole run. Without, each look is compared with the one after it,
    and which of the two plays the canary is drawn anew for every pair, so that bursts stay whole.
    """
    names, found = _stable_units(recording)
    units = list(found)
    pods = recording.pods("stable")
    if len(units) < 2:
        return None
    length = min(policy.planned_looks, len(units))
    windows = [units[start : start + length] for start in range(0, len(units) - length + 1, length)]
    runs = max(2, splits // len(windows))
    hits = 0
    for window in each(windows):
        state = begin(policy, dispersion=dispersion)
        chosen = _random_parts(rng, runs, len(pods)) if len(pods) > 1 else None
        for time, cells in window:
            parts = _random_parts(rng, runs, 2) if chosen is None else chosen
            split = {name: part for name in names if (part := _split(cells[name], parts)) is not None}
            state = update(policy, state, Look(time, split))
        hits += int((np.asarray(verdict(policy, state).decision) == str(Decision.ROLLBACK)).sum())
    runs *= len(windows)
    low, high = _wilson(hits, runs)
    return NullSplits(hits, runs, low, high, length, f"{len(pods)} pods" if len(pods) > 1 else "pairs of looks")


Column = Sequence[tuple[int, Cell]]  # the unit's place, and what it counted


def _stable_units(recording: Recording) -> tuple[list[str], Iterator[tuple[float, dict[str, Column]]]]:
    """The metrics, and for each comparison its time and by metric the cells of its units."""
    names, pods = recording.metrics(), recording.pods("stable")
    if len(pods) > 1:
        return names, (
            (
                time,
                {
                    name: [
                        (place, recording.cells[key])
                        for place, pod in enumerate(pods)
                        if (key := (time, "stable", name, pod)) in recording.cells
                    ]
                    for name in names
                },
            )
            for time in recording.times
        )
    pod = pods[0] if pods else WHOLE
    times = [time for time in recording.times if any((time, "stable", name, pod) in recording.cells for name in names)]
    return names, (
        (
            pair[1],
            {
                name: [
                    (place, recording.cells[key])
                    for place, time in enumerate(pair)
                    if (key := (time, "stable", name, pod)) in recording.cells
                ]
                for name in names
            },
        )
        for pair in zip(times[::2], times[1::2], strict=False)
    )


def _compared(
    names: Sequence[str], first: Mapping[str, Sequence[Cell]], second: Mapping[str, Sequence[Cell]]
) -> dict[str, Measurement]:
    found = {}
    for name in names:
        ones = np.ones((1, 1))
        column = [(0, cell) for cell in first[name]] + [(1, cell) for cell in second[name]]
        split = _split(column, np.concatenate((ones, 0 * ones), axis=1)) if column else None
        if split is not None:
            found[name] = split
    return found


def _split(column: Column, parts: Floats) -> Measurement | None:
    """The cells split: `parts` of shape (runs, units) is 1 where a unit plays the canary."""
    kinds = {cell.edges for _, cell in column}
    if len(kinds) != 1:
        return None
    (edges,) = kinds
    counts = np.stack([cell.counts for _, cell in column])
    canary = parts[:, [place for place, _ in column]] @ counts
    stable = counts.sum(axis=0) - canary
    if edges is not None:
        return Histogram(canary, stable, edges)
    return Counts((canary[:, 0], canary[:, 1]), (stable[:, 0], stable[:, 1]))


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
