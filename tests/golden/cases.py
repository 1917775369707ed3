"""Golden pairs: a folder for each case, with what is there (`in.yaml`) and what is planned (`out.yaml`).

`in.yaml` has several documents. The first says what time it is (`now`) and, for a Deployment, what was measured since
its state was recorded (`looks`: the time in Unix seconds, and for both versions total and bad of the metric `errors`;
`failing`: with what most of the candidate's errors were).
The second is the object that is planned. The rest is what else there is, as the API server hands it out.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.unit.builders import DEFAULTS, AWorld
from upright.analysis import Counts, Look
from upright.api import names
from upright.contract import Key, Kind, Manifest, Plan, ResourceType
from upright.kube.objects import plain
from upright.rollout.kind import Deployments
from upright.rollout.measuring import ArmName, Asked, Frequent, Measurement, Reading
from upright.training.kind import TrainingJobs
from upright.versions.kind import ModelVersions

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/*/in.yaml"))
_TYPES = {(one.api_version, one.kind): one for one in vars(names).values() if isinstance(one, ResourceType)}


class Measured:
    """Looks that have been taken."""

    def __init__(self, moment: Mapping[str, Any]) -> None:
        self._looks = [
            Look(look["time"], {"errors": Counts(tuple(look["canary"]), tuple(look["stable"]))})
            for look in moment.get("looks", ())
        ]
        counted = Measurement("Counted")
        self._arms: Mapping[ArmName, Measurement] = (
            {"canary": replace(counted, failing=Frequent(**moment["failing"])), "stable": counted}
            if "failing" in moment
            else {}
        )

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Nothing wakes."""

    def read(self, key: Key, asked: Asked) -> Reading:
        return Reading(self._looks, self._arms)

    def forget(self, key: Key) -> None:
        """Nothing is kept."""


def plan_of(moment: Mapping[str, Any], planned: Manifest, others: Sequence[Manifest]) -> Plan:
    """What the object's kind plans in a world of these objects."""
    kinds: Sequence[Kind[Any]] = (
        TrainingJobs(DEFAULTS),
        ModelVersions(DEFAULTS),
        Deployments(DEFAULTS, Measured(moment)),
    )
    now = datetime.fromisoformat(moment["now"])
    world = AWorld(*((_type(manifest), manifest) for manifest in (planned, *others)), now=now)
    [kind] = [kind for kind in kinds if kind.type == _type(planned)]
    return kind.plan(asyncio.run(kind.observe(planned, world)))


def out(case: Path) -> str:
    """What out.yaml should say."""
    moment, planned, *others = yaml.safe_load_all((case / "in.yaml").read_text())
    return as_yaml(plan_of(moment, planned, others))


def as_yaml(plan: Plan) -> str:
    """A plan, for people to read; what it has nothing of is left out."""
    parts: dict[str, Any] = {
        "status" if plan.record else "status, should this fail": plan.status,
        "keep": plan.keep,
        "create": plan.create,
        "apply": plan.apply,
        "scale": [f"{scale.target.type.kind} {scale.target.name} to {scale.value}" for scale in plan.scale],
        "correct": [f"{one.path} of {one.target.type.kind} {one.target.name}" for one in plan.correct],
        "delete": [f"{target.type.kind} {target.name}" for target in plan.delete],
        "events": [f"{event.type} {event.reason}: {event.message}" for event in plan.events],
        "counts": [{count.metric: dict(count.labels)} for count in plan.counts],
        "again": None if plan.again is None else f"after {plan.again.total_seconds():g} s",
    }
    there = {name: plain(part) for name, part in parts.items() if part}
    return yaml.safe_dump(there, sort_keys=False, width=120, allow_unicode=True)


def write() -> None:
    """Write every out.yaml anew."""
    for case in CASES:
        (case / "out.yaml").write_text(out(case))


def _type(manifest: Manifest) -> ResourceType:
    return _TYPES[manifest["apiVersion"], manifest["kind"]]
