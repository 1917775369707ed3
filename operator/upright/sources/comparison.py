"""What has been read of the pods in one comparison, and what that says: looks, and how each arm could be measured.

Counters are read as they are, never as rates: `rate()` and its like extrapolate to fractions, and the tests of
`upright.analysis` want whole requests.
"""

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from typing import NamedTuple, get_args

from upright.analysis import Look
from upright.analysis.counters import NEW, STRANGE, Increase, increase
from upright.analysis.state import NAMED
from upright.api import names
from upright.pods.reading import Pod
from upright.rollout.measuring import EXPECTED, ArmName, Asked, Measurement, longest_gap
from upright.sources.complaints import Complaints, since
from upright.sources.page import Counters
from upright.sources.pods import Unread
from upright.sources.remembered import Remembered
from upright.sources.requests import goes_back, has_counted, of_requests, parts, sample
from upright.sources.starts import Begun, Start, is_anew, start_of, was_by
from upright.sources.tallied import Tallies
from upright.sources.unmeasured import IN_PARTS, TORN, stuck, unreadable
from upright.sources.unrecorded import Unrecorded

RECENT = timedelta(minutes=1)
FEWEST_RECENT = 4
"""Looks that are recent whatever time they took."""
MOST_RECENT = 1024
"""Looks at most in which anything was answered, however little."""
TOLD = timedelta(minutes=1)
"""Within this, a pod's status tells that its container was started anew. What its counters show is known sooner."""
WATCHED = 8
"""Looks after a restart of the operator in which pods of an image of one's own are only watched: if several processes
count in one, it goes backwards by then. What another process has counted all its life would be new evidence."""

_NOTHING = Counters(0.0, 0.0, 0.0)
_ARMS: Sequence[ArmName] = get_args(ArmName)


class _Read(NamedTuple):
    """What a pod showed when it was last read and believed."""

    start: Start
    page: Counters
    time: float


class _Recent(NamedTuple):
    """What was answered between two looks."""

    time: float
    canary: float
    stable: float
    expected: float
    """What should have reached the candidate."""


class Comparison(Unrecorded):
    """Fed with what was read at each look. Pods go by name: a new one of the same name is the old one restarted."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._tallies = Tallies()
        """What is measured beside the requests."""
        self._begun = Begun(asked)
        self._remembered = Remembered(_NOTHING)
        """Of the requests."""
        self._read: dict[str, _Read] = {}
        """By pod."""
        self._torn: dict[str, float] = {}
        """Pods whose counters are not those of one process, and since when."""
        self._in_parts: set[str] = set()
        """Pods that have counted what is no whole number."""
        self._counting: set[str] = set()
        """Pods of the candidate that have counted anything: what is slow when it begins is so from then on."""
        self._unproven = WATCHED if asked.resumed else 0
        """Looks in which pods are still only watched; `watching`: in the last one they were."""
        self.watching = False
        self._silent: set[str] = set()
        """Pods that could not be read the last time."""
        self._requests: dict[ArmName, float] = defaultdict(float)
        self._complaints: dict[ArmName, Complaints] = defaultdict(Complaints)
        self._recent: deque[_Recent] = deque(maxlen=MOST_RECENT)
        """Of recent looks those before which anything was answered that counts."""
        self._odds = 0.0
        """In the last look, the candidate's ready pods that could be read for each such pod of the stable version; 0
        when either had none."""
        self._stuck: dict[ArmName, timedelta] = defaultdict(timedelta)
        """For how long requests have been in the pods of an arm without any coming out."""

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """By metric, why the newest look says nothing of it, and what to do; by nothing, why nothing is compared."""
        return self._why_full() or self._tallies.unmeasured

    def to_read(self, asked: Asked) -> Sequence[Pod]:
        """The pods to read, in order: of both arms by turns, and those that answered last time before the others."""
        arms = ([pod for pod in asked.pods.get(arm, ()) if pod.phase == "Running"] for arm in _ARMS)
        by_turns = [pod for pod in chain.from_iterable(zip_longest(*arms)) if pod is not None]
        return sorted(by_turns, key=lambda pod: pod.name in self._silent)

    def take(self, asked: Asked, pages: Mapping[str, Counters | Unread], now: datetime) -> bool:
        """Take a look, if there is something of both versions to compare. If not, what they have counted since they
        were last compared waits, and a look without counts tells which pods were left out, if any.

        Args:
            asked: as the look began.
            pages: what was read of each pod, by name.
            now: when the look began, as the clock says.

        Returns whether there is anything new to say.
        """
        self._begun.see(asked, now)
        if self._second == -math.inf and len(self._begun.since) < len(asked.pods.get("canary", ())):
            self._unproven = WATCHED
        if now.timestamp() <= self._second:  # how long it was is not known
            self._remembered.take_next()
        if self._pass_time(asked, now):
            self._remembered.begin_time(-math.inf)
            self._torn = {name: min(since, self._time) for name, since in self._torn.items()}
            self._recent.clear()
        self._silent = {name for name, page in pages.items() if isinstance(page, Unread)}
        self._forget_all_but({pod.name for pods in asked.pods.values() for pod in pods})
        pages = self._believed(asked, self._whole(pages) if asked.whole else pages)
        found = {
            arm: {
                pod.name: page
                for pod in asked.pods.get(arm, ())
                # one that starts or ends need not answer
                if (page := pages.get(pod.name)) is not None and (pod.ready or isinstance(page, Counters))
            }
            for arm in _ARMS
        }
        before = self._told()
        read = {arm: _numbers(pages) for arm, pages in found.items()}
        moved = {arm: self._count(arm, asked, read[arm]) for arm in _ARMS}
        asking = {arm: {name for name, page in read[arm].items() if page.counts_requests} for arm in _ARMS}
        ready = {arm: sum(pod.ready and pod.name in asking[arm] for pod in asked.pods.get(arm, ())) for arm in _ARMS}
        odds = ready["canary"] / ready["stable"] if ready["stable"] else 0.0
        self._remember(moved["canary"][0], moved["stable"][0], min(odds, self._odds))
        self._odds = odds
        told = {arm: self._without_new_falls(pages) for arm, pages in found.items()}
        self.arms = {arm: self._measured(arm, asked, told[arm], read[arm], moved[arm][1]) for arm in _ARMS}
        look = self._look(asked, found)
        return (look is not None and self._add(asked, look)) or before != self._told()

    def _told(self) -> tuple[Mapping[ArmName, str], Mapping[str, str]]:
        """What a look may change besides its counts."""
        return {arm: measured.state for arm, measured in self.arms.items()}, self.unmeasured

    def _forget_all_but(self, names: set[str]) -> None:
        self._remembered.forget_all_but(names)
        self._read = {name: read for name, read in self._read.items() if name in names}
        self._torn = {name: since for name, since in self._torn.items() if name in names}
        self._in_parts &= names
        self._counting &= names
        self._tallies.forget_all_but(names)

    def _whole(self, pages: Mapping[str, Counters | Unread]) -> Mapping[str, Counters | Unread]:
        """The pages; but a pod that has counted in parts is not believed any more: where a sum of parts happens to be
        whole, it is no number of requests either.
        """
        counted = {name: page for name, page in pages.items() if isinstance(page, Counters)}
        self._in_parts |= {name for name, page in counted.items() if any(part % 1 > 0 for part in parts(page))}
        return {**pages, **dict.fromkeys(counted.keys() & self._in_parts, IN_PARTS)}

    def _believed(self, asked: Asked, pages: Mapping[str, Counters | Unread]) -> Mapping[str, Counters | Unread]:
        """The pages; but a pod of which a counter fell is not believed until its container is started anew. All that it
        shows by then was counted since, and counts; also where no counter fell.
        """
        believed = dict(pages)
        for pod in chain.from_iterable(asked.pods.values()):
            page, known, start = pages.get(pod.name), self._read.get(pod.name), start_of(pod, asked)
            if known is None or not isinstance(page, Counters):
                continue
            fell = goes_back(known.page, page)
            if start == known.start:
                if fell or pod.name in self._torn:
                    self._torn.setdefault(pod.name, self._time)
                    believed[pod.name] = TORN
            elif self._torn.pop(pod.name, None) is not None or fell or self._tallies.falls(pod.name, page):
                self._begin_from(pod, _NOTHING)
            elif asked.counts_itself(pod) and is_anew(known.start, start):
                # or did already what it showed last belong to that start, told late?
                self._begin_from(pod, page if was_by(start, known.time) else _NOTHING)
        return believed

    def _begin_from(self, pod: Pod, page: Counters) -> None:
        """Compare what a pod shows now with that."""
        self._read[pod.name] = self._read[pod.name]._replace(page=page)
        self._remembered.begin_from(pod.name, page)
        self._tallies.begin_from(pod.name, page)

    def _without_new_falls(self, pages: Mapping[str, Counters | Unread]) -> Mapping[str, Counters | Unread]:
        """The pages of an arm without those pods of which it may still be told that they were started anew."""
        settled = self._time - TOLD.total_seconds()
        return {name: page for name, page in pages.items() if self._torn.get(name, settled) <= settled}

    def _look(self, asked: Asked, found: Mapping[ArmName, Mapping[str, Counters | Unread]]) -> Look | None:
        pages = {
            arm: {pod: page for pod, page in pods.items() if isinstance(page, Counters)} for arm, pods in found.items()
        }
        begun = {pod: since for pod, since in self._begun.since.items() if pod in pages["canary"]}
        self._remembered.bear(begun, self._time, asked.interval.total_seconds())
        added = {arm: self._added(of, asked.interval) for arm, of in pages.items()}
        ours = all(names.VERIFIES in pod.labels and asked.counts_itself(pod) for pod in chain(*asked.pods.values()))
        proven = self._unproven <= 0 or ours
        self.watching = not proven
        if all(pages.values()):
            self._unproven -= 1
        ready = proven and all(arm.pods for arm in added.values())
        taken, since = ready and self._remembered.may_take(asked, self._time, added.values()), self._remembered.since
        self._remembered.go_on(
            asked,
            self._time,
            pages,
            {pod: why for arm in added.values() for pod, why in arm.left_out.items()},
            needed=_ARMS,
            taken=taken,
            may_wait=proven,
            lasting={STRANGE},  # what is no number is nothing to begin again from
        )
        canary, stable, halves = added["canary"].counts, added["stable"].counts, added["stable"].halves
        requests = of_requests(asked.policy.metrics, canary, stable) if ready else {}
        apart = of_requests(asked.policy.metrics, *halves) if taken and halves else {}
        tallied = self._tallies.take(asked, self._time, begun, pages, proven=proven)
        measured = {**(requests if taken else {}), **tallied.measured}
        waiting = tallied.early if taken else tallied.early | requests.keys()
        left_out = dict(sorted({**tallied.left_out, **_worth_telling(found, added)}.items())[:NAMED])
        # which pods were left out is told with the next look that has something to compare
        if not measured and (waiting or not left_out):
            return None
        self._counting |= {pod for pod, page in pages["canary"].items() if has_counted(page)}
        pods = len(self._counting)
        begins = {**dict.fromkeys(requests if taken else (), since), **tallied.since}
        return Look(self._time, measured, left_out, waiting, pods, {**apart, **tallied.halves}, begins)

    def _added(self, pages: Mapping[str, Counters], interval: timedelta) -> Increase:
        """What the pods of a version have counted in the time that is compared."""
        gap = longest_gap(interval)
        known = {pod: self._remembered.before(pod, self._time, gap) for pod in pages}
        before = {pod: sample(*one) for pod, one in known.items() if one}
        return increase(before, {pod: sample(self._time, page) for pod, page in pages.items()}, gap)

    def _count(self, arm: ArmName, asked: Asked, read: Mapping[str, Counters]) -> tuple[float, bool]:
        """What the pods of an arm have answered since they were last read, and whether there are answers, also such as
        may have been given before.
        """
        sum_of_added, moved = 0.0, False
        for pod in asked.pods.get(arm, ()):
            page = read.get(pod.name)
            if page is None:
                continue
            nothing = _NOTHING if pod.name in self._begun.since else None
            last = self._read[pod.name].page if pod.name in self._read else nothing
            added = 0.0 if last is None else since(last.total, page.total)
            moved = moved or (page.total if last is None else added) > 0
            if last is not None:
                self._complaints[arm].add(last, page)
            sum_of_added += added
            self._read[pod.name] = _Read(start_of(pod, asked), page, self._time)
        self._requests[arm] += sum_of_added
        return sum_of_added, moved

    def _remember(self, canary: float, stable: float, odds: float) -> None:
        if odds and (canary or stable):
            self._recent.append(_Recent(self._time, canary, stable, stable * odds))
        while len(self._recent) > FEWEST_RECENT:
            old, *others = self._recent
            if old.time > self._time - RECENT.total_seconds() or sum(one.expected for one in others) < EXPECTED:
                break
            self._recent.popleft()

    def _measured(
        self,
        arm: ArmName,
        asked: Asked,
        found: Mapping[str, Counters | Unread],
        read: Mapping[str, Counters],
        moved: bool,
    ) -> Measurement:
        """How an arm could be measured in this look."""
        measurement = Measurement(
            "NoRequests",
            requests=self._requests[arm] if all(map(_tells_all, read.values())) else None,
            recent=sum(one.canary if arm == "canary" else one.stable for one in self._recent),
            expected=sum(one.expected for one in self._recent) if arm == "canary" else 0.0,
            failing=self._complaints[arm].failing,
            refusing=self._complaints[arm].refusing,
        )
        if not found:
            return replace(measurement, state="Unknown")
        if not read:
            return replace(measurement, state="Unreadable", message=unreadable(asked.pods[arm], found, asked.port))
        if moved:
            self._stuck[arm] = timedelta(0)
            return replace(measurement, state="Counted")
        inside = sum(page.in_progress for page in read.values() if page.in_progress and page.in_progress > 0)
        self._stuck[arm] = self._stuck[arm] + timedelta(seconds=self._passed) if inside else timedelta(0)
        if self._stuck[arm] > asked.timeout + asked.interval:
            return replace(measurement, state="Stuck", message=stuck(inside, read, self._stuck[arm]))
        waiting = self.arms.get(arm) if inside else None
        return replace(measurement, state="Counted") if waiting and waiting.state == "Counted" else measurement


def _numbers(pages: Mapping[str, Counters | Unread]) -> Mapping[str, Counters]:
    """The pods that could be read, and whose counters are numbers."""
    return {name: page for name, page in pages.items() if isinstance(page, Counters) and math.isfinite(page.total)}


def _tells_all(page: Counters) -> bool:
    """Whether nothing can have happened in a pod that its page does not show."""
    return page.counts_requests or not any(isinstance(tally, str) for tally in page.tallies.values())


def _worth_telling(
    found: Mapping[ArmName, Mapping[str, Counters | Unread]], added: Mapping[ArmName, Increase]
) -> Mapping[str, str]:
    """The pods that were left out, and why; that some are new is normal."""
    left_out = {pod: page.why for pods in found.values() for pod, page in pods.items() if isinstance(page, Unread)}
    for arm in added.values():
        left_out |= {pod: why for pod, why in arm.left_out.items() if why != NEW}
    return left_out
