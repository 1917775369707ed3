"""TrainingJob: given what is there, what is planned."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    DEFAULTS,
    DIGEST,
    NOW,
    AWorld,
    a_pod,
    a_training_job,
    after,
    as_stored,
    exited,
    metadata,
    waiting,
)
from upright.api import names
from upright.api.training_job import TrainingJob
from upright.contract import Manifest, Plan, ResourceType
from upright.training.manifests import job, run_labels
from upright.training.observe import Observed, observe
from upright.training.parameters import InvalidParametersError, as_environment
from upright.training.plan import plan

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


def observed(resource: TrainingJob, **more: Any) -> Observed:
    plain = Observed(
        now=NOW,
        defaults=DEFAULTS,
        resource=resource,
        jobs={},
        pods=(),
        versions=frozenset(),
        next_number=1 + max((run.number for run in resource.status.runs), default=0),
        obstacles=(),
    )
    return replace(plain, **more)


def then(before: Observed, made: Plan, **more: Any) -> Observed:
    """What is observed when the plan's status has been recorded."""
    stored = {**as_stored(before.resource), "status": dict(made.status)}
    resource = TrainingJob.model_validate(stored)
    return replace(before, resource=resource, next_number=1 + resource.status.runs[0].number, **more)


def recorded(**spec: Any) -> Observed:
    """A TrainingJob whose first run is recorded, and has no Job yet."""
    first = observed(a_training_job(**spec))
    return then(first, plan(first))


def the_job(of: Observed, **status: Any) -> Mapping[str, Manifest]:
    run = of.resource.status.runs[0]
    made = job(of.resource, run, DEFAULTS, "pvc://models")
    return {run.name: {**made, "metadata": metadata(run.name, labels=made["metadata"]["labels"]), "status": status}}


def ended(of: Observed, type: str, reason: str = "") -> Mapping[str, Manifest]:
    return the_job(of, failed=1, conditions=[{"type": type, "status": "True", "reason": reason}])


def its_pod(of: Observed, containers: Mapping[str, Any]) -> Sequence[Manifest]:
    return [a_pod("churn-1-x", labels=run_labels(of.resource, of.resource.status.runs[0]), containers=containers)]


def run_of(made: Plan) -> Any:
    return made.status["runs"][0]


def stalled(made: Plan) -> str | None:
    return next((one["message"] for one in made.status["conditions"] if one["type"] == "Stalled"), None)


# When a run starts


def test_a_run_is_recorded_before_its_job_is_made() -> None:
    first = observed(a_training_job())
    made = plan(first)
    assert run_of(made)["phase"] == "Pending"
    assert run_of(made)["trigger"] == "Created"
    assert not made.create
    [created] = plan(then(first, made)).create
    assert created["metadata"]["name"] == "churn-1"


def test_a_recorded_run_whose_job_is_not_seen_yet_is_made_again_under_the_same_name() -> None:
    waiting_run = recorded()
    assert plan(waiting_run).create == plan(waiting_run).create
    assert run_of(plan(waiting_run))["number"] == 1


def succeeded(**spec: Any) -> Observed:
    running = recorded(**spec)
    done = replace(
        running,
        jobs=ended(running, "Complete"),
        pods=its_pod(running, {"publish": exited(0, REPORT)}),
        versions=frozenset({"churn-1"}),
    )
    return then(done, plan(done), pods=())


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
    made = plan(replace(done, resource=changed))
    if trigger is None:
        assert len(made.status["runs"]) == 1
    else:
        assert run_of(made)["trigger"] == trigger
        assert run_of(made)["name"] == "churn-2"


def test_a_change_during_a_run_waits_for_its_end() -> None:
    running = recorded()
    changed = a_training_job(
        parameters={"max_depth": 9}, status=running.resource.status.model_dump(mode="json", by_alias=True)
    )
    made = plan(replace(running, resource=changed, jobs=the_job(running, active=1)))
    assert len(made.status["runs"]) == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"max-depth": 4}, "'max-depth'"),
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
    assert "ConfigMap rows" in (stalled(made) or "")
    assert not made.create
    assert made.again is not None
    assert plan(replace(lacking, obstacles=())).create


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
    made = plan(then(done, made, versions=frozenset({"churn-1"})))
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
        (("Complete", ""), {}, "Failed", "pod that could report"),
    ],
)
def test_a_run_that_gives_no_model_says_why(condition: Any, containers: Any, phase: str, said: str) -> None:
    running = recorded()
    made = plan(replace(running, jobs=ended(running, *condition), pods=its_pod(running, containers)))
    assert run_of(made)["phase"] == phase
    assert said in run_of(made)["message"]
    assert said in (stalled(made) or "")
    assert made.events[-1].reason == f"Run{phase}"


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
    seen = await observe(as_stored(resource), AWorld(*old), DEFAULTS)
    assert seen.next_number == 6


async def test_missing_claims_and_config_maps_are_named() -> None:
    waits = recorded(data=[{"name": "train", "uri": "configmap://rows/a.csv"}])
    rows = (names.CONFIG_MAPS, {"metadata": metadata("rows"), "data": {"b.csv": ""}})
    seen = await observe(as_stored(waits.resource), AWorld(rows), DEFAULTS)
    told = " ".join(seen.obstacles)
    assert "no key 'a.csv', only b.csv" in told
    assert "PersistentVolumeClaim models" in told


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
