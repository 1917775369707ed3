"""What pods have counted of the metrics that a user selects, from look to look: each metric by itself, since a page may
show any two families as they were at different moments.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from upright.analysis import Counts, Histogram, Metric, MetricType
from upright.analysis.counters import NEW, STRANGE, TORN, Increase, Sample, increase
from upright.analysis.looks import Measurement
from upright.api.by_segment import GroupMetric
from upright.api.monitoring import Boundary
from upright.rollout.measuring import ArmName, Asked, longest_gap
from upright.sources.groups import Groups
from upright.sources.page import Counters
from upright.sources.remembered import Remembered
from upright.sources.selectors import Selected
from upright.sources.tally import Tally
from upright.sources.unmeasured import IN_PARTS
from upright.sources.wanted import Wanted, wanted

_UNLIKELY = 5.0
"""Bad events that a version has none of with a probability of less than a hundredth, where so many are expected."""
FELL = "it fell, and its container was not started anew, as no counter does"

_NOTHING = Tally(0.0)

_SENSELESS = {
    STRANGE: STRANGE,
    TORN: "its bad events grow by more than all events do, which must include them",
}
"""By why `increase` leaves a pod out that was not believed to have begun again, what is said of it where that lasts."""

_ByArm: TypeAlias = Mapping[ArmName, Mapping[str, Tally]]


class Added(NamedTuple):
    """What a look tells of all metrics, by metric."""

    measured: Mapping[str, Measurement]
    halves: Mapping[str, Measurement]
    """The same of the halves of the stable version's pods."""
    left_out: Mapping[str, str]
    """By pod, why its part of a metric could not be used."""
    early: Set[str]
    """Metrics for which the look comes too early."""
    since: Mapping[str, float]
    """Since when what is measured was counted."""


class Tallies:
    """Fed with the pages of each look.

    Args:
        of: what counts, as it is named in sentences.
        fell: why a counter that fell is not believed.
        lasting: not until it begins anew; otherwise until it shows as much again.
    """

    def __init__(self, of: str = "pod ", fell: str = FELL, *, lasting: bool = True) -> None:
        self._named = of
        self._fell = fell
        self._lasting = lasting
        self.unmeasured: dict[str, str] = {}
        """By metric, why nothing can be said of it, and what to do."""
        self._of: dict[Metric, _Tallied] = {}
        self._want: Wanted | None = None
        """Kept, so that it need not be read again."""

    def take(
        self,
        asked: Asked,
        time: float,
        begun: Mapping[str, float],
        pages: Mapping[ArmName, Mapping[str, Counters]],
        *,
        proven: bool,
    ) -> Added:
        """What was added of each metric since it was measured last.

        Args:
            asked: as the look began.
            time: of the look.
            begun: see `Remembered.bear`.
            pages: of the pods that are believed.
            proven: it is evidence; otherwise it is only what later looks are compared with.
        """
        want = self._want = wanted(asked)
        measured, halves = dict[str, Measurement](), dict[str, Measurement]()
        left_out, early, since = dict[str, str](), set[str](), dict[str, float]()
        self._of = {
            metric: self._of.get(metric) or _Tallied(metric, self._named, self._fell, self._lasting)
            for metric in asked.policy.metrics
            if metric.name in want.selected
        }
        self.unmeasured, groups = dict(want.unread), Groups()
        for metric, tallied in self._of.items():
            shown = {
                arm: {pod: page.tallies[metric.name] for pod, page in of.items() if metric.name in page.tallies}
                for arm, of in pages.items()
            }
            tallies = {
                arm: {pod: tally for pod, tally in of.items() if isinstance(tally, Tally)} for arm, of in shown.items()
            }
            taken = tallied.take(asked, time, begun, tallies, proven=proven)
            if isinstance(metric, GroupMetric):
                groups.see(metric, want.selected[metric.name], tallies)
            elif why := _untold(metric, want.selected[metric.name], shown, self._named) or taken.why_not:
                self.unmeasured[metric.name] = f"Metric {metric.name} cannot be measured{why}{_REMEDY}"
            if taken.measured is not None and proven:
                measured[metric.name], since[metric.name] = taken.measured, taken.since
                halves |= {metric.name: taken.halves} if taken.halves else {}
            early |= {metric.name} if taken.early and proven else set()
            left_out |= {pod: f"{metric.name}: {why}" for pod, why in taken.left_out.items() if why != NEW}
        self.unmeasured |= groups.unmeasured()
        return Added(measured, halves, left_out, early, since)

    def forget_all_but(self, pods: Collection[str]) -> None:
        """Others are gone."""
        for tallied in self._of.values():
            tallied.forget_all_but(pods)

    def begin_from(self, pod: str, page: Counters) -> None:
        """A pod's container was started anew: what it shows next is compared with that."""
        for metric, tallied in self._of.items():
            tallied.begin_from(pod, page.tallies.get(metric.name))

    def falls(self, pod: str, page: Counters) -> bool:
        """Whether a counter of it is lower than it was, or was already and is not believed for that."""
        return any(tallied.falls(pod, page.tallies.get(metric.name)) for metric, tallied in self._of.items())


def _needed(metric: Metric) -> Sequence[ArmName]:
    """The versions of which something must be known."""
    return ("canary",) if metric.type is MetricType.LIMIT else ("canary", "stable")


def _are_both_there(asked: Asked) -> bool:
    """Whether pods of the stable version answer, too. A limit asks nothing of them, but where they do not, all requests
    go to the few of the candidate, and what these then do is no measure of it.
    """
    return any(pod.ready for pod in asked.pods.get("stable", ()))


def _untold(metric: Metric, selected: Selected, shown: Mapping[ArmName, Mapping[str, Tally | str]], named: str) -> str:
    """Why the pages do not tell of a metric, if they do not; follows on what cannot be measured."""
    for found in (shown[arm] for arm in _needed(metric)):
        if why := _of_all({pod: tally for pod, tally in found.items() if isinstance(tally, str)}, found, named):
            return why
    tallies = [tally for found in shown.values() for tally in found.values() if isinstance(tally, Tally)]
    if selected.bad and tallies and not any(tally.knows_bad for tally in tallies):
        return f": no {named or 'series '}of either version has {selected.bad.name}."
    if tallies and not any(tally.matches for tally in tallies):
        return (
            f": of the series of {selected.total.name} none is {selected.total.text}, in any {named}of either version."
        )
    return ""


def _of_all(why: Mapping[str, str], found: Collection[str], named: str) -> str:
    """Why all pods that were found are none of use, by the first of them; empty when some are, or there is none."""
    if not why or len(why) < len(found):
        return ""
    pod = min(why)
    others = f", nor in the {len(why) - 1} others" if len(why) > 1 else ""
    return f" in {named}{pod}{others}: {why[pod]}."


_REMEDY = " Let the containers count it from their start, or correct or remove the metric in spec.monitoring.metrics."


@dataclass(frozen=True)
class _Taken:
    """One metric in a look."""

    measured: Measurement | None
    """What was added since it was measured last; None when there is nothing to compare."""
    halves: Measurement | None
    """The same of the two halves of the stable version; None of one pod."""
    left_out: Mapping[str, str]
    """By pod, why its part could not be used."""
    since: float
    """When the time began in which that was added, in Unix seconds."""
    early: bool
    """What was added waits until there is more of it."""
    why_not: str
    """Why it cannot be measured, as long as pods show it so; follows on what cannot be measured."""


@dataclass
class _Tallied:
    """What is remembered of one metric."""

    metric: Metric
    named: str
    """What counts, as it is named in sentences."""
    fell: str
    """Why a counter that fell is not believed."""
    lasting: bool
    """Not until it begins anew; otherwise until it shows as much again."""
    _remembered: Remembered[Tally] = field(default_factory=lambda: Remembered(_NOTHING))
    _shown: dict[str, Tally] = field(default_factory=dict)
    """By pod, what it has shown last."""
    _disbelieved: dict[str, str] = field(default_factory=dict)
    """Pods that are not believed until they are started anew, and why."""
    _sums: dict[ArmName, tuple[float, ...]] = field(default_factory=dict)
    """By arm, all events and the bad ones that were compared; not of a histogram."""
    _useless: dict[ArmName, tuple[float, str]] = field(default_factory=dict)
    """By arm of which no pod could be used, since when, and why; a look at which all were seen too long ago, as they
    are then, ends it not.
    """

    def forget_all_but(self, pods: Collection[str]) -> None:
        """Others are gone."""
        self._remembered.forget_all_but(pods)
        self._shown = {pod: tally for pod, tally in self._shown.items() if pod in pods}
        self._disbelieved = {pod: why for pod, why in self._disbelieved.items() if pod in pods}

    def begin_from(self, pod: str, tally: Tally | str | None) -> None:
        """A pod was started anew: what it shows next is compared with that, or with nothing."""
        self._disbelieved.pop(pod, None)
        self._shown.pop(pod, None)
        if isinstance(tally, str):
            self._remembered.forget(pod)
        else:
            self._remembered.begin_from(pod, tally or _NOTHING)

    def falls(self, pod: str, tally: Tally | str | None) -> bool:
        """Whether one of its counters is lower than it was, or was already and is not believed for that."""
        shown = self._shown.get(pod)
        return pod in self._disbelieved or bool(shown and isinstance(tally, Tally) and shown.falls_to(tally))

    def take(self, asked: Asked, time: float, begun: Mapping[str, float], tallies: _ByArm, *, proven: bool) -> _Taken:
        """Compare what pods show with what they have shown.

        Args:
            asked: as the look began.
            time: of the look.
            begun: see `Remembered.bear`.
            tallies: by arm and pod.
            proven: what was added may wait for a look in which it can be compared.
        """
        gap = longest_gap(asked.interval)
        if self._remembered.is_ahead(time):  # a clock was
            self._remembered.begin_time(time)
        begun = {pod: since for pod, since in begun.items() if pod in tallies["canary"]}
        self._remembered.bear(begun, time, asked.interval.total_seconds())
        edges, since = self._edges(tallies), self._remembered.since
        left_out: dict[str, str] = {}
        added: dict[ArmName, Increase] = {}
        for arm, found in tallies.items():
            before, now = dict[str, Sample](), dict[str, Sample]()
            for pod, tally in found.items():
                self._doubt(pod, tally)
                if pod in self._disbelieved:
                    left_out[pod] = self._disbelieved[pod]
                    continue
                now[pod] = Sample(time, tally.counters(edges))
                if known := self._remembered.before(pod, time, gap):
                    last, counted = known
                    before[pod] = Sample(last, counted.counters(edges))
            added[arm] = increase(before, now, gap)
            left_out |= added[arm].left_out
        needed = _needed(self.metric)
        both = _are_both_there(asked)
        ready = both and all(added[arm].pods for arm in needed)
        taken = ready and self._remembered.may_take(asked, time, [added[arm] for arm in needed])
        self._see_useless(time, added, {arm: tallies[arm].keys() for arm in needed})
        self._remembered.go_on(
            asked,
            time,
            tallies,
            left_out,
            needed=needed,
            taken=taken,
            may_wait=proven and both,
            # what is no number is nothing to begin again from; of bad events all may be counted a little later; and
            # what fell may have begun again, which is told late
            lasting={STRANGE, TORN, self.fell},
        )
        arms = (_part(added["canary"]), _part(added["stable"]))
        measured = _measured(edges, *arms) if taken else None
        halves = _measured(edges, *added["stable"].halves) if taken and added["stable"].halves else None
        for arm in needed if taken and edges is None else ():
            self._sums[arm] = tuple(map(sum, zip(self._sums.get(arm, (0.0, 0.0)), added[arm].counts, strict=True)))
        useless = next(
            (why for since, why in self._useless.values() if time - since > asked.interval.total_seconds()), ""
        )
        return _Taken(measured, halves, left_out, since, ready and not taken, self._why_not(edges, tallies) or useless)

    def _see_useless(
        self, time: float, added: Mapping[ArmName, Increase], found: Mapping[ArmName, Collection[str]]
    ) -> None:
        """Counters that make no sense in any pod of a version may do so once, as they are not all counted at a time."""
        for arm, pods in found.items():
            why = {pod: _SENSELESS[of] for pod, of in added[arm].left_out.items() if pod in pods and of in _SENSELESS}
            if added[arm].pods or not pods:
                self._useless.pop(arm, None)
            elif said := _of_all(why, pods, self.named):
                since, _ = self._useless.get(arm, (time, ""))
                self._useless[arm] = (since, said)

    def _why_not(self, edges: tuple[float, ...] | None, tallies: _ByArm) -> str:
        for found in (tallies[arm] for arm in _needed(self.metric)):
            doubted = {pod: self._disbelieved[pod] for pod in found.keys() & self._disbelieved.keys()}
            if why := _of_all(doubted, found, self.named):
                return why
        total, bad = self._sums.get("stable", (0.0, 0.0))
        expected = self._sums.get("canary", (0.0, 0.0))[0] * bad / total if total else 0.0
        if expected >= _UNLIKELY and not any(tally.knows_bad for tally in tallies["canary"].values()):
            said = f"{bad:.0f} of {total:.0f} events of the stable version"
            return f": no {self.named or 'series '}of the candidate has {self.metric.bad}, which has counted {said}."
        if edges is None or not all(any(tally.upto for tally in found.values()) for found in tallies.values()):
            return ""
        missing = [edge for edge in self.metric.buckets or () if edge not in edges]
        if missing:
            return f": there is no bucket le={missing[0]:g} in all pods, which monitoring.metrics names."
        return "" if edges else ": the buckets of the pods have no edge in common."

    def _doubt(self, pod: str, tally: Tally) -> None:
        shown = self._shown.get(pod)
        if shown and shown.falls_to(tally):
            self._disbelieved[pod] = self.fell
            if not self.lasting:
                return
        elif not self.lasting:
            self._disbelieved.pop(pod, None)
        if self.metric.boundary is Boundary.EXACT and any(part % 1 > 0 for part in (tally.total, tally.bad)):
            self._disbelieved[pod] = IN_PARTS.why
        self._shown[pod] = tally

    def _edges(self, tallies: _ByArm) -> tuple[float, ...] | None:
        """The edges of buckets that all pods have, and had; None of what is no histogram."""
        if self.metric.type is not MetricType.LATENCY:
            return None
        shown = [tally.upto for found in tallies.values() for tally in found.values() if tally.upto]
        pods = {pod for found in tallies.values() for pod in found}
        shown += [tally.upto for tally in self._remembered.of(pods) if tally.upto]
        common = set(shown[0]).intersection(*shown[1:]) if shown else set()
        return tuple(edge for edge in shown[0] if edge in common) if shown else ()


def _part(added: Increase) -> Sequence[float] | None:
    """What was added; None when no pod could be used."""
    return added.counts if added.pods else None


def _measured(
    edges: tuple[float, ...] | None, canary: Sequence[float] | None, stable: Sequence[float] | None
) -> Measurement:
    """Counts of all events and the bad ones or, with edges, of all and those of each bucket."""
    if edges is not None:
        return Histogram(canary[1:] if canary else None, stable[1:] if stable else None, edges)
    return Counts((canary[0], canary[1]) if canary else None, (stable[0], stable[1]) if stable else None)
