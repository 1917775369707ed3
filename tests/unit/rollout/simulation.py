"""A small world in which the plans for a Deployment come true.

A turn is taken when the shell would take one: when something has changed, a look has been taken, or the last plan asked
for one; and again until nothing is left to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from tests.unit.builders import DEFAULTS, a_deployment, a_model_version, as_stored
from tests.unit.rollout.cluster import STEP, Cluster, Fares, moment
from tests.unit.rollout.world import dated, kept_after, sighted, the_workload
from upright.analysis import Counts, Look
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.deployment_status import Rejection
from upright.api.model_version import ModelVersion
from upright.contract import Manifest, Plan
from upright.rollout.evidence import recorded, until
from upright.rollout.following import rejected_before
from upright.rollout.measuring import ArmName, Measurement, Reading
from upright.rollout.memory import recalled
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.sightings import Sightings
from upright.versions.deployments import uses_of
from upright.versions.verdicts import remembered

_LOOKS = 30
"""Seconds between looks; in that time each ready pod is asked so many requests:"""
_REQUESTS = 50
_TURNS = 8
"""So many turns in a row, each of which changes something, do not come to rest."""


@dataclass
class Looks:
    """What a source of measurements has seen of one comparison."""

    comparison: object
    since: int
    until: int
    taken: list[Look] = field(default_factory=list)
    asked: dict[ArmName, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One turn, before anything of it is done."""

    now: int
    observed: Observed
    plan: Plan


class Simulation:
    """A Deployment that asks for churn-1 first, its versions, and the cluster around it."""

    def __init__(self, random: Random, fares: Mapping[str, Fares], nodes: Sequence[int], **spec: Any) -> None:
        self.now = 0
        self.resource = a_deployment("churn-1", monitoring={"interval": f"{_LOOKS}s"}, **spec)
        self.versions = {name: a_model_version(name) for name in fares}
        self.revisions = {name: revision(one, self.resource.spec.serving) for name, one in self.versions.items()}
        self.names = {one: name for name, one in self.revisions.items()}
        self.fares = {self.revisions[name]: how for name, how in fares.items()}
        self.cluster = Cluster(random, dict(self.fares), list(nodes))
        self.looks: Looks | None = None
        self.restless = False
        self._services: dict[str, Manifest] = {}
        self._made: dict[str, Manifest] = {}
        self._kept: Manifest | None = None
        self._sightings = Sightings()
        self._watched = self._started = 0
        self._due: int | None = 0

    def want(self, **spec: Any) -> None:
        """Somebody changes the spec."""
        stored = as_stored(self.resource)
        self.resource = Deployment.model_validate({**stored, "spec": {**stored["spec"], **spec}})
        self._due = self.now

    def restart(self) -> None:
        """The operator is restarted, and remembers nothing."""
        self._sightings, self.looks = Sightings(), None
        self._watched = self._due = self.now

    def pause(self, seconds: int) -> None:
        """Nobody watches for so long."""
        for _ in range(seconds // STEP):
            self.now += STEP
            self.cluster.lives_on(self.now)
        self.looks, self._watched, self._due = None, self.now, self.now

    def forget(self) -> None:
        """The Deployment is made anew, as after a restore; its workloads are there."""
        self.resource = Deployment.model_validate({**as_stored(self.resource), "status": {}})
        self._due = self.now

    def replace(self) -> None:
        """The Deployment and all its versions are made anew: nothing is left of what they say, nor any workload."""
        self.forget()
        self.cluster.sizes.clear()
        self.versions = {name: a_model_version(name) for name in self.versions}

    def lose(self, name: str) -> None:
        """The artifact of a version is gone."""
        self._become(name, a_model_version(name, phase="Missing", ready=False))
        self.cluster.unloadable.add(self.revisions[name])

    def find(self) -> None:
        """All artifacts are there again."""
        for name in self.versions:
            self._become(name, a_model_version(name))
        self.cluster.unloadable.clear()

    def breaks(self, name: str) -> None:
        """Pods of a version begin to crash."""
        self.cluster.fares = {**self.cluster.fares, self.revisions[name]: Fares.CRASHING}

    def mend(self) -> None:
        """Pods of all versions fare again as they did."""
        self.cluster.fares = dict(self.fares)

    def _become(self, name: str, version: ModelVersion) -> None:
        status = version.status.model_copy(update={"verdicts": self.versions[name].status.verdicts})
        self.versions[name] = version.model_copy(update={"status": status})
        self._due = self.now

    def step(self) -> Iterator[Turn]:
        """The turns of the next moment."""
        self.now += STEP
        changed = self.cluster.lives_on(self.now)
        looked = self._look()
        if not (changed or looked or (self._due is not None and self.now >= self._due)):
            return
        for _ in range(_TURNS):
            turn = Turn(self.now, self._observed(), Plan(status={}))
            turn = Turn(self.now, turn.observed, plan(turn.observed))
            yield turn
            if not self._carry_out(turn):
                break
        else:
            self.restless = True
        self._due = None if turn.plan.again is None else self.now + round(turn.plan.again.total_seconds())

    def _carry_out(self, turn: Turn) -> bool:
        """Whether anything has come of it."""
        made = turn.plan
        status = dated(made, moment(self.now))
        for one in status["conditions"]:
            for old in self.resource.status.conditions:
                if (old.type, old.status) == (one["type"], one["status"]) and old.last_transition_time:
                    one["lastTransitionTime"] = old.last_transition_time.isoformat()
        before = self.resource
        self.resource = Deployment.model_validate({**as_stored(before), "status": status})
        for reference in made.delete:
            self.cluster.sizes.pop(reference.name.removeprefix("churn-"), None)
        for one in made.create:
            self.cluster.sizes[one["metadata"]["labels"][names.REVISION]] = one["spec"]["replicas"]
        for scale in made.scale:
            self.cluster.sizes[scale.target.name.removeprefix("churn-")] = scale.value
        self._services |= {one["metadata"]["name"]: one for one in made.apply}
        self._kept = kept_after(self._kept, made)
        changed = before.status != self.resource.status
        if changed:
            for name, use in uses_of(as_stored(self.resource)).items():
                version = self.versions[name]
                verdicts = remembered(version.status.verdicts, [use])
                status_of = version.status.model_copy(update={"verdicts": verdicts})
                self.versions[name] = version.model_copy(update={"status": status_of})
        return changed or bool(made.create or made.scale or made.delete)

    def _look(self) -> bool:
        """Whether a look is taken at the two versions that are compared."""
        comparison = self._comparison()
        if comparison is None:
            self.looks = None
            return False
        if self.looks is None or self.looks.comparison != comparison:
            self.looks = Looks(comparison, self.now, self.now)
            return True
        if self.now - self.looks.until < _LOOKS:
            return False
        self.looks.until = self.now
        arms: Mapping[ArmName, str] = {"canary": comparison[1], "stable": comparison[0]}
        asked = {arm: _REQUESTS * self.cluster.ready(one) for arm, one in arms.items()}
        if all(asked.values()):
            failed = {arm: round(asked[arm] * self.cluster.fares[one].fails) for arm, one in arms.items()}
            seen: Any = {arm: (asked[arm], failed[arm]) for arm in arms}
            self.looks.taken.append(Look(moment(self.now).timestamp(), {"errors": Counts(**seen)}))
        self.looks.asked = asked
        return True

    def _comparison(self) -> tuple[str, str, datetime] | None:
        stable, candidate = self.resource.status.stable, self.resource.status.candidate
        if stable is None or candidate is None or candidate.leaving:
            return None
        return stable.revision, candidate.revision, candidate.since

    def _reading(self) -> Reading:
        if self.looks is None or self.looks.comparison != self._comparison():
            return Reading()
        after = until(recorded(self._kept, self.resource.status)) or 0.0
        return Reading(
            looks=[one for one in self.looks.taken if one.time > after],
            arms={
                arm: Measurement("Counted" if count else "Unknown", requests=count, recent=count)
                for arm, count in self.looks.asked.items()
            },
            since=moment(self.looks.since).timestamp(),
            until=moment(self.looks.until).timestamp(),
        )

    def _observed(self) -> Observed:
        """As `upright.rollout.observe.observe` would give it."""
        status, wanted = self.resource.status, self.versions[self.resource.spec.model_version or ""]
        met = {arm.model_version for arm in (status.stable, status.candidate) if arm} | {wanted.metadata.name}
        if status.stable is None and status.candidate is None:
            met |= {self.names[one] for one in self.cluster.sizes}
        rejected = [one for one in status.rejected if one.retried is None]
        past = recalled(self._kept).beyond(status)
        rejected += [*past, *rejected_before(self.resource, wanted)]
        fallback = self._served_last(wanted, rejected) if status.stable is None else None
        pods = {one: [pod.read() for pod in self.cluster.of(one)] for one in self.cluster.sizes}
        return Observed(
            now=moment(self.now),
            defaults=DEFAULTS,
            resource=self.resource,
            wanted=wanted,
            versions={name: self.versions[name] for name in (*met, *filter(None, [fallback]))},
            rejected=rejected,
            fallback=fallback,
            workloads={one: self._workload(one, size) for one, size in self.cluster.sizes.items()},
            pods=sighted(self._sightings, pods, moment(self.now)),
            services=self._services,
            kept=self._kept,
            reading=self._reading(),
            watched_since=moment(self._watched),
        )

    def _served_last(self, wanted: ModelVersion, rejected: Sequence[Rejection]) -> str | None:
        bad = {one.revision for one in rejected}
        if self.revisions[wanted.metadata.name] not in bad:
            return None
        served = {
            name: one.at
            for name, version in self.versions.items()
            for one in version.status.verdicts
            if one.outcome == "Stable"
        }
        if before := recalled(self._kept).stable:
            served.setdefault(before.model_version, before.since)
        last = max(served, key=lambda name: served[name], default=None)
        if last is None or self.revisions[last] in bad or rejected_before(self.resource, self.versions[last]):
            return None
        return last

    def _workload(self, one: str, size: int) -> Manifest:
        if one not in self._made:
            self._made[one] = the_workload(self.resource, self.versions[self.names[one]], one, 1)
        made = self._made[one]
        return {**made, "spec": {**made["spec"], "replicas": size}}
