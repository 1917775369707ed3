"""What a Prometheus server has shown of both versions in one comparison, and what that says: looks, as those of
`upright.sources.comparison`, but as late as its scrapes are.

Its samples are raw counters, each with the time of its scrape. A look is taken when each target has been scraped again
since the last one, and is handed out when the next one has been taken: see `upright.analysis.steadiness`.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from upright.analysis import Histogram, Look
from upright.analysis.looks import Measurement as Measured
from upright.analysis.state import NAMED
from upright.analysis.steadiness import settled
from upright.pods.reading import Pod
from upright.rollout.measuring import ArmName, Asked, Measurement, State, longest_gap
from upright.sources.page import Counters
from upright.sources.requests import has_counted
from upright.sources.servers import Scrape
from upright.sources.starts import Begun, Start, start_of_any
from upright.sources.tallied import Tallies
from upright.sources.tally import Tally
from upright.sources.unrecorded import Unrecorded

DISAGREES = "it fell although nothing was started anew, as where servers that disagree answer in turn"
_LATELY = 5
"""Looks by which it is known how long it takes until all targets are scraped again."""
_RESTARTED = 0.5
"""Of what a counter showed, which one that began again shows less of: servers that disagree differ by less."""

_Pages = Mapping[ArmName, Mapping[str, Counters]]


class Scraped(Unrecorded):
    """Fed with what a server showed at each look."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._interval = asked.interval
        self.watching = True
        """Nothing has been compared yet, as pods have to be scraped twice first."""
        self._tallies = Tallies("", DISAGREES, lasting=False)
        self._begun = Begun(asked)
        self._first: datetime | None = None
        """When the first look was taken."""
        self._looked: deque[float] = deque(maxlen=_LATELY)
        """When looks were taken lately, as they are timed."""
        self._scraped: dict[str, tuple[float, float]] = {}
        """By target, when it was scraped last, and when that was seen."""
        self._taken: dict[str, float] = {}
        """By target, when it had been scraped last at the last look that was taken."""
        self._starts: dict[str, Start] = {}
        """Of pods, by name."""
        self._started_anew: set[str] = set()
        """Pods of which a container was, and whose counters have not shown it yet."""
        self._counting: set[str] = set()
        """Targets of the candidate that have counted anything."""
        self._shown: dict[str, Counters] = {}
        """By target, what it showed last."""
        self._requests: dict[ArmName, float] = dict.fromkeys(asked.pods, 0.0)
        self._before: Look | None = None
        self._waiting: Look | None = None
        """The last look that was taken, which waits for the next one, and the one before it."""

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """By metric, why the newest look says nothing of it, and what to do; by nothing, why nothing is compared."""
        return self._why_full() or ({} if self.watching else self._tallies.unmeasured)

    @property
    def behind(self) -> timedelta:
        """See `Reading`. What was scraped is of nothing before a moment after two scrapes at most; that has to be seen,
        and waits for a further look: four times in all what passes from a look to the next.
        """
        gaps = [later - earlier for earlier, later in pairwise([*self._looked, self._time])]
        longest = min(max(gaps, default=0.0), longest_gap(self._interval))
        return 4 * max(timedelta(seconds=longest), self._interval) - 2 * self._interval

    def watch(self, asked: Asked) -> None:
        """Take up what is asked from now on."""
        self._interval = asked.interval
        if asked.policy.fingerprint != self._policy:
            self._before = self._waiting = None
        super().watch(asked)

    def to_read(self, asked: Asked) -> Sequence[Pod]:  # noqa: ARG002 - others read pods
        """None: the server is asked, and not the pods."""
        return ()

    def take(self, asked: Asked, scrape: Scrape, now: datetime) -> bool:
        """Take a look, if each target has been scraped again. Returns whether there is anything new to say."""
        before, waiting = (self.arms, self.unmeasured, self.watching), len(self.looks)
        first = self._first = self._first or now
        if self._pass_time(asked, now):
            self._before = self._waiting = None
            self._looked.clear()
            self._scraped = {target: (at, min(seen, self._time)) for target, (at, seen) in self._scraped.items()}
        self._begun.see(asked, now)
        gap = longest_gap(asked.interval)
        self.watching = self.watching and now.timestamp() - first.timestamp() <= gap
        if scrape.trouble:
            self.arms = {arm: self._said(arm, "Unreadable", scrape.trouble) for arm in asked.pods}
        elif (pages := self._scraped_again(scrape, gap)) is not None:
            self._looked.append(self._time)
            self._see_restarts(asked, pages)
            tallied = self._tallies.take(asked, self._time, self._begun.since, pages, proven=True)
            measured, left_out, early = tallied.measured, tallied.left_out, tallied.early
            self.watching = self.watching and not measured
            self.arms = {arm: self._measured(arm, of, measured) for arm, of in pages.items()}
            if measured or (left_out and not early):
                named = dict(sorted(left_out.items())[:NAMED])
                self._counting |= {target for target, page in pages["canary"].items() if has_counted(page)}
                self._counting &= pages["canary"].keys()
                pods = len(self._counting)
                look = Look(self._time, measured, named, early, pods, tallied.halves, tallied.since)
                self._hand_out(asked, look)
        return len(self.looks) > waiting or before != (self.arms, self.unmeasured, self.watching)

    def _scraped_again(self, scrape: Scrape, gap: float) -> _Pages | None:
        """What the targets show, those of them that have not been scraped for too long with that; None when one of the
        others has not been since the last look.
        """
        pages: dict[ArmName, dict[str, dict[str, Tally | str]]] = {arm: {} for arm in scrape.arms}
        at: dict[str, float] = {}
        for arm, metrics in scrape.arms.items():
            for metric, targets in metrics.items():
                for target, shown in targets.items():
                    pages[arm].setdefault(target, {})[metric] = shown.tally
                    if shown.at is not None:
                        at[target] = max(at.get(target, -math.inf), shown.at)
        known = {target: self._scraped.get(target, (-math.inf, 0.0)) for target in at}
        self._scraped = {
            target: known[target] if time <= known[target][0] else (time, self._time) for target, time in at.items()
        }
        ages = {target: self._time - seen for target, (_, seen) in self._scraped.items()}
        if any(ages[target] <= gap and time <= self._taken.get(target, -math.inf) for target, time in at.items()):
            return None
        self._taken = at
        for of in pages.values():
            for target in of.keys() & {target for target, age in ages.items() if age > gap}:
                of[target] = dict.fromkeys(of[target], _not_scraped(ages[target]))
        return {
            arm: {target: Counters(0, 0, 0, tallies=tallies, counts_requests=False) for target, tallies in of.items()}
            for arm, of in pages.items()
        }

    def _see_restarts(self, asked: Asked, pages: _Pages) -> None:
        """A counter that fell has begun again with a container of its pod. Of targets that are none of the version's
        pods nothing else is known: one that shows much less than before has.
        """
        starts = {pod.name: start_of_any(pod) for of in asked.pods.values() for pod in of}
        self._started_anew |= {pod for pod, start in starts.items() if self._starts.get(pod, start) != start}
        self._started_anew &= starts.keys()
        self._starts = starts
        shown = {target: page for of in pages.values() for target, page in of.items()}
        self._tallies.forget_all_but(shown.keys())
        for target, page in shown.items():
            if not self._tallies.falls(target, page):
                continue
            if target in self._started_anew or (target not in starts and _began_again(self._shown.get(target), page)):
                self._started_anew.discard(target)
                self._tallies.begin_from(target, _NOTHING)
        self._shown = shown

    def _measured(self, arm: ArmName, pages: Mapping[str, Counters], measured: Mapping[str, Measured]) -> Measurement:
        tallies = [tally for page in pages.values() for tally in page.tallies.values()]
        if not any(isinstance(tally, Tally) for tally in tallies):
            why = next(iter(self._tallies.unmeasured.values()), "")
            return self._said(arm, "Unreadable" if tallies and why and not self.watching else "Unknown", why)
        added = max((_events(one, arm) for one in measured.values()), default=0.0)
        self._requests[arm] += added
        counted = added > 0 or (not measured and arm in self.arms and self.arms[arm].state == "Counted")
        return self._said(arm, "Counted" if counted else "NoRequests")

    def _said(self, arm: ArmName, state: State, message: str = "") -> Measurement:
        known = None if self._tallies.unmeasured else self._requests[arm]
        return Measurement(state, message if state == "Unreadable" else "", requests=known)

    def _hand_out(self, asked: Asked, look: Look) -> None:
        """The look before this one. Where the stable version's rate changes about it, its targets tell of no
        dispersion.
        """
        before, waiting = self._before, self._waiting
        self._before, self._waiting = waiting, look
        if waiting is None:
            return
        neighbours = [one.measurements for one in (before, look) if one is not None]
        told = {
            metric.name: settled(
                waiting.measurements[metric.name],
                [of[metric.name] for of in neighbours if metric.name in of],
                metric.dispersion or 1.0,
            )
            for metric in asked.policy.metrics
            if metric.name in waiting.measurements
        }
        halves = {name: of for name, of in waiting.halves.items() if told.get(name) is waiting.measurements.get(name)}
        self._add(asked, replace(waiting, measurements=told, halves=halves))


_NOTHING = Counters(0, 0, 0, counts_requests=False)


def _not_scraped(seconds: float) -> str:
    return (
        f"the server has no sample of it that is newer than {seconds:.0f}s: it scrapes it no more, or more seldom than "
        "four times monitoring.interval"
    )


def _began_again(before: Counters | None, page: Counters) -> bool:
    """Whether every counter that fell shows less than the _RESTARTED part."""
    pairs = [(before.tallies.get(name), tally) for name, tally in page.tallies.items()] if before else []
    return all(
        tally.total <= _RESTARTED * old.total
        for old, tally in pairs
        if isinstance(old, Tally) and isinstance(tally, Tally) and old.falls_to(tally) and old.total > tally.total
    )


def _events(measured: Measured, arm: ArmName) -> float:
    counted: Any = measured.canary if arm == "canary" else measured.stable
    if counted is None:
        return 0.0
    return float(sum(counted) if isinstance(measured, Histogram) else counted[0])
