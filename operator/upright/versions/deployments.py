"""What the Deployments of a namespace say of a version."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from upright.api.deployment_status import Arm, Rejection
from upright.api.indexes import PLACES, place_of, rejections_of, versions_met
from upright.api.model_version import Verdict
from upright.conditions import cut
from upright.contract import Manifest

_LONGEST_MESSAGE = 512


@dataclass(frozen=True)
class Use:
    """What one Deployment says of a version. What cannot be read of it is as if it were not said."""

    deployment: str
    place: str | None
    """As what it is served, one of PLACES; None when it is not."""
    verdicts: Sequence[Verdict]
    """What has become of it there."""
    lifted: Sequence[tuple[str, datetime]]
    """Revisions that somebody wanted to be tried again, and until when what was decided of them does not count: its
    clock may have been ahead."""


def uses_of(deployment: Manifest) -> Mapping[str, Use]:
    """What a Deployment says, by version."""
    return {version: _use(deployment, version) for version in versions_met(deployment)}


def _use(deployment: Manifest, version: str) -> Use:
    name = str(deployment["metadata"]["name"])
    rejections = list(_rejections(deployment, version))
    return Use(
        deployment=name,
        place=next((place for place in PLACES if place_of(deployment, place).get("modelVersion") == version), None),
        verdicts=[
            *_stable(deployment, version),
            *(
                Verdict(
                    deployment=name,
                    revision=each.revision,
                    outcome="Rejected",
                    at=each.at,
                    metric=each.metric,
                    message=cut(each.message, _LONGEST_MESSAGE),
                )
                for each in rejections
                if each.retried is None
            ),
        ],
        lifted=[(each.revision, max(each.at, each.retried)) for each in rejections if each.retried],
    )


def _stable(deployment: Manifest, version: str) -> Iterable[Verdict]:
    try:
        arm = Arm.model_validate(place_of(deployment, "stable"))
    except ValidationError:
        return
    if arm.model_version == version:
        name = str(deployment["metadata"]["name"])
        yield Verdict(deployment=name, revision=arm.revision, outcome="Stable", at=arm.since)


def _rejections(deployment: Manifest, version: str) -> Iterable[Rejection]:
    for each in rejections_of(deployment):
        if each.get("modelVersion") == version:
            try:
                yield Rejection.model_validate(each)
            except ValidationError:
                continue
