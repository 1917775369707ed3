"""What became of a run, as its Job and its pods tell."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from upright.api import names
from upright.api.artifact import REFUSED, Inputs, PublishReport, read_report
from upright.api.common import Condition
from upright.api.training_job import Run
from upright.conditions import Finding, some
from upright.contract import Manifest
from upright.locations import is_counted
from upright.pods.container import Termination
from upright.pods.reading import Pod, is_outage
from upright.training.waiting import STRANGE, held_since, managed_by, stuck

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label by which Kueue knows the queue of a Job."""
_WORKLOAD = "kueue.x-k8s.io/job-uid"
"""Label by which Kueue's own object, which tells why a Job waits, knows it."""
_UNREPORTED = (
    "What it has published, if anything, is in the store: run it again to have it reported, or write its ModelVersion "
    "from the manifest.json there (docs/versions.md, Importing a model by hand)."
)
_HERE = f"Have it run in this cluster, by another queue (label {QUEUE} in spec.train.metadata) or by none"
_ROOM = "exceeded quota"
_GOES_ON = "It goes on by itself once that is mended."
_HOLDS_UP = frozenset({"Queued", "NoPod", "ManagedElsewhere", "RunHindered"})
"""Reasons of what holds a run up."""
_BEFORE_IT_RUNS = frozenset({"NoPod", "RunHindered"})
"""Those of them for which its program has not run, as far as anybody knows, unless these words say so:"""
_NOT_STORED, _NOT_GONE = _AFTER_IT_RAN = ("is not in the store yet", "should have ended")
_ENDS = "It ends when its pod has"
_PATIENCE = timedelta(minutes=10)
"""What keeps an image away for longer than this needs somebody, whatever it is."""
_PUBLISHES = timedelta(minutes=3)
"""Within this time a model is checked and stored, unless the store is slow or out of order."""
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""What the kubelet says of a container whose program could not be started."""


@dataclass(frozen=True)
class Held:
    """Its Job is suspended: a queue, or somebody, lets it start later."""

    finding: Finding


@dataclass(frozen=True)
class Working:
    """The run goes on."""

    hindrance: Finding | None = None
    """What keeps it from going on, if anything is known to."""
    note: str = ""
    """What else there is to say, in a sentence."""
    ends_by_itself: bool = False
    """Whether it is to be left alone, whatever else is wanted: a pod of it may go on where nobody sees it."""


@dataclass(frozen=True)
class Produced:
    """A model was published."""

    report: PublishReport
    pod: Pod


@dataclass(frozen=True)
class Ended:
    """The run ended without a model."""

    phase: Literal["Failed", "Refused"]
    message: str


Outcome = Held | Working | Produced | Ended


def outcome(run: Run, job: Manifest, pods: Sequence[Pod], told: str | None, now: datetime) -> Outcome:
    """What became of a run, as its Job tells.

    `pods`: the run's, newest first. `told`: why no pod can be made, or the newest has not begun or does not get on;
    empty when nobody tells why, None when there is nothing to tell.
    A model counts from the moment on that `publish` has ended well: other containers of its pod may go on for ever.
    """
    if produced := next((pod for pod in pods if published(pod)), None):
        return _report(run, produced)
    if end := _end(run, job, pods):
        return end if has_ended(job) else _once_its_pods_have_ended(run, end, pods, now)
    suspended = job.get("spec", {}).get("suspend")
    if (by := managed_by(job)) and not pods:
        elsewhere = _elsewhere(run, by)
        return Held(elsewhere) if suspended else Working(elsewhere, elsewhere.message)
    if suspended:
        return Held(_held(run, job))
    losses = _losses(pods)
    if hindrance := _hindrance(run, pods, told, now):
        hindrance = replace(hindrance, message=" ".join((hindrance.message, *losses)))
        return Working(hindrance, hindrance.message, ends_by_itself=any(_is_overdue(pod, now) for pod in pods[:1]))
    if names.is_going(job) and not pods:
        return Working(note=run.message)  # which is what there is to say of it once its Job is gone, too
    if told is not None and not pods:
        describe = f"kubectl describe job {run.name} -n {job['metadata']['namespace']}"
        tried = f"{run.attempts} attempt{'s' * (run.attempts > 1)}"
        lacks = f"has no pod now, after {tried}" if run.attempts else "has no pod yet"
        return Working(note=f"Run {run.name} {lacks}: `{describe}` may tell why.")
    if failed := _attempts(pods):
        losses = (failed, *losses)
    if told is not None:
        describe = f"kubectl describe pod {pods[0].name} -n {pods[0].namespace}"
        losses = (f"Pod {pods[0].name} has not begun yet: `{describe}` may tell why.", *losses)
    return Working(note=" ".join((f"Run {run.name} is under way.", *losses)) if losses else "")


def deleted(run: Run, ready: Condition | None) -> str:
    """What to say of a run whose Job is gone. `ready`: what was recorded of its TrainingJob: when that is known to have
    held the run up, somebody has given it up.
    """
    recorded = ready.reason if ready else ""
    if ready and recorded == "RunEnding":
        known = ready.message.partition(_ENDS)[0].rstrip()
        return f"{known} Its Job was deleted before its pod had ended. {_UNREPORTED}"
    if recorded not in _HOLDS_UP or not run.message:
        before = f" Before: {run.message}" if run.message else ""
        return f"Job {run.name} was deleted before it was known how its run ended. {_UNREPORTED}{before}"
    about = run.message.removeprefix(f"Run {run.name}")
    why = about.removeprefix(": ") if about.startswith(": ") else f"it{about}"
    said = f"Run {run.name} was given up: its Job was deleted while {why[:1].lower()}{why[1:]}"
    never_ran = recorded in _BEFORE_IT_RUNS and not any(words in why for words in _AFTER_IT_RAN)
    return said if never_ran else f"{said} {_UNREPORTED}"


def conditions_of(job: Manifest) -> Mapping[str, Manifest]:
    """The conditions of a Job that hold."""
    conditions = job.get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in conditions if condition["status"] == "True"}


def has_ended(job: Manifest) -> bool:
    """Whether no pod of the Job will ever run again."""
    return not conditions_of(job).keys().isdisjoint({"Complete", "Failed"})


def is_decided(job: Manifest) -> bool:
    """Whether no pod of the Job will ever be started again. Kubernetes ends those that still run, and only then has the
    Job ended: never, where a node does not answer.
    """
    return has_ended(job) or not conditions_of(job).keys().isdisjoint({"SuccessCriteriaMet", "FailureTarget"})


def attempts_of(run: Run, job: Manifest | None, pods: Sequence[Pod]) -> int:
    """How many pods have been started for a run, as far as anybody has seen: its Job does not count those that it lost
    to their nodes, and Kubernetes removes some.
    """
    status = job.get("status", {}) if job else {}
    counted: int = sum(status.get(count, 0) for count in ("active", "succeeded", "failed"))
    return max(run.attempts, len(pods), counted)


def published(pod: Pod) -> bool:
    """Whether the pod has done all that it was there for."""
    ended = pod.ended("publish")
    return ended is not None and ended.exit_code == 0


def measured(pods: Iterable[Pod]) -> Mapping[str, float]:
    """What a run's program measured although `publish` took no model of it; of several pods the newest that tells."""
    ended = (pod.ended("publish") for pod in pods)
    told = (one.refusal for one in ended if one)
    return next((refusal.metrics for refusal in told if refusal and refusal.metrics), {})


def read_by(pods: Iterable[Pod]) -> Mapping[str, str]:
    """The digests of what a run's pod has read of the sources that the operator reads, too, by URI; of several pods the
    first that tells. Empty before that, and for an older runtime's.
    """
    for pod in pods:
        ended = pod.ended("data")
        if ended is not None and ended.exit_code == 0:
            with suppress(ValidationError):
                inputs = Inputs.model_validate_json(ended.message)
                sources = [*inputs.data, *([inputs.code] if inputs.code else [])]
                return {source.uri: source.digest for source in sources if is_counted(source.uri)}
    return {}


def _end(run: Run, job: Manifest, pods: Sequence[Pod]) -> Ended | None:
    """How a run ends of which no pod has published; None while that is not decided."""
    conditions = conditions_of(job)
    if failed := conditions.get("Failed") or conditions.get("FailureTarget"):
        return _failed(run, failed, pods)
    if is_decided(job):
        if by := managed_by(job):
            there = (
                f"Run {run.name} completed where {by} (spec.managedBy of its Job) had it run, and no pod is here that"
            )
            return Ended("Failed", f"{there} could report a version: it would be the same another time. {_HERE}.")
        gone = f"Run {run.name} completed, but the pod that could report the version is gone."
        return Ended("Failed", f"{gone} {_UNREPORTED}")
    return None


def _once_its_pods_have_ended(run: Run, end: Ended, pods: Sequence[Pod], now: datetime) -> Outcome:
    """The end of a run whose pods are being ended: one of them may yet publish. Not waited for are those of nodes that
    do not answer.
    """
    left = [pod for pod in pods if pod.phase not in {"Succeeded", "Failed"}]
    if not left:
        return end
    if all(_is_overdue(pod, now) for pod in left):
        return replace(end, message=f"{end.message} But {_overdue(left[0])} What it still does counts no more.")
    going = f"{_ENDS}: {', '.join(pod.name for pod in left)}."
    # The run's message stays what it was, for its end to quote.
    return Working(Finding("RunEnding", f"{end.message} {going}", passing=True), run.message, ends_by_itself=True)


def _report(run: Run, pod: Pod) -> Outcome:
    ended = pod.ended("publish")
    message = ended.message if ended else ""
    try:
        return Produced(read_report(message), pod)
    except ValidationError as error:
        found = error.errors(include_url=False)
        wrong = some((f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in found), len(found))
        what = f"left a report that cannot be read ({'; '.join(wrong)})" if message else "left no report"
        return Ended("Failed", f"Run {run.name}: container 'publish' of pod {pod.name} {what}. {_UNREPORTED}")


def _elsewhere(run: Run, by: str) -> Finding:
    """No pod of it is here: from another cluster nothing of what `publish` reports comes back."""
    return Finding(
        "ManagedElsewhere",
        f"Run {run.name}: its Job is run by {by} (spec.managedBy), and has no pod in this cluster. What is trained in "
        "another cluster cannot be reported here, and becomes no version.",
        f"{_HERE}.",
    )


def _held(run: Run, job: Manifest) -> Finding:
    meta = job["metadata"]
    queue = meta["labels"].get(QUEUE)
    by = f"is held back by the queue {queue!r}" if queue else "is held back"
    said = f"Run {run.name} {by}: its Job is suspended, and goes on when it is resumed."
    describe = f"kubectl describe workloads.kueue.x-k8s.io -n {meta['namespace']} -l {_WORKLOAD}={meta['uid']}"
    why = (
        f"`{describe}` tells why it waits: if Kueue has deactivated it, until somebody activates it or deletes the Job."
    )
    return Finding("Queued", said, why if queue else "", passing=True)


def _hindrance(run: Run, pods: Sequence[Pod], told: str | None, now: datetime) -> Finding | None:
    if not pods:
        return _refused(run, told) if told else None
    pod = pods[0]
    if _is_overdue(pod, now):
        goes_on = "The run goes on by itself when the node does, or is removed from the cluster."
        return Finding("RunHindered", f"Run {run.name}: {_overdue(pod)}", goes_on, passing=True)
    if pod.hindrance:
        lasts = not pod.unscheduled and now - held_since(pod) >= _PATIENCE
        return Finding("RunHindered", f"Run {run.name}: {pod.hindrance}.", passing=pod.waits and not lasts)
    if (since := publishing_since(pods)) and now - since >= _PUBLISHES:
        said = (
            f"has trained its model, which {_NOT_STORED}. Since {since:%Y-%m-%d %H:%M:%S} UTC container "
            "'publish' has been at it, and tries again until spec.deadline where the store fails"
        )
        logs = f"kubectl logs {pod.name} -n {pod.namespace} -c publish"
        said = f"Run {run.name} {said}. `{logs}` says why."
        return Finding("RunHindered", said, _GOES_ON, passing=now - since < _PATIENCE)
    if told is not None and (one := stuck(pod)):
        lasts = now - held_since(pod) >= _PATIENCE
        why = f": {told}" if told else ""
        ended = f" It {one.ending}." if one.ended else ""
        logs = f"`kubectl logs {pod.name} -n {pod.namespace} -c {one.name}` may say more."
        said = f"container {one.name!r} of pod {pod.name} is not up, and those after it wait for it{why}.{ended} {logs}"
        return Finding("RunHindered", f"Run {run.name}: {said}", _GOES_ON, passing=not lasts)
    if told:
        return Finding("RunHindered", f"Run {run.name}: pod {pod.name} cannot begin: {told}.", _GOES_ON, passing=True)
    return None


def hindrance_worth_a_word(pods: Sequence[Pod], now: datetime) -> Iterable[timedelta]:
    """When what keeps a container of the newest pod from starting, or being up, will need somebody, if it lasts."""
    hindered = [pod for pod in pods[:1] if (pod.hindrance and not pod.unscheduled) or stuck(pod)]
    return (left for pod in hindered if (left := held_since(pod) + _PATIENCE - now) > timedelta(0))


def publishing_since(pods: Sequence[Pod]) -> datetime | None:
    """Since when the newest pod has been publishing; None when it is not. `pods`: newest first."""
    return next((one.started for pod in pods[:1] for one in pod.containers if one.name == "publish"), None)


def publishing_worth_a_word(since: datetime, now: datetime) -> Iterable[timedelta]:
    """When there will be something new to say of one that has been publishing since then."""
    return (since + wait - now for wait in (_PUBLISHES, _PATIENCE) if since + wait > now)


def _is_overdue(pod: Pod, now: datetime) -> bool:
    return pod.phase not in {"Succeeded", "Failed"} and pod.gone_by is not None and now - pod.gone_by >= STRANGE


def _overdue(pod: Pod) -> str:
    by = f" by {pod.gone_by.isoformat()}" if pod.gone_by else ""
    return (
        f"pod {pod.name} {_NOT_GONE}{by}; its node does not answer, or cannot end it. Of a node that is surely "
        f"off: kubectl delete pod {pod.name} -n {pod.namespace} --force."
    )


def _refused(run: Run, why: str) -> Finding:
    passing = True
    if _ROOM in why:
        remedy = "It goes on by itself once there is room: free some, raise the quota, or ask for less"
    elif is_outage(why):
        remedy = "It is tried again and again, and goes on by itself once what does not answer does"
    else:
        passing = False
        remedy = "It goes on by itself once what forbids it is corrected; or correct the spec"
    return Finding("NoPod", f"Run {run.name} gets no pod: {why}.", f"{remedy}.", passing=passing)


def _losses(pods: Sequence[Pod]) -> tuple[str, ...]:
    """What became of the pods that their nodes refused or ended, in a sentence or none."""
    lost = [pod for pod in pods if _is_lost(pod)]
    return (f"It has lost {len(lost)} pod{'s' * (len(lost) > 1)}. {lost[0].crash}.",) if lost else ()


def _is_lost(pod: Pod) -> bool:
    return pod.phase == "Failed" and bool(pod.why[0]) and not pod.ended_by_own_deadline


def _failed(run: Run, condition: Manifest, pods: Sequence[Pod]) -> Ended:
    if condition.get("reason") == "DeadlineExceeded":
        left = next((f"{refusal}." for pod in pods[:1] if (refusal := _refusal(pod.ended("publish")))), run.message)
        before = f" Before: {left}" if left else ""
        return Ended("Failed", f"Run {run.name} took longer than spec.deadline allows and was stopped.{before}")
    if cause := next(filter(None, map(_cause, pods)), None):
        return Ended(cause[0], f"Run {run.name}: {cause[1]}")
    said = str(condition.get("message") or condition.get("reason"))
    return Ended("Failed", " ".join((f"Run {run.name} failed: {said}.", *_losses(pods))))


def failed_attempts(pods: Sequence[Pod]) -> Sequence[tuple[datetime, str]]:
    """The attempts that have failed and were not lost to their nodes: when, and why, in a sentence."""
    failed = [(pod, cause[1]) for pod in pods if pod.phase == "Failed" and (cause := _cause(pod))]
    ends = [[one.ended.at for one in pod.containers if one.ended and one.failed and one.ended.at] for pod, _ in failed]
    return [(max(at, default=pod.changed), why) for (pod, why), at in zip(failed, ends, strict=True)]


def _attempts(pods: Sequence[Pod]) -> str:
    """That attempts have failed, and why the last of them has, in a sentence; empty when none has."""
    failed = failed_attempts(pods)
    if not failed:
        return ""
    many = f"{len(failed)} attempts have failed, the last one" if len(failed) > 1 else "One attempt has failed"
    return f"{many}: {failed[0][1]}"


def _cause(pod: Pod) -> tuple[Literal["Failed", "Refused"], str] | None:
    """How a pod has failed: the phase that this means for a run, and a sentence. None when it was not its own doing."""
    if pod.ended_by_own_deadline:
        remedy = "Raise it, or leave it to spec.deadline, which is of the run as a whole"
        return "Failed", f"pod {pod.name} ran longer than activeDeadlineSeconds in spec.train.pod allows. {remedy}."
    for container in () if _is_lost(pod) else pod.containers:
        ended = container.ended
        if ended is None or ended.exit_code == 0:
            continue
        if container.name in {"data", "publish"}:
            how = f"container {container.name!r} exited with {ended.exit_code} ({ended.reason or 'no reason'})"
            return "Refused" if ended.exit_code == REFUSED else "Failed", f"{_refusal(ended) or how}."
        what = "the training program" if container.name == "train" else f"container {container.name!r}"
        said = ended.last_words
        if ended.reason in _NEVER_RAN:
            return "Failed", f"{what} could not be started: {said or ended.reason}."
        reason = "ran out of memory" if ended.reason == "OOMKilled" else f"exited with {ended.exit_code}"
        words = f", its last words: {said}" if said else ""
        logs = f"kubectl logs {pod.name} -n {pod.namespace} -c {container.name}"
        return "Failed", f"{what} {reason}{words}. See `{logs}`."
    return None


def _refusal(ended: Termination | None) -> str:
    """What a container of ours has left, in a sentence without its full stop; empty when it has not."""
    refusal = ended.refusal if ended else None
    return f"{refusal.message} ({refusal.reason})" if refusal else ""
