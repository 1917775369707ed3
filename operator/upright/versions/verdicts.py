"""What became of a version in Deployments: copied from them, and kept when they are gone."""

from collections.abc import Sequence

from upright.api.model_version import Verdict
from upright.versions.deployments import Use

MOST = 64
WORDED = 10
"""So many, the newest, say why: a status is bounded."""


def remembered(before: Sequence[Verdict], uses: Sequence[Use]) -> list[Verdict]:
    """The verdicts to record, newest first: one for each Deployment, revision and outcome.

    A Deployment lists its last rejections only, and may be gone: what it says no more stands. What it says was wanted
    to be tried again does not. Where there are too many, rejections stay: forgotten, they would be tried again.
    """
    lifted = {(use.deployment, revision): at for use in uses for revision, at in use.lifted}
    kept = [
        verdict
        for verdict in before
        if verdict.outcome == "Stable"
        or (verdict.deployment, verdict.revision) not in lifted
        or verdict.at > lifted[verdict.deployment, verdict.revision]
    ]
    told = sorted((verdict for use in uses for verdict in use.verdicts), key=lambda verdict: verdict.at)
    newest = {(each.deployment, each.revision, each.outcome): each for each in (*kept, *told)}
    rejected_first = sorted(newest.items(), key=lambda item: (item[1].outcome != "Rejected", *_newest(item)))[:MOST]
    ordered = sorted(rejected_first, key=_newest)
    return [
        each if place < WORDED else each.model_copy(update={"message": ""}) for place, (_, each) in enumerate(ordered)
    ]


def rejected_by(verdicts: Sequence[Verdict], uses: Sequence[Use]) -> list[str]:
    """The Deployments whose last word on a version, newest first, is that it is not good enough, and that do not serve
    it: with another spec.serving they may.
    """
    serving = {use.deployment for use in uses if use.place}
    last: dict[str, str] = {}
    for verdict in verdicts:
        last.setdefault(verdict.deployment, verdict.outcome)
    return [name for name, outcome in last.items() if outcome == "Rejected" and name not in serving]


def _newest(item: tuple[tuple[str, str, str], Verdict]) -> tuple[float, tuple[str, str, str]]:
    key, verdict = item
    return -verdict.at.timestamp(), key
