"""What users add to a pod is merged, and never reaches what is ours."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.builders import DEFAULTS, a_deployment, a_model_version, a_training_job
from upright.api.artifact import RunSpec
from upright.api.training_job import Run
from upright.defaults import Defaults
from upright.pods.build import environment, merge_pod
from upright.rollout.modes.realtime import template
from upright.training.manifests import job
from upright.training.parameters import as_environment

RUN = Run(name="churn-1", number=1, trigger="Created", phase="Pending")


def a_pod_spec(defaults: Defaults = DEFAULTS, *, parameters: Any = None, **train: Any) -> Any:
    """The spec of a run's pod."""
    owner = a_training_job(
        train={"command": ["x"], **train}, parameters=parameters or {}, data=[{"name": "rows", "uri": "pvc://lake"}]
    )
    return job(owner, RUN, defaults, "pvc://models")["spec"]["template"]["spec"]


def container(pod: Any, name: str) -> Any:
    return next(one for one in (*pod["initContainers"], *pod["containers"]) if one["name"] == name)


def variables(of: Any) -> Mapping[str, str]:
    """As the kubelet makes them: $(NAME) is expanded, and $$ is $."""
    found: dict[str, str] = {}
    for one in of["env"]:
        found[one["name"]] = re.sub(
            r"\$\$|\$\((\w+)\)",
            lambda match: "$" if match[0] == "$$" else found.get(match[1], match[0]),
            one.get("value", ""),
        )
    return found


@given(st.dictionaries(st.sampled_from("abc"), st.text("$()HOMEa ", max_size=12), min_size=1))
def test_parameters_arrive_as_they_were_written(parameters: dict[str, str]) -> None:
    pod = a_pod_spec(parameters=parameters)
    found = variables(container(pod, "train"))
    assert as_environment(parameters).items() <= found.items()
    told = RunSpec.model_validate_json(variables(container(pod, "publish"))["UPRIGHT_RUN"])
    assert told.parameters == parameters


@given(st.dictionaries(st.sampled_from(["A", "HOME"]), st.text("$(HOMEA)", max_size=12)))
def test_no_value_of_ours_is_expanded(values: dict[str, str]) -> None:
    assert variables({"env": environment({"HOME": "/tmp", **values})}) == {"HOME": "/tmp", **values}


def test_variables_of_the_user_may_refer_to_ours_and_replace_what_is_not_reserved() -> None:
    given = [{"name": "CACHE", "value": "$(UPRIGHT_DATA)/x"}, {"name": "HOME", "value": "/home"}]
    found = variables(container(a_pod_spec(env=given), "train"))
    assert found["CACHE"] == "/upright/data/x"
    assert found["HOME"] == "/home"


def test_types_that_the_platform_trusts_are_told_to_runs_and_to_what_serves() -> None:
    trusting = replace(DEFAULTS, trusted_types=("shop.features.Clipper", "shop.features.Scaler"))
    told = {"UPRIGHT_TRUSTED_TYPES": "shop.features.Clipper,shop.features.Scaler"}
    run = a_pod_spec(trusting)
    [serve] = template(a_deployment("churn-1"), a_model_version(), "r", trusting)["spec"]["containers"]
    for one in (container(run, "train"), container(run, "publish"), serve):
        assert told.items() <= variables(one).items()


def test_whether_the_platform_allows_modules_is_told_to_runs_and_to_what_serves() -> None:
    for allowing, told in ((replace(DEFAULTS, allow_modules=True), "true"), (DEFAULTS, "false")):
        run = a_pod_spec(allowing)
        [serve] = template(a_deployment("churn-1"), a_model_version(), "r", allowing)["spec"]["containers"]
        for one in (container(run, "train"), container(run, "publish"), serve):
            assert variables(one).get("UPRIGHT_ALLOW_MODULES") == told


def test_no_config_map_allows_what_the_platform_does_not() -> None:
    """`env` goes before `envFrom`, so whatever guards the platform is there by name, also where it is switched off."""
    theirs = {"containers": [{"name": "serve", "envFrom": [{"configMapRef": {"name": "mine"}}]}]}
    [serve] = template(a_deployment(serving={"pod": theirs}), a_model_version(), "r", DEFAULTS)["spec"]["containers"]
    assert serve["envFrom"]
    guards = {"UPRIGHT_ALLOWED_FORMATS", "UPRIGHT_TRUSTED_TYPES", "UPRIGHT_ALLOW_MODULES"}
    assert guards <= variables(serve).keys()


EVIL = [{"name": "UPRIGHT_ALLOWED_FORMATS", "value": "joblib"}, {"name": "UPRIGHT_MAX_ARTIFACT_BYTES", "value": "9"}]


@pytest.mark.parametrize(
    "train",
    [
        {"env": EVIL},
        *({"pod": {"containers": [{"name": "publish", field: value}]}} for field, value in (
            ("env", EVIL),
            ("envFrom", [{"configMapRef": {"name": "evil"}}]),
            ("image", "evil"),
            ("command", ["evil"]),
            ("args", ["evil"]),
            ("volumeMounts", [{"name": "evil", "mountPath": "/upright/store"}]),
            ("securityContext", {"privileged": True}),
            ("lifecycle", {"postStart": {"exec": {"command": ["evil"]}}}),
        )),
        *({"pod": {"initContainers": [{"name": "train", field: value}]}} for field, value in (
            ("env", EVIL),
            ("command", ["evil"]),
            ("volumeMounts", [{"name": "cache", "mountPath": "/upright/data/rows"}]),
            ("securityContext", {"privileged": True, "runAsNonRoot": False, "capabilities": {"add": ["SYS_ADMIN"]}}),
        )),
        *({"pod": pod} for pod in (
            {"hostNetwork": True, "hostPID": True, "hostIPC": True},
            {"automountServiceAccountToken": True, "enableServiceLinks": True},
            {"securityContext": {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}}},
            {"restartPolicy": "OnFailure"},
            {"volumes": [{"name": "store", "hostPath": {"path": "/"}}, {"name": {}}], "securityContext": []},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_nothing_that_a_user_adds_reaches_what_is_ours(train: Any) -> None:
    """Objects may have been stored before the schema refused this."""
    ours, theirs = a_pod_spec(), a_pod_spec(**train)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & theirs.keys()
    for field in ("automountServiceAccountToken", "enableServiceLinks", "restartPolicy", "securityContext"):
        assert theirs[field] == ours[field]
    assert all(volume in theirs["volumes"] for volume in ours["volumes"])
    for name in ("data", "publish"):
        assert container(theirs, name) == container(ours, name)
    mine, merged = container(ours, "train"), container(theirs, "train")
    for field in ("image", "command", "args", "securityContext", "env"):
        assert merged[field] == mine[field]
    paths = [mount["mountPath"] for mount in merged["volumeMounts"]]
    assert all(mount in merged["volumeMounts"] for mount in mine["volumeMounts"])
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("pod", "field"),
    [
        ({"volumes": [{"name": "cache"}, 3]}, "volumes.1"),
        ({"volumes": {"name": "store"}}, "volumes"),
        ({"containers": "no list"}, "containers"),
        ({"initContainers": [None]}, "initContainers.0"),
    ],
)
def test_what_has_not_the_shape_of_a_pod_is_refused_with_its_field(pod: Any, field: str) -> None:
    with pytest.raises(ValidationError, match=rf"spec\.train\.pod\.{field}\n"):
        a_pod_spec(pod=pod)


def test_no_volume_gives_a_pod_the_credentials_of_a_service_account() -> None:
    token, kept = {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "settings"}}
    certificate = {"podCertificate": {"signerName": "kubernetes.io/kube-apiserver-client-pod", "keyType": "ED25519"}}
    volumes = [{"name": "mine", "projected": {"sources": [token, kept, certificate]}}]
    pod = {"serviceAccountName": "admin", "volumes": volumes}
    serving = template(a_deployment(serving={"pod": pod}), a_model_version(), "r", DEFAULTS)["spec"]
    for made in (serving, a_pod_spec(pod=pod)):
        [mine] = [one for one in made["volumes"] if one["name"] == "mine"]
        assert mine["projected"]["sources"] == [kept]


def test_what_users_add_runs_before_ours_and_beside_publish() -> None:
    extra = {
        "initContainers": [
            {"name": "proxy", "restartPolicy": "Always"},
            {"name": "train", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]},
            {"name": "fetch"},
        ],
        "containers": [{"name": "board"}, {"name": "publish", "resources": {"limits": {"memory": "1Gi"}}}],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "tolerations": [{"key": "gpu"}],
    }
    pod = a_pod_spec(pod=extra)
    assert [one["name"] for one in pod["initContainers"]] == ["proxy", "fetch", "data", "train"]
    assert [one["name"] for one in pod["containers"]] == ["publish", "board"]
    assert {"name": "cache", "mountPath": "/cache"} in container(pod, "train")["volumeMounts"]
    assert container(pod, "publish")["resources"]["limits"] == {"memory": "1Gi"}
    assert pod["tolerations"] == [{"key": "gpu"}]


def test_ids_are_defaults_and_can_be_left_to_the_namespace() -> None:
    assert a_pod_spec()["securityContext"]["runAsUser"] == 65532
    assert a_pod_spec(pod={"securityContext": {"runAsUser": 1000660000}})["securityContext"]["runAsUser"] == 1000660000
    without = a_pod_spec(Defaults("runtime", "pvc://models", ("skops",), fixed_ids=False))["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & without.keys()
    assert without["runAsNonRoot"]


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, {"requests": {"cpu": "50m", "memory": "128Mi"}}),
        ({"requests": {"cpu": "8"}}, {"requests": {"cpu": "8"}}),
        (
            {"limits": {"memory": "4Gi", "nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
            {"limits": {"memory": "4Gi"}},
        ),
    ],
)
def test_data_and_publish_have_the_limits_that_a_quota_wants_of_each_container(train: Any, expected: Any) -> None:
    pod = a_pod_spec(resources=train)
    assert container(pod, "data")["resources"] == container(pod, "publish")["resources"] == expected


@pytest.mark.parametrize(("added", "limit"), [(0, 12288 // 5), (1, 12288 // 6), (5, 12288 // 10)])
def test_reports_fit_into_what_the_kubelet_keeps_of_a_pod(added: int, limit: int) -> None:
    pod = a_pod_spec(pod={"containers": [{"name": f"extra-{n}"} for n in range(added)]})
    for name in ("data", "publish"):
        assert variables(container(pod, name))["UPRIGHT_TERMINATION_LIMIT"] == str(limit)


def test_labels_and_annotations_are_on_job_and_pods_and_ours_win() -> None:
    added = {
        "labels": {"team": "growth", "upright.dev/run": "9"},
        "annotations": {
            "cost": "12",
            "kubectl.kubernetes.io/default-container": "board",
            "upright.dev/parameters": "{}",
        },
    }
    owner = a_training_job(train={"command": ["x"], "metadata": added}, parameters={"a": 1})
    made = job(owner, RUN, DEFAULTS, "pvc://models")
    for meta in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert meta["labels"]["team"] == "growth"
        assert meta["labels"]["upright.dev/run"] == "1"
        assert meta["annotations"]["cost"] == "12"
    [owned] = made["metadata"]["ownerReferences"]
    assert owned["controller"]
    assert owned["blockOwnerDeletion"]  # the Job's pods are gone before the TrainingJob is, when that is asked for
    template = made["spec"]["template"]["metadata"]["annotations"]
    assert template["upright.dev/parameters"] == '{"a": 1}'
    assert template["kubectl.kubernetes.io/default-container"] == "board"


def test_a_pod_without_anything_added_is_ours() -> None:
    ours = {"containers": [{"name": "serve"}], "volumes": [], "securityContext": {"runAsNonRoot": True}}
    assert merge_pod({}, ours) == ours


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "serve", "train", "store", "UPRIGHT_X"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "env", "value", "mountPath", "resources"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["serve", "train", "data", "publish", "mine"])
CONTAINER = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | JSON,
        **dict.fromkeys(
            ("image", "env", "envFrom", "ports", "volumeMounts", "volumeDevices", "resources", "securityContext"), JSON
        ),
    },
)
POD = st.dictionaries(st.text(max_size=3), JSON, max_size=2) | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("initContainers", "containers"), JSON | st.lists(CONTAINER | JSON, max_size=3)),
        **dict.fromkeys(("volumes", "securityContext", "hostNetwork", "nodeSelector"), JSON),
    },
)


@given(POD)
@example({"initContainers": [{"name": "serve", "image": "x"}]})
@example({"containers": [{"image": "x"}]})
@example({"containers": [{"name": "serve", "ports": 3, "volumeDevices": 4, "envFrom": 5}]})
def test_whatever_an_object_says_of_its_pod_a_pod_is_made_with_all_that_is_ours(pod: dict[str, Any]) -> None:
    """The schema of today and that of an earlier version let through more than the API server takes of a pod. What it
    does not take it says itself; what has not even the shape of a pod is refused before.
    """
    try:
        a_deployment(serving={"pod": pod})
    except ValidationError:
        return
    serving = template(a_deployment("churn-1", serving={"pod": pod}), a_model_version(), "r", DEFAULTS)["spec"]
    for made, ours in ((serving, ["serve"]), (a_pod_spec(pod=pod), ["train", "data", "publish"])):
        containers = [*made.get("initContainers", []), *made["containers"]]
        assert all(isinstance(one, Mapping) for one in (*containers, *made["volumes"]))
        named = [one.get("name") for one in containers]
        assert all(name in named for name in ours)
        assert "hostNetwork" not in made


def test_a_pod_is_told_of_workers_and_queue_only_where_somebody_asked_for_others() -> None:
    """So that a new field of ours makes no pod anew."""

    def told(**serving: Any) -> Mapping[str, str]:
        pod = template(a_deployment("churn-1", serving=serving), a_model_version(), "r", DEFAULTS)["spec"]
        return {one["name"]: one["value"] for one in pod["containers"][0]["env"]}

    usual = told()
    assert told(workers=1, queue=64) == usual
    assert told(workers=4, queue=16) == {**usual, "UPRIGHT_WORKERS": "4", "UPRIGHT_QUEUE": "16"}


@pytest.mark.parametrize("workers", [0, 17, 1.5])
def test_so_many_workers_are_refused(workers: float) -> None:
    with pytest.raises(ValidationError, match="workers"):
        a_deployment(serving={"workers": workers})
