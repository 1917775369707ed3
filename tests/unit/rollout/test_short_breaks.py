"""Of pods that are not ready for a while: whose time runs, and what does not add up."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from tests.unit.builders import NOW, a_pod, after
from tests.unit.rollout.world import (
    LONG_AGO,
    NEW_REVISION,
    OLD,
    both,
    condition,
    in_canary,
    observed,
    sighted,
    stalled,
    then,
)
from upright.pods.reading import Pod, read
from upright.rollout.plan import plan
from upright.rollout.sightings import Sightings


@dataclass(frozen=True)
class Breaks:
    """A pod is not ready for so many seconds of each so many; at first while it starts."""

    takes: int
    of_each: int
    crashes: bool = False
    behind: int = 0
    """By how many minutes the clock of its node is."""

    def pod(self, number: int, turn: int, second: int) -> Pod:
        """As it is at that second; `turn`: when its first break after its start begins."""
        began = max(0, second - (second - turn) % self.of_each)
        ready = second - began >= self.takes
        changed = after(seconds=began + (self.takes if ready else 0), minutes=-self.behind)
        manifest = a_pod(f"pod-{number}", ready=ready)
        for one in manifest["status"]["conditions"]:
            one["lastTransitionTime"] = changed.isoformat()
        if self.crashes and began:
            ended = {"exitCode": 1, "reason": "Error", "finishedAt": after(seconds=began).isoformat()}
            failed = {"name": "serve", "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": ended}}
            manifest["status"]["containerStatuses"] = [failed]
        return read(manifest)


MOSTLY = Breaks(5, of_each=600)


@pytest.mark.parametrize(
    ("each", "first", "count", "phase"),
    [
        (Breaks(5, of_each=50), None, 1, "Progressing"),
        (Breaks(5, of_each=50), None, 9, "Progressing"),
        (Breaks(5, of_each=100), None, 2, "Progressing"),
        (Breaks(5, of_each=100, behind=5), None, 2, "Progressing"),
        (Breaks(20, of_each=600), None, 9, "Progressing"),
        (Breaks(20, of_each=600), None, 30, "Progressing"),  # at every moment one of them is not ready
        (MOSTLY, None, 30, "Progressing"),
        (MOSTLY, Breaks(5, of_each=50), 30, "Progressing"),
        (MOSTLY, Breaks(5, of_each=15), 1, "RolledBack"),
        (MOSTLY, Breaks(20, of_each=60), 2, "RolledBack"),
        (MOSTLY, Breaks(20, of_each=40), 30, "RolledBack"),
        (MOSTLY, Breaks(900, of_each=9000), 30, "RolledBack"),
        (MOSTLY, Breaks(5, of_each=50, crashes=True), 1, "RolledBack"),
        (MOSTLY, Breaks(5, of_each=50, crashes=True), 30, "RolledBack"),
    ],
)
def test_short_breaks_of_many_pods_reject_nobody_and_one_that_is_never_ready_for_long_is_rejected_among_any_number(
    each: Breaks, first: Breaks | None, count: int, phase: str
) -> None:
    slow = {"steps": [{"weight": 25, "for": "2h"}], "restarts": 1000}
    resource = in_canary(replicas=3 * count, step_since=None, rollout=slow, candidate={"replicas": count})
    before, sightings = observed(resource, pods=both(0, 3 * count)), Sightings()
    for second in range(0, 1500, 5):
        canary = [((n == 0 and first) or each).pod(n, each.of_each * n // count, second) for n in range(count)]
        now, world = after(seconds=second), {**before.pods, NEW_REVISION: canary}
        before = replace(before, now=now, pods=sighted(sightings, world, now))
        made = plan(before)
        if made.status["rejected"]:
            break
        before = then(before, made)
    assert made.status["phase"] == phase, made.status["rejected"]
    assert phase == "Progressing" or 600 <= second < 900


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("every", [60, 150, 590])
def test_pods_that_are_taken_away_before_they_are_ready_hold_it_and_reject_nobody(every: int, *, first: bool) -> None:
    """Then it is left alone, and goes on. While the cluster has none, the cluster's own time runs."""
    resource = in_canary(step_since=None)
    if first:
        resource = resource.model_copy(update={"status": resource.status.model_copy(update={"stable": None})})
    before, said = observed(resource, pods=both(0)), dict[int, str | None]()
    for second in range(0, 4000, 10):
        began = second - second % every if second < 3000 else 3000
        loading = replace(read(a_pod(f"pod-{began}", ready=False)), created=after(seconds=began))
        pod = replace(loading, ready_since=after(seconds=3500)) if second >= 3500 else loading
        there = [] if second == began else [pod] * (3 if first else 1)
        before = replace(before, now=after(seconds=second), pods={**both(0), NEW_REVISION: there})
        made = plan(before)
        assert not made.status["rejected"]
        said[second] = condition(made, "Stalled")["reason"] if stalled(made) else None
        before = then(before, made)
    held = [second for second, reason in said.items() if reason]
    assert {said[second] for second in held} == {"NotReady"}
    assert held == [*range(held[0], 3500, 10)]
    assert 1200 < held[0] <= 1200 * every / (every - 10) + 20


def test_one_pod_is_waited_for_and_named_until_it_has_settled() -> None:
    """Written when that changes, and not between; an operator before wrote no name."""
    world = both(2, 3)
    breaks = {**world, NEW_REVISION: [*world[NEW_REVISION], Breaks(20, of_each=9000).pod(2, 0, 0)]}
    before = observed(in_canary(1, candidate={"unreadySince": after(minutes=-9).isoformat()}), pods=breaks)
    made = plan(before)
    clocks = {"unreadySince": "2026-11-22T12:00:00Z", "downSince": "2026-11-22T12:00:00Z", "unreadyPod": "pod-2"}
    assert clocks.items() <= made.status["candidate"].items()
    later = then(before, made, now=after(seconds=15))
    assert plan(later).status["candidate"] == made.status["candidate"]
    for second, waited_for in ((20, True), (79, True), (80, False)):
        pod = Breaks(20, of_each=9000).pod(2, 0, second)
        later = replace(later, now=after(seconds=second), pods={**world, NEW_REVISION: [*world[NEW_REVISION], pod]})
        made = plan(later)
        assert [one in made.status["candidate"] for one in clocks] == [waited_for] * 3
        assert not waited_for or (made.again and made.again <= timedelta(seconds=10))
        later = then(later, made)


def test_an_operator_that_begins_in_a_break_writes_nothing_of_when_that_began() -> None:
    """It has only the node's word, which is a little older than what the one before has seen."""
    breaks, sightings = Breaks(20, of_each=60), Sightings()
    before = observed(in_canary(step_since=None, candidate={"unreadySince": NOW.isoformat()}))
    for second in (0, 21, 61):
        world, now = both(0) | {NEW_REVISION: [breaks.pod(0, 60, second)]}, after(seconds=second)
        before = replace(before, now=now, pods=sighted(sightings, world, now))
        made = plan(before)
        before = then(before, made)
    assert made.status["candidate"]["downSince"] == "2026-11-22T12:01:01Z"
    assert plan(replace(before, pods=sighted(Sightings(), world, now))).status["candidate"] == made.status["candidate"]


def test_one_that_is_given_up_takes_along_no_clock_of_a_pod() -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat(), "downSince": LONG_AGO.isoformat(), "unreadyPod": "pod-2"}
    resource = in_canary(1, candidate=clocks, stable={"replicas": 1})
    made = plan(observed(resource, OLD, pods=both(3, 1)))
    assert made.status["candidate"]["leaving"]
    assert not {"unreadyPod", "downSince"} & set(made.status["candidate"])
