"""What surrounds a Deployment in the tests of its plans: churn-1 serves, and churn-2 is wanted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.unit.builders import DEFAULTS, NOW, a_deployment, a_model_version, a_pod, as_stored, metadata
from upright.analysis import Counts, Look
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.contract import Key, Manifest, Plan
from upright.kube.objects import plain
from upright.pods.reading import Pod, read
from upright.rollout.measuring import Asked, Measurement, Reading
from upright.rollout.modes.realtime import template, workload
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import services
from upright.rollout.sightings import Sightings
from upright.rollout.template import record

STEPS = [{"weight": 25, "for": "1m"}, {"weight": 50, "for": "1m"}]
OLD, NEW = a_model_version("churn-1"), a_model_version("churn-2")
OLD_REVISION, NEW_REVISION = (revision(version, a_deployment().spec.serving) for version in (OLD, NEW))
LONG_AGO = NOW - timedelta(hours=1)


class Unmeasured:
    """A source that has seen nothing."""

    def __init__(self) -> None:
        self.asked: dict[Any, Asked] = {}

    def begin(self, wake: Any) -> None:
        """Nothing wakes."""

    def read(self, key: Any, asked: Asked) -> Reading:
        self.asked[key] = asked
        return Reading()

    def forget(self, key: Any) -> None:
        self.asked.pop(key, None)


def observed(
    resource: Deployment, wanted: ModelVersion | None = NEW, *, looks: Sequence[Look] | None = None, **more: Any
) -> Observed:
    """What there is beside a Deployment: as many workloads as it has versions, and no pods, but what is named."""
    versions = {version.metadata.name: version for version in (OLD, NEW, wanted) if version}
    bare = Observed(
        now=NOW,
        defaults=DEFAULTS,
        resource=resource,
        wanted=wanted,
        versions=versions,
        rejected=[one for one in resource.status.rejected if one.retried is None],
        workloads=workloads(resource),
        services=the_services(resource, OLD_REVISION, NEW_REVISION),
        reading=Reading(since=LONG_AGO.timestamp()),
    )
    if looks is not None:
        more["reading"] = Reading(looks=looks, since=LONG_AGO.timestamp())
    return replace(bare, **more)


def workloads(resource: Deployment, **sizes: int) -> dict[str, Manifest]:
    """The workload of each version that the status names, as big as it should be there."""
    arms = [arm for arm in (resource.status.stable, resource.status.candidate) if arm]
    stand_in = [resource.status.stand_in.revision] if resource.status.stand_in else []
    return {one: the_workload(resource, NEW, one, 3) for one in stand_in} | {
        arm.revision: the_workload(
            resource, OLD if arm.revision == OLD_REVISION else NEW, arm.revision, sizes.get(arm.revision, arm.replicas)
        )
        for arm in arms
    }


def the_services(resource: Deployment, stable: str | None, candidate: str | None) -> dict[str, Manifest]:
    """The Services of a Deployment, by name; that of all traffic leads to both versions."""
    alone, grpc = stable is None or candidate is None, resource.spec.serving.grpc
    made = services(resource, stable, candidate, {}, alone=alone, grpc=grpc)
    return {one["metadata"]["name"]: one for one in made}


def the_workload(resource: Deployment, version: ModelVersion, revision_name: str, replicas: int) -> Manifest:
    made = workload(resource, revision_name, template(resource, version, revision_name, DEFAULTS), replicas)
    return {**made, "metadata": {**made["metadata"], **_stamps(made["metadata"]["name"])}}


def the_record(resource: Deployment, owned: Manifest, revision_name: str) -> Manifest:
    made = record(resource, revision_name, owned["spec"]["template"])
    return {**made, "metadata": {**made["metadata"], **_stamps(made["metadata"]["name"])}}


def _stamps(name: str) -> Mapping[str, Any]:
    stamps = metadata(name)
    return {field: stamps[field] for field in ("uid", "creationTimestamp")}


def pods(revision_name: str, count: int, *, since: datetime = LONG_AGO, **more: Any) -> list[Pod]:
    """Pods of a revision; `since`: ready for so long."""
    made = []
    for number in range(count):
        labels = {names.DEPLOYMENT: "churn", names.REVISION: revision_name}
        manifest = a_pod(f"{revision_name}-{number}", **{"labels": labels, **more})
        for condition in manifest["status"]["conditions"]:
            condition["lastTransitionTime"] = since.isoformat()
        made.append(read(manifest))
    return made


def sighted(sightings: Sightings, pods: Mapping[str, Sequence[Pod]], now: datetime) -> dict[str, Sequence[Pod]]:
    """The pods of each revision as whoever looks takes them, whatever the clocks of their nodes."""
    return sightings.dated(Key("shop", "churn"), pods, now)


def both(canary: int = 1, stable: int = 3, **more: Any) -> dict[str, Sequence[Pod]]:
    """Pods of both versions; the rest is of the canary's."""
    return {OLD_REVISION: pods(OLD_REVISION, stable), NEW_REVISION: pods(NEW_REVISION, canary, **more)}


def serving_old(**spec: Any) -> Deployment:
    """churn-1 serves, and the spec asks for churn-2."""
    return a_deployment(
        "churn-2",
        replicas=spec.pop("replicas", 3),
        rollout={"steps": STEPS, **spec.pop("rollout", {})},
        status={
            "stable": {
                "modelVersion": "churn-1",
                "revision": OLD_REVISION,
                "since": LONG_AGO.isoformat(),
                "replicas": 3,
                "readyReplicas": 3,
                **spec.pop("stable", {}),
            },
            "conditions": [{"type": "Current", "status": "False", "reason": "Progressing", "message": ""}],
            **spec.pop("status", {}),
        },
        **spec,
    )


def in_canary(
    step: int = 0, *, since: datetime = NOW, step_since: datetime | None = NOW, candidate: Any = None, **spec: Any
) -> Deployment:
    """churn-2 goes out beside churn-1."""
    arm = {
        "modelVersion": "churn-2",
        "revision": NEW_REVISION,
        "since": since.isoformat(),
        "step": step,
        "replicas": (1, 3, 3)[step],
        "comparedFailures": {},
        **(candidate or {}),
    }
    if step_since:
        arm["stepSince"] = step_since.isoformat()
    return serving_old(status={"candidate": arm, **spec.pop("status", {})}, **spec)


def looks(count: int, *, canary: tuple[int, int], stable: tuple[int, int]) -> list[Look]:
    """So many looks, each with (requests, errors) of both versions."""
    start = NOW.timestamp()
    return [Look(start + 15 * n, {"errors": Counts(canary=canary, stable=stable)}) for n in range(1, count + 1)]


def measured(canary: Measurement, stable: Measurement) -> Reading:
    return Reading(arms={"canary": canary, "stable": stable}, since=LONG_AGO.timestamp())


COUNTED, QUIET = Measurement("Counted", requests=100), Measurement("NoRequests")


def then(before: Observed, made: Plan, **more: Any) -> Observed:
    """What is observed when the plan's status has been recorded, and its objects have been made."""
    stored = {**as_stored(before.resource), "status": dated(made, before.now)}
    resource = Deployment.model_validate(stored)
    if "rejected" not in more:
        more["rejected"] = [one for one in resource.status.rejected if one.retried is None]
    if "looks" in more:
        more["reading"] = replace(before.reading, looks=more.pop("looks"))
    applied = {one["metadata"]["name"]: one for one in made.apply}
    services = {**before.services, **applied}
    there = {"workloads": workloads(resource), "services": services, "kept": kept_after(before.kept, made)}
    return replace(before, resource=resource, **{**there, **more})


def kept_after(kept: Manifest | None, made: Plan) -> Manifest | None:
    """The Comparison as the API server has it when a plan has been carried out: through JSON, with UID and version."""
    if made.keep is None:
        return None if any(one.type == names.COMPARISONS for one in made.delete) else kept
    stored: dict[str, Any] = json.loads(json.dumps(made.keep))
    meta = stored["metadata"]
    version = {"uid": "kept", "resourceVersion": str(int(meta.get("resourceVersion", "0")) + 1)}
    return {**stored, "metadata": {**meta, **version, "creationTimestamp": NOW.isoformat()}}


def dated(made: Plan, now: datetime) -> dict[str, Any]:
    """A status with the times of its conditions, which the shell adds."""
    status = dict(plain(made.status))
    status["conditions"] = [{"lastTransitionTime": now.isoformat(), **one} for one in status["conditions"]]
    return status


def plans(before: Observed, count: int = 5, **more: Any) -> Plan:
    """The last of so many plans, each from what the one before has recorded."""
    made = plan(before)
    for _ in range(count):
        before = then(before, made, **more)
        made = plan(before)
    return made


def condition(made: Plan, type: str) -> Mapping[str, Any]:
    """A condition of a plan's status; empty when it is not there."""
    return next((one for one in made.status["conditions"] if one["type"] == type), {})


def stalled(made: Plan) -> str | None:
    return condition(made, "Stalled").get("message")


def selector(made: Plan, service: str) -> Any:
    return next(one["spec"]["selector"] for one in made.apply if one["metadata"]["name"] == service)


def sizes(made: Plan) -> dict[str, int]:
    """The replicas that a plan scales to, by revision."""
    return {scale.target.name.removeprefix("churn-"): scale.value for scale in made.scale}
