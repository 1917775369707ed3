"""What people are told of a rollout: which events, and in which words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW, a_deployment, a_model_version, a_pod, after, as_stored, exited
from tests.unit.rollout.test_deciding import wanting
from tests.unit.rollout.world import (
    LONG_AGO,
    NEW_REVISION,
    OLD_REVISION,
    both,
    condition,
    in_canary,
    kept_after,
    looks,
    observed,
    pods,
    serving_old,
    stalled,
    then,
)
from upright.api import names
from upright.api.artifact import REFUSED
from upright.api.deployment import Deployment
from upright.api.deployment_status import Rejection
from upright.api.model_version import ModelVersion
from upright.conditions import cut
from upright.contract import Plan
from upright.kube.conditions import differs, recorded, with_obstacle, with_transition_times
from upright.pods.reading import read
from upright.rollout.measuring import Reading
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision


def rolled_back(**spec: Any) -> tuple[Observed, Plan]:
    """churn-2 fails far more than churn-1, and is given up."""
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    before = observed(in_canary(**spec), pods=both(), looks=bad, now=after(seconds=31))
    return before, plan(before)


def reasons(made: Plan) -> set[str]:
    return {event.reason for event in made.events}


def recorded_by_shell(before: Observed, made: Plan, obstacle: tuple[str, str] | None, **later: Any) -> Observed:
    """What is observed when the shell has recorded the plan's status, and what it came across itself."""
    stored = as_stored(before.resource)
    status = with_transition_times(with_obstacle(made.status, obstacle, stored), recorded(stored), before.now)
    resource = Deployment.model_validate({**stored, "status": status})
    return replace(before, resource=resource, kept=kept_after(before.kept, made), **later)


# When


@pytest.mark.parametrize("obstacle", [None, ("RequestRefused", "delete deployments.apps shop/churn-0 was refused.")])
def test_old_pods_that_stay_are_named_after_five_minutes_and_for_as_long_as_they_do(
    obstacle: tuple[str, str] | None,
) -> None:
    first = observed(serving_old(), pods=both(0), strangers=["left-behind"])
    waits = recorded_by_shell(first, plan(first), obstacle, now=after(minutes=4))
    assert plan(waits).again == timedelta(minutes=1), "no event of a pod need come for it"
    assert condition(plan(waits), "Reconciling")["reason"] == "OldPodsGoing"
    waits = recorded_by_shell(waits, plan(waits), obstacle, now=after(minutes=5))
    stays = recorded_by_shell(waits, plan(waits), obstacle, now=after(minutes=5, seconds=1))
    assert reasons(plan(stays)) == ({"OldPods"} if obstacle is None else set())
    for minutes in (6, 20):
        assert "pods left-behind bear the label" in (stalled(plan(stays)) or "")
        stays = recorded_by_shell(stays, plan(stays), obstacle, now=after(minutes=minutes))
    assert plan(replace(stays, strangers=())).status["candidate"]["modelVersion"] == "churn-2"


def test_after_a_restart_it_is_not_what_the_shell_came_across_that_holds_the_candidate() -> None:
    before = observed(in_canary(), pods=both())
    contested = recorded_by_shell(before, plan(before), ("Contested", "Somebody changes a Service."), reading=Reading())
    made = plan(contested)
    assert (made.status["phase"], condition(made, "Ready")["reason"]) == ("Progressing", "Progressing")
    assert not stalled(made), "the shell says it, for as long as it is so"


@pytest.mark.parametrize(
    ("step", "type", "reason"), [(0, "Reconciling", "Progressing"), (1, "Stalled", "Inconclusive")]
)
def test_a_look_that_says_little_is_no_write_while_the_shell_has_something_to_tell_either(
    step: int, type: str, reason: str
) -> None:
    obstacle, taken = ("Contested", "Somebody changes a Service."), looks(3, canary=(10, 0), stable=(90, 1))
    resource = in_canary(step, step_since=after(hours=-step), rollout={"onInconclusive": "Hold"})
    there = observed(resource, pods=both(3), looks=taken[:2], now=after(seconds=31))
    for _ in range(2):
        there = recorded_by_shell(there, plan(there), obstacle, reading=replace(there.reading, looks=[]))
    made = plan(replace(there, reading=replace(there.reading, looks=taken[2:]), now=after(seconds=46)))
    stored = as_stored(there.resource)
    assert not differs(with_obstacle(made.status, obstacle, stored), recorded(stored))
    assert condition(made, type)["reason"] == reason
    assert condition(made, "Ready")["message"].startswith("churn-2 has "), "so it is written when that is gone"


def test_old_pods_are_not_named_for_the_time_in_which_nobody_watched() -> None:
    first = observed(serving_old(), pods=both(0), strangers=["left-behind"])
    back = recorded_by_shell(first, plan(first), None, now=after(minutes=61), watched_since=after(minutes=60))
    assert condition(plan(back), "Reconciling")["reason"] == "OldPodsGoing"
    assert plan(back).again == timedelta(minutes=4)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (a_model_version("churn-3", phase="Corrupt", ready=False), "VersionNotReady"),
        (None, "VersionNotFound"),
        (a_model_version("churn-2"), None),  # the rollback's own event tells of it
    ],
)
def test_what_holds_the_next_try_is_told_also_right_after_a_rollback(wanted: ModelVersion | None, reason: Any) -> None:
    before, made = rolled_back()
    assert "VersionRejected" not in reasons(made)
    held = then(before, made, wanted=wanted, looks=(), now=after(minutes=2))
    recorded = then(held, plan(held), now=after(minutes=3))
    assert reasons(plan(recorded)) - {"RolledBack"} == ({reason} if reason else set())


def test_what_is_said_of_another_version_for_the_same_reason_is_recorded() -> None:
    older = a_model_version("churn-3")
    rejection = {"modelVersion": "churn-3", "revision": revision(older, a_deployment().spec.serving), "at": NOW}
    before, made = rolled_back(status={"rejected": [{**rejection, "message": "It was slow."}]})
    now = plan(then(before, made, wanted=older, looks=(), now=after(minutes=2)))
    assert condition(now, "Stalled")["message"].startswith("churn-3 was rejected")


def test_an_older_rejection_keeps_its_numbers() -> None:
    said = "The canary is worse than the tolerance allows: errors is 30 % in the canary against stable 2 %, ratio 15; "
    one = {"modelVersion": "churn-0", "revision": "r", "at": NOW, "metric": "errors", "message": said + "word " * 60}
    _, made = rolled_back(status={"rejected": [one]})
    assert made.status["rejected"][1]["message"].startswith("errors is 30 % in the canary against stable 2 %, ratio 15")


@pytest.mark.parametrize(
    ("outcome", "metric", "said"),
    [
        ("RolledBack", "errors", "churn-0 is rejected. Worse than tolerated in errors: 20 % against 1 %. "),
        ("Promoted", "", "churn-0 replaces churn-00. Not worse than tolerated: errors is 1 % against 1 %. "),
        ("RolledBack", "", ""),
    ],
)
@pytest.mark.parametrize("again", [False, True], ids=["another", "rejected again"])
def test_an_older_episode_keeps_its_numbers_and_its_cause(outcome: str, metric: str, said: str, again: bool) -> None:
    cause = "Container serve ended with 137 (OOMKilled)."
    at = {"modelVersion": "churn-0", "revision": NEW_REVISION if again else "r"}
    reason = f"{said}{'word ' * 60}{cause}"
    episode = {**at, "from": LONG_AGO, "to": LONG_AGO, "outcome": outcome, "reason": reason}
    rejection = {**at, "at": LONG_AGO, "retried": LONG_AGO, "metric": metric, "message": reason}
    _, made = rolled_back(status={"history": [episode], "rejected": [rejection] if outcome == "RolledBack" else []})
    kept = made.status["history"][1]["reason"]
    assert kept.startswith(said)
    assert kept.endswith(cause)
    assert len(kept) <= 170


def test_history_keeps_of_an_older_rollback_in_what_the_version_was_worse_by_how_much_and_why() -> None:
    worse = (
        "Worse than tolerated in errors: 97.5 % against 1.25 % of the stable version (evidence 252.1 over all metrics,"
    )
    most = "Most frequent of its errors (97.5 % of 80, for instance with 1 row): KeyError: 'fee'."
    found = f"{worse} 100 is enough). {most}"
    where = "Why it answered with 5xx is in the logs of its pods (churn-1a2b-*, container serve), which go with it."
    of = {"modelVersion": "churn-0", "revision": "r"}
    reason = f"churn-0 is rejected and churn-00 serves all traffic again. {found} {where}"
    episode = {**of, "from": LONG_AGO, "to": LONG_AGO, "outcome": "RolledBack", "reason": reason}
    rejection = {**of, "at": LONG_AGO, "metric": "errors", "message": found}
    _, made = rolled_back(status={"history": [episode], "rejected": [rejection]})
    newest, kept = (one["reason"] for one in made.status["history"])
    assert " Why it answered with 5xx is in the logs of its pods " in newest
    assert kept == f"{worse.removesuffix(' metrics,')} ... % of 80, for instance with 1 row): KeyError: 'fee'."


@given(st.lists(st.text("ab", min_size=1, max_size=80)), st.integers(20, 200), st.sampled_from((0.5, 2 / 3)))
def test_a_long_text_loses_whole_words_of_its_middle(words: list[str], longest: int, first: float) -> None:
    said, kept = " ".join(words), cut(" ".join(words), longest, first)
    if len(said) <= longest:
        assert kept == said
        return
    begins, _, ends = kept.partition(" ... ")
    assert len(kept) <= longest
    assert said.startswith(begins)
    assert said.endswith(ends)
    for part, at in ((begins, len(begins)), (ends, len(said) - len(ends) - 1)):
        assert " " not in part or said[at] == " "


def test_two_revisions_of_one_version_are_told_apart() -> None:
    resource = in_canary(stable={"modelVersion": "churn-2"})
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    new, old = f"revision {NEW_REVISION} of churn-2", f"revision {OLD_REVISION} of churn-2"
    goes = plan(observed(resource, pods=both()))
    assert condition(goes, "Ready")["message"].startswith(f"{new} has 25 % of the traffic.")
    assert f"churn-2 (revision {NEW_REVISION}) goes out beside {old}." in [one.message for one in goes.events]
    made = plan(observed(resource, pods=both(), looks=bad, now=after(seconds=31)))
    [told] = [one.message for one in made.events if one.reason == "RolledBack"]
    assert told.startswith(f"{new} is rejected and {old} serves all traffic again.")
    assert f"{new} was rejected at " in (stalled(made) or "")


def test_that_the_stable_version_serves_again_is_said_only_where_a_pod_of_it_answers() -> None:
    left = exited(REFUSED, '{"reason": "Missing", "message": "The artifact is not in the store."}')
    refuses = pods(NEW_REVISION, 1, ready=False, containers={"serve": left})
    for ready, said in ((True, "churn-1 serves all traffic again. "), (False, "no pod of churn-1 answers. ")):
        stable = pods(OLD_REVISION, 3, ready=ready)
        made = plan(observed(in_canary(), pods={OLD_REVISION: stable, NEW_REVISION: refuses}))
        [told] = [one.message for one in made.events if one.reason == "RolledBack"]
        assert told.startswith(f"churn-2 is rejected and {said}")
        assert made.status["history"][0]["reason"].startswith(f"churn-2 is rejected and {said}")


@pytest.mark.parametrize("followed", [False, True])
def test_why_another_version_starts_than_the_newest_is_said(followed: bool) -> None:
    """A Deployment that was made again: churn-2 was rejected before, and churn-1 served."""
    verdict = Rejection(model_version="churn-2", revision=NEW_REVISION, at=NOW, message="errors is 40 %.")
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": NOW.isoformat(), "replicas": 3}
    wants: dict[str, Any] = {"latest": {"model": "churn"}} if followed else {"modelVersion": "churn-2"}
    resource = a_deployment(None, replicas=3, status={"candidate": arm}, **wants)
    known: dict[str, Any] = {"passed_over": verdict} if followed else {"fallback": "churn-1"}
    made = plan(observed(resource, a_model_version("churn-1" if followed else "churn-2"), rejected=[verdict], **known))
    said = condition(made, "Ready")["message"]
    assert said.startswith("churn-1 starts as the first version.")
    assert said.endswith("churn-2 was rejected at 2026-11-22 12:00:00 UTC: errors is 40 %.")


@pytest.mark.parametrize("phase", ["Missing", "Corrupt", "Ready"])
def test_a_version_that_serves_and_could_not_be_loaded_again_is_told(phase: str) -> None:
    version = a_model_version("churn-1", phase=phase, ready=phase == "Ready")
    before = observed(in_canary(), version, pods=both(0), versions={"churn-1": version})
    status = before.resource.status.model_copy(update={"candidate": None})
    resource = before.resource.model_copy(update={"status": status})
    made = plan(replace(before, resource=wanting(resource, modelVersion="churn-1")))
    gone = phase != "Ready"
    assert (condition(made, "Current")["status"] == "False") is gone
    assert ("churn-1, which is the stable version, cannot be loaded by pods" in (stalled(made) or "")) is gone
    assert condition(made, "Ready")["status"] == "True"


def test_a_version_that_is_wanted_back_and_cannot_be_loaded_is_not_said_to_go_out() -> None:
    gone, leaving = a_model_version("churn-1", phase="Missing", ready=False), in_canary(1, candidate={"leaving": True})
    without = {OLD_REVISION: [], NEW_REVISION: pods(NEW_REVISION, 3)}
    made = plan(observed(wanting(leaving, modelVersion="churn-1"), gone, pods=without, versions={"churn-1": gone}))
    assert made.status["candidate"]["leaving"], "it stands in for what it was to replace"
    assert (stalled(made) or "").startswith("ModelVersion churn-1, which is the stable version, cannot be loaded by")


MEND = "Restore it, and say so with `kubectl annotate mv churn-2`."
STALLED = [{"type": "Stalled", "status": "True", "reason": "Missing", "message": f"It is Missing. {MEND}"}]
AGAIN = f"try again: kubectl annotate --overwrite deployments.upright.dev churn -n shop {names.RETRY}=$(date +%s)"


@pytest.mark.parametrize(
    ("phase", "stalls", "rejected", "remedy"),
    [
        ("Missing", STALLED, False, MEND),
        ("Missing", STALLED, True, f"{MEND} When it is Ready, {AGAIN}"),
        (
            "Missing",
            [],
            True,
            f"Name another version, or another spec.serving, or {AGAIN}",
        ),  # what helps is not said yet
        ("Ready", [], True, f"Name another version, or another spec.serving, or {AGAIN}"),
    ],
)
def test_what_mends_a_version_is_said_by_the_deployment_too(
    phase: str, stalls: list[Any], rejected: bool, remedy: str
) -> None:
    stored = as_stored(a_model_version("churn-2", phase=phase, ready=phase == "Ready"))
    stored["status"]["conditions"] += stalls
    verdict = Rejection(model_version="churn-2", revision=NEW_REVISION, at=NOW, message="It was Missing.")
    wanted = ModelVersion.model_validate(stored)
    made = plan(observed(serving_old(), wanted, pods=both(0), rejected=[verdict] if rejected else []))
    assert condition(made, "Current")["message"].endswith("It was Missing." if rejected else "It is Missing.")
    assert stalled(made) == f"{condition(made, 'Current')['message'].partition('ready. ')[2]} {remedy}"


@pytest.mark.parametrize(
    ("left", "phase", "said", "again"),
    [
        ('{"reason": "Missing", "message": "The artifact is not in the store."}', "Ready", "not in the store.", True),
        (
            '{"reason": "Missing", "message": "The artifact is not in the store."}',
            "Missing",
            "not in the store.",
            False,
        ),
        ("killed by hand", "Ready", "killed by hand.", True),
    ],
)
def test_that_nothing_answers_is_said_with_why_in_words_and_when_it_may_again(
    left: str, phase: str, said: str, again: bool
) -> None:
    """A kubelet waits for minutes before it tries again, also when what was missing is there."""
    crashed = read(a_pod("crashed", ready=False, restarts=4, containers={"serve": exited(REFUSED, left)}))
    old = a_model_version("churn-1", phase=phase, ready=phase == "Ready")
    resource = wanting(serving_old(), modelVersion="churn-1")
    silent = observed(resource, old, pods={OLD_REVISION: [crashed]}, versions={"churn-1": old})
    made = plan(silent)
    told = condition(made, "Ready")["message"]
    assert told.startswith("No pod of churn-1 answers. Container 'serve' of pod crashed has ended")
    assert f"last with exit code {REFUSED} (Error): " in told
    assert said in told
    assert ("`kubectl delete pod`" in told) is again
    [event] = [one for one in plan(then(silent, made)).events if one.reason == "NotServing"]
    assert said in event.message
    assert "{" not in told + event.message
