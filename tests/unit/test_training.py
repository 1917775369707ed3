"""TrainingJob: given what is there, what is planned."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    DEFAULTS,
    DIGEST,
    NOW,
    AWorld,
    a_model_version,
    a_pod,
    a_training_job,
    after,
    as_stored,
    exited,
    metadata,
    waiting,
)
from upright.api import names
from upright.api.artifact import CARD
from upright.api.training_job import Run, TrainingJob
from upright.contract import Manifest, Plan, ResourceType
from upright.pods.reading import Pod, read
from upright.runtime.formats import FORMATS
from upright.training.contents import Contents
from upright.training.inputs import inputs_of
from upright.training.manifests import job
from upright.training.observe import Observed, made_by, observe
from upright.training.parameters import MAX_BYTES, NAME, InvalidParametersError, as_environment
from upright.training.plan import plan
from upright.training.waiting import Warnings

ROOT = Path(__file__).parents[2]
REPORT = json.dumps(
    {
        "uri": "pvc://models/churn/sha256-1",
        "digest": DIGEST,
        "sizeBytes": 10,
        "format": "skops",
        "framework": {"name": "scikit-learn", "version": "1.9.1", "python": "3.13"},
        "metrics": {"accuracy": 0.9},
        "data": [{"name": "train", "uri": "configmap://rows", "digest": DIGEST}],
    }
)


def observed(resource: TrainingJob, sources: Mapping[str, str] | None = None, **more: Any) -> Observed:
    plain = Observed(
        now=NOW,
        defaults=DEFAULTS,
        resource=resource,
        runs=resource.status.runs,
        inputs=inputs_of(resource, sources or {}),
        jobs={},
        orphans=(),
        pods={},
        versions={},
        next_number=1 + max((run.number for run in resource.status.runs if run.job or run.finished_at), default=0),
    )
    return replace(plain, **more)


def then(before: Observed, made: Plan, change: Mapping[str, Any] | None = None, **more: Any) -> Observed:
    """What is observed when the plan's status has been recorded, and perhaps the object changed."""
    stored = {**as_stored(before.resource), "status": dict(made.status)}
    stored["spec"] = {**stored["spec"], **(change or {})}
    resource = TrainingJob.model_validate(stored)
    fresh = observed(resource, more.pop("sources", before.inputs.sources))
    kept = {name: getattr(before, name) for name in ("now", "defaults", "jobs", "pods", "versions")}
    return replace(fresh, **{**kept, **more})


def recorded(sources: Mapping[str, str] | None = None, **spec: Any) -> Observed:
    """A TrainingJob whose first run is recorded, and has no Job yet."""
    first = observed(a_training_job(**spec), sources)
    return then(first, plan(first))


def the_job(of: Observed, suspend: bool = False, **status: Any) -> Mapping[str, Manifest]:
    """Its Job, as the API server gives it."""
    run = of.resource.status.runs[0]
    made = job(of.resource, run, DEFAULTS, "pvc://models")
    meta = metadata(run.name, labels=made["metadata"]["labels"], annotations=made["metadata"]["annotations"])
    return {run.name: {**made, "metadata": meta, "spec": {**made["spec"], "suspend": suspend}, "status": status}}


def ended(of: Observed, type: str, reason: str = "") -> Mapping[str, Manifest]:
    return the_job(of, failed=1, conditions=[{"type": type, "status": "True", "reason": reason}])


def its_pod(of: Observed, containers: Mapping[str, Any], **status: Any) -> Mapping[str, Sequence[Pod]]:
    run = of.resource.status.runs[0]
    return {run.name: [read(a_pod(f"{run.name}-x", containers=containers, **status))]}


def run_of(made: Plan) -> Any:
    return made.status["runs"][0]


def said(made: Plan, type: str) -> str | None:
    """The message of a condition that holds."""
    found = (one for one in made.status["conditions"] if one["type"] == type and one["status"] == "True")
    return next((one["message"] for one in found), None)


def stalled(made: Plan) -> str | None:
    return said(made, "Stalled")


def is_steady(of: Observed, made: Plan) -> bool:
    """Whether planning again from what was recorded plans nothing new."""
    later = plan(then(of, made))
    return later.status == made.status and not (later.create or later.delete or later.correct)


# When a run starts


def test_the_job_of_a_run_is_its_first_record() -> None:
    made = plan(observed(a_training_job()))
    assert not made.record
    [created] = made.create
    assert created["metadata"]["name"] == "churn-1"
    assert json.loads(created["metadata"]["annotations"][names.RUN_RECORD])["trigger"] == "Created"


def test_how_a_run_ended_is_recorded_before_the_next_one_starts() -> None:
    running = finishing(recorded())
    ends = then(running, plan(recorded()), {"parameters": {"depth": 9}})
    made = plan(ends)
    assert made.record
    assert run_of(made)["phase"] == "Succeeded"
    assert not made.create
    assert plan(then(ends, made)).create


def test_a_recorded_run_whose_job_is_not_seen_yet_is_made_again_under_the_same_name() -> None:
    waiting_run = recorded()
    assert plan(waiting_run).create == plan(waiting_run).create
    assert run_of(plan(waiting_run))["number"] == 1


def succeeded(sources: Mapping[str, str] | None = None, **spec: Any) -> Observed:
    running = recorded(sources, **spec)
    return finished(running)


def finished(running: Observed) -> Observed:
    """The run that is recorded has produced its version, and that is recorded, too."""
    done = finishing(running)
    return then(done, plan(done), pods={}, versions={})


def a_version(running: Observed) -> Run | None:
    """What the version of the recorded run tells of it."""
    published = replace(running, jobs=ended(running, "Complete"), pods=its_pod(running, {"publish": exited(0, REPORT)}))
    [version] = plan(published).create
    return made_by({**version, "metadata": metadata(version["metadata"]["name"])})


def finishing(running: Observed) -> Observed:
    """The run that is recorded has produced its version."""
    [run, *_] = running.resource.status.runs
    return replace(
        running,
        jobs={**running.jobs, **ended(running, "Complete")},
        pods=its_pod(running, {"publish": exited(0, REPORT)}),
        versions={run.name: a_version(running)},
    )


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({"parameters": {"max_depth": 5}}, "SpecChanged"),
        ({"train": {"command": ["python", "other.py"]}}, "SpecChanged"),
        ({"annotations": {names.RUN_REQUESTED: "now"}}, "Requested"),
        ({"retries": 7}, None),
        ({"deadline": "1h"}, None),
        ({"suspend": True, "parameters": {"max_depth": 5}}, None),
    ],
)
def test_another_run_starts_for_what_changes_the_outcome_and_for_nothing_else(change: Any, trigger: Any) -> None:
    done = succeeded()
    changed = a_training_job(status=done.resource.status.model_dump(mode="json", by_alias=True), **change)
    made = plan(observed(changed))
    if trigger is None:
        assert len(made.status["runs"]) == 1
    else:
        assert run_of(made)["trigger"] == trigger
        assert run_of(made)["name"] == "churn-2"


def test_a_change_during_a_run_waits_for_its_end() -> None:
    running = recorded()
    running = replace(running, jobs=the_job(running, active=1))
    made = plan(then(running, plan(running), {"parameters": {"max_depth": 9}}))
    assert len(made.status["runs"]) == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"max-depth": 4}, '"max-depth"'),
        ({"a": 1, "A": 2}, "UPRIGHT_PARAM_A"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "x" * 70_000}, "65536"),
    ],
)
def test_parameters_that_cannot_be_an_environment_start_nothing_and_say_why(parameters: Any, said: str) -> None:
    made = plan(observed(a_training_job(parameters=parameters)))
    assert said in (stalled(made) or "")
    assert not made.status["runs"]


def test_without_a_store_nothing_starts() -> None:
    made = plan(observed(a_training_job(), defaults=replace(DEFAULTS, store=None)))
    assert "spec.output.store" in (stalled(made) or "")


def test_a_run_that_lacks_something_waits_says_so_and_starts_by_itself() -> None:
    lacking = replace(recorded(), obstacles=("ConfigMap rows of spec.data 'train' does not exist",))
    made = plan(lacking)
    assert "ConfigMap rows" in (said(made, "Reconciling") or "")
    assert stalled(made) is None  # what is about to come in the same release would be given up
    assert not made.create
    assert made.again is None  # the watches tell
    assert plan(replace(lacking, obstacles=())).create
    many = plan(replace(lacking, obstacles=[f"claim-{number} does not exist" for number in range(33)]))
    assert (said(many, "Reconciling") or "").endswith("; claim-9 does not exist; and 23 more.")


# What a run ends in


def test_a_published_model_becomes_a_version_before_the_run_counts_as_succeeded() -> None:
    running = recorded()
    done = replace(running, jobs=ended(running, "Complete"), pods=its_pod(running, {"publish": exited(0, REPORT)}))
    made = plan(done)
    [version] = made.create
    assert version["kind"] == "ModelVersion"
    assert version["spec"]["artifact"]["digest"] == DIGEST
    assert "ownerReferences" not in version["metadata"]
    assert run_of(made)["phase"] != "Succeeded"
    made = plan(then(done, made, versions={"churn-1": made_by({**version, "metadata": metadata("churn-1")})}))
    assert run_of(made)["phase"] == "Succeeded"
    assert made.status["lastVersion"] == "churn-1"
    assert run_of(made)["data"] == {"train": DIGEST}


@pytest.mark.parametrize(
    ("condition", "containers", "phase", "said"),
    [
        (("Failed", "BackoffLimitExceeded"), {"train": exited(1, "ValueError: no rows")}, "Failed", "no rows"),
        (("Failed", "BackoffLimitExceeded"), {"train": exited(137, "", "OOMKilled")}, "Failed", "out of memory"),
        (("Failed", "DeadlineExceeded"), {}, "Failed", "spec.deadline"),
        (
            ("Failed", "PodFailurePolicy"),
            {"train": exited(0), "publish": exited(3, '{"reason": "NoModel", "message": "There is no model."}')},
            "Refused",
            "There is no model",
        ),
        (
            ("Failed", "BackoffLimitExceeded"),
            {"train": exited(0), "publish": exited(1, '{"reason": "StoreFull", "message": "The store is full."}')},
            "Failed",
            "The store is full",
        ),
        (
            ("Failed", "DeadlineExceeded"),
            {"publish": exited(137, '{"reason": "StoreFull", "message": "The store is full."}')},
            "Failed",
            "stopped. Before: The store is full. (StoreFull).",
        ),
        (("Complete", ""), {}, "Failed", "pod that could report"),
        (
            ("Complete", ""),
            {"publish": exited(0)},
            "Failed",
            "publish' of pod churn-1-x left no report. What it has published, if anything, is in the store: run it",
        ),
        (
            ("Complete", ""),
            {"publish": exited(0, '{"uri": "pvc://models/x", "digest": "x", "format": "skops"}')},
            "Failed",
            (
                "left a report that cannot be read (digest: String should match pattern '^sha256:[0-9a-f]{64}$'; "
                "sizeBytes: Field required). What it has"
            ),
        ),
        (
            ("Complete", ""),
            {"publish": exited(0, json.dumps({"data": [{}] * 9}))},
            "Failed",
            ": Field required; and 21 more). What it has",
        ),
    ],
)
def test_a_run_that_gives_no_model_says_why(condition: Any, containers: Any, phase: str, said: str) -> None:
    running = recorded()
    made = plan(replace(running, jobs=ended(running, *condition), pods=its_pod(running, containers)))
    assert run_of(made)["phase"] == phase
    assert said in run_of(made)["message"]
    assert said in (stalled(made) or "")
    assert [event.reason for event in made.events] == [f"Run{phase}"]


def test_a_run_keeps_what_it_measured_although_its_model_is_refused() -> None:
    running = recorded()
    refused = '{"reason": "UntrustedTypes", "message": "It holds a Clipper.", "metrics": {"accuracy": 0.97}}'
    containers = {"train": exited(0), "publish": exited(3, refused)}
    made = plan(replace(running, jobs=ended(running, "Failed", "PodFailurePolicy"), pods=its_pod(running, containers)))
    assert run_of(made)["phase"] == "Refused"
    assert run_of(made)["metrics"] == {"accuracy": 0.97}


def test_a_refusal_with_a_metric_that_is_no_number_spoils_no_status() -> None:
    running = recorded()
    refused = '{"reason": "UntrustedTypes", "message": "It holds a Clipper.", "metrics": {"accuracy": NaN}}'
    made = plan(
        replace(
            running,
            jobs=ended(running, "Failed", "PodFailurePolicy"),
            pods=its_pod(running, {"publish": exited(3, refused)}),
        )
    )
    assert run_of(made).get("metrics", {}) == {}


def test_a_metric_that_is_no_number_is_told_of_run_and_version() -> None:
    running = recorded()
    report = json.dumps({**json.loads(REPORT), "unknownMetrics": ["auc", "f1"]})
    done = replace(running, jobs=ended(running, "Complete"), pods=its_pod(running, {"publish": exited(0, report)}))
    made = plan(done)
    [version] = made.create
    told = {names.UNKNOWN_METRICS: "auc, f1"}
    assert version["metadata"]["annotations"] == told
    kept = {**version, "metadata": {**metadata("churn-1"), "annotations": told}}
    made = plan(then(done, made, versions={"churn-1": made_by(kept)}))
    assert run_of(made)["message"] == (
        "Run churn-1 produced ModelVersion churn-1. Its program told no number for auc, f1."
    )


def test_that_a_model_was_not_tried_is_told_of_run_and_version() -> None:
    running = recorded()
    untried = "The model was not tried out: nothing tells of which type these columns are: day"
    report = json.dumps({**json.loads(REPORT), "untried": untried})
    done = replace(running, jobs=ended(running, "Complete"), pods=its_pod(running, {"publish": exited(0, report)}))
    made = plan(done)
    [version] = made.create
    told = {names.UNTRIED: untried}
    assert version["metadata"]["annotations"] == told
    kept = {**version, "metadata": {**metadata("churn-1"), "annotations": told}}
    made = plan(then(done, made, versions={"churn-1": made_by(kept)}))
    assert run_of(made)["message"] == f"Run churn-1 produced ModelVersion churn-1. {untried}."


TRACE = """Reading /upright/data/train
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    frame["plan"]
KeyError: 'plan'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "train.py", line 5, in <module>
    raise ValueError("no plan") from None
ValueError: no plan
which the data should have
"""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", ""),
        ("  \n", ""),
        ("first\nlast\n\n", "last"),
        (TRACE, "ValueError: no plan"),
        (TRACE.partition("KeyError")[0], 'frame["plan"]'),
        ("\x1b[31mValueError: boom\x1b[0m\x00", "ValueError: boom"),
        ("\x1b[1mTraceback (most recent call last):\x1b[0m\n  in f\n\x1b[1;35mKeyError\x1b[0m: x\nlost", "KeyError: x"),
        ("see \x1b]8;;https://a.example\x1b\\this\x1b]8;;\x07\x08, \x9b1mor\u202e not\x9d", "see this, or not"),
        ("tab\there\x1b[", "tab here"),
        ("x" * 900, f"{'x' * 97} ... {'x' * 97}"),
    ],
)
def test_of_what_a_program_left_its_last_words_are_told(message: str, words: str) -> None:
    running = recorded()
    made = plan(
        replace(
            running,
            jobs=ended(running, "Failed", "BackoffLimitExceeded"),
            pods=its_pod(running, {"train": exited(1, message)}),
        )
    )
    said = f", its last words: {words}" if words else ""
    assert f"exited with 1{said}. See `kubectl logs " in run_of(made)["message"]


def test_a_failed_run_is_not_repeated_by_itself() -> None:
    running = recorded()
    failed = replace(running, jobs=ended(running, "Failed", "DeadlineExceeded"))
    made = plan(failed)
    later = plan(then(failed, made))
    assert later.status == made.status


def test_an_image_that_cannot_be_pulled_is_said_while_the_run_waits() -> None:
    running = recorded()
    pods = its_pod(running, {"train": waiting("ImagePullBackOff", "not found")})
    made = plan(replace(running, jobs=the_job(running, active=1), pods=pods))
    assert "some/image:1" in (stalled(made) or "")
    assert run_of(made)["phase"] == "Running"


def test_a_job_that_somebody_deleted_is_a_failed_run() -> None:
    running = recorded()
    seen = then(running, plan(replace(running, jobs=the_job(running, active=1))))
    made = plan(replace(seen, jobs={}))
    assert "was deleted" in run_of(made)["message"]


# What is kept


def test_a_finished_job_is_kept_for_its_time_and_then_deleted() -> None:
    done = succeeded(ttl="1h")
    soon = plan(replace(done, now=after(minutes=59)))
    assert not soon.delete
    assert soon.again == timedelta(minutes=1)
    [removed] = plan(replace(done, now=after(minutes=60))).delete
    assert removed.name == "churn-1"
    longest = replace(done, resource=a_training_job(ttl="99999999h", status=as_stored(done.resource)["status"]))
    assert not plan(longest).delete


# Numbers and observation


async def test_numbers_go_on_after_versions_of_an_earlier_training_job_of_the_name() -> None:
    resource = a_training_job()
    old: list[tuple[ResourceType, Manifest]] = [
        (
            names.MODEL_VERSIONS,
            {"metadata": metadata("churn-4", labels={names.TRAINING_JOB: "churn"}), "spec": {"number": 4}},
        ),
        (names.MODEL_VERSIONS, {"metadata": metadata("churn-5"), "spec": {"number": 1}}),
    ]
    seen = await observe(as_stored(resource), AWorld(*old), DEFAULTS, Contents(), Warnings())
    assert seen.next_number == 6


async def test_of_the_versions_of_its_name_those_are_read_whose_runs_would_be_kept() -> None:
    """Each may have 1 MiB, and what is read and dropped would be read again in every turn."""

    class Reading(AWorld):
        read: ClassVar[list[str]] = []

        def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
            self.read.append(name)
            return super().get(type, namespace, name)

        def has(self, type: ResourceType, namespace: str, name: str) -> bool:
            return AWorld.get(self, type, namespace, name) is not None

    def version(number: int, **more: Any) -> tuple[ResourceType, Manifest]:
        made = as_stored(a_model_version(f"churn-{number}", **more))
        return names.MODEL_VERSIONS, {**made, "metadata": {**made["metadata"], "labels": {names.TRAINING_JOB: "churn"}}}

    def told(number: int) -> tuple[ResourceType, Manifest]:
        by = {"name": "churn", "uid": "u", "trigger": "Created", "run": number, "inputs": "x"}
        return version(number, lineage={"trainingJob": by})

    world = Reading(told(1), told(2), told(3), told(5), version(6))
    failed = {"trigger": "Requested", "phase": "Failed", "inputs": "y", "finishedAt": "2026-11-22T11:00:00Z"}
    runs = [{"name": f"churn-{number}", "number": number, **failed} for number in (4, 2)]
    resource = a_training_job(history=2, status={"runs": runs})
    seen = await observe(as_stored(resource), world, DEFAULTS, Contents(), Warnings())
    assert [name for name in world.read if name != "models"] == ["churn-5"]
    assert [run.number for run in seen.runs] == [5, 4, 2]
    assert seen.next_number == 7


async def test_missing_claims_and_config_maps_are_named() -> None:
    waits = recorded(data=[{"name": "train", "uri": "configmap://rows/a.csv"}])
    rows = (names.CONFIG_MAPS, {"metadata": metadata("rows", resourceVersion="1"), "data": {"b.csv": ""}})
    seen = await observe(as_stored(waits.resource), AWorld(rows), DEFAULTS, Contents(), Warnings())
    told = " ".join(seen.obstacles)
    assert "no key 'a.csv', only b.csv" in told
    assert "PersistentVolumeClaim models of spec.output.store does not exist" in told


@pytest.mark.parametrize("going", [names.CLAIMS, names.CONFIG_MAPS])
async def test_what_is_being_deleted_is_not_there(going: ResourceType) -> None:
    waits = recorded(data=[{"name": "train", "uri": "configmap://rows/a.csv"}])
    there: dict[ResourceType, dict[str, Any]] = {
        names.CLAIMS: {"metadata": metadata("models", resourceVersion="1")},
        names.CONFIG_MAPS: {"metadata": metadata("rows", resourceVersion="1"), "data": {"a.csv": ""}},
    }
    there[going]["metadata"]["deletionTimestamp"] = "2026-11-22T11:59:00Z"
    seen = await observe(as_stored(waits.resource), AWorld(*there.items()), DEFAULTS, Contents(), Warnings())
    [told] = seen.obstacles
    assert f"{going.kind} {there[going]['metadata']['name']} of spec." in told
    assert "is being deleted" in told
    assert not plan(seen).create


def test_the_pod_of_a_run_is_restricted_and_has_no_credentials() -> None:
    [made] = plan(recorded(data=[{"name": "train", "uri": "pvc://lake/a/b"}], code={"uri": "configmap://code"})).create
    pod = made["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert [one["name"] for one in pod["initContainers"]] == ["data", "train"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    train = pod["initContainers"][1]
    assert {"name": "data-0", "mountPath": "/upright/data/train", "readOnly": True, "subPath": "a/b"} in train[
        "volumeMounts"
    ]
    assert not any(mount["mountPath"] == "/upright/store" for mount in train["volumeMounts"])


def test_what_a_user_adds_to_the_pod_is_merged_under_what_must_be() -> None:
    extra = {
        "nodeSelector": {"gpu": "yes"},
        "automountServiceAccountToken": True,
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "initContainers": [{"name": "train", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}],
    }
    [made] = plan(recorded(train={"command": ["x"], "pod": extra})).create
    pod = made["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "yes"}
    assert pod["automountServiceAccountToken"] is False
    assert {"name": "cache", "emptyDir": {}} in pod["volumes"]
    [train] = pod["initContainers"]
    assert train["command"] == ["x"]
    assert {"name": "cache", "mountPath": "/cache"} in train["volumeMounts"]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True),
        st.one_of(
            st.integers(),
            st.booleans(),
            st.none(),
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        ),
        max_size=10,
    )
)
def test_every_parameter_can_be_read_back_from_its_variable(parameters: dict[str, Any]) -> None:
    variables = as_environment(parameters)
    for name, value in parameters.items():
        text = variables[f"UPRIGHT_PARAM_{name.upper()}"]
        assert (text if isinstance(value, str) else json.loads(text)) == value


def test_a_parameter_that_starts_with_a_digit_is_refused() -> None:
    with pytest.raises(InvalidParametersError, match="not starting with a digit"):
        as_environment({"1st": 1})


def test_all_that_is_wrong_with_parameters_is_said_at_once() -> None:
    with pytest.raises(InvalidParametersError) as refused:
        as_environment({"de-pth": 1, "2nd": 2, "Depth": 3, "depth": 4, "text": "a\0b"})
    said = str(refused.value).split("; ")
    assert [sentence.partition(":")[0] for sentence in said] == [
        'spec.parameters has "de-pth", "2nd", which cannot be environment variables',
        "spec.parameters.text contains a NUL character",
        'spec.parameters has "Depth", "depth", which would all be UPRIGHT_PARAM_DEPTH',
    ]
    with pytest.raises(InvalidParametersError) as refused:
        as_environment({f"{n}-th": n for n in range(1000)})
    assert '"9-th", and 990 more, which cannot' in str(refused.value)


def test_of_parameters_that_are_too_many_each_is_not_looked_at() -> None:
    """Each would take its time, in which no other object has any."""
    looked_at = list[str]()

    class Noted(str):
        def upper(self) -> str:
            looked_at.append(self)
            return super().upper()

    with pytest.raises(
        InvalidParametersError, match="more than the 65536 that a run's environment can hold: put large"
    ):
        as_environment({Noted(f"k{n}"): n for n in range(MAX_BYTES // 8)})
    assert not looked_at
    as_environment({Noted("k"): 1})
    assert looked_at


def test_the_policy_of_the_chart_takes_the_names_that_a_run_can_have() -> None:
    policy = (ROOT / "charts" / "upright" / "templates" / "parameters.yaml").read_text()
    assert f"!name.matches('^{NAME}$')" in policy
    with pytest.raises(InvalidParametersError) as refused:
        as_environment({"de-pth": 4})
    for words in ("spec.parameters has ", ", which cannot be environment variables: use "):
        assert words in policy
        assert words in str(refused.value)


def test_what_a_program_gets_and_may_write_is_documented() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    resource = a_training_job(data=[{"name": "rows", "uri": "pvc://rows"}], code={"uri": "configmap://code"})
    run = Run(name="churn-1", number=1, trigger="Created", phase="Pending")
    containers = job(resource, run, DEFAULTS, "pvc://models")["spec"]["template"]["spec"]["initContainers"]
    given = [one["name"] for one in next(one for one in containers if one["name"] == "train")["env"]]
    written = (
        *(file for each in FORMATS.values() for file in each.files),
        "metrics.json",
        "reference.csv",
        "reference.parquet",
        "signature.json",
        CARD,
    )
    assert {"UPRIGHT_DATA", "UPRIGHT_CODE", "UPRIGHT_PARAMETERS", "UPRIGHT_OUTPUT"} <= set(given)
    assert [name for name in (*given, *written) if f"`{name}`" not in page] == []
