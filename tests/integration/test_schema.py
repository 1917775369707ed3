"""What users write, given to the real API server: it takes what is right, and refuses what is wrong with the remedy."""

import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.cluster.cluster import Cluster
from upright.api import crds
from upright.api.monitoring import Metric
from upright.api.policy import Policy
from upright.api.refusals import WRITTEN

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32

TRAINING_JOB: dict[str, Any] = {
    "apiVersion": "upright.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "churn"},
    "spec": {
        "data": [{"name": "train", "uri": "configmap://rows/train.csv", "digest": DIGEST}],
        "parameters": {"max_depth": 4, "nested": {"any": ["json", None]}},
        "code": {"uri": "pvc://code/churn"},
        "train": {
            "command": ["python", "train.py"],
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "registry", "key": "token"}}}],
            "pod": {
                "nodeSelector": {"gpu": "yes"},
                "hostNetwork": False,
                "securityContext": {"runAsUser": 1000660000},
                "volumes": [
                    {"name": "cache", "emptyDir": {"medium": "Memory"}},
                    {"name": "mine", "projected": {"sources": [{"configMap": {"name": "settings"}}]}},
                ],
                "initContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}],
                "containers": [{"name": "publish", "resources": {"limits": {"memory": "1Gi"}}}],
            },
            "metadata": {
                "labels": {"kueue.x-k8s.io/queue-name": "night", "empty": "", "A_b.c": "0_b.C"},
                "annotations": {"team": "growth", "Example.COM/any": "value, of any kind\n"},
            },
        },
        "output": {"store": "pvc://models"},
        "deadline": "1h30m",
    },
}
MODEL_VERSION: dict[str, Any] = {
    "apiVersion": "upright.dev/v1alpha1",
    "kind": "ModelVersion",
    "metadata": {"name": "churn-1"},
    "spec": {
        "model": "churn",
        "artifact": {"uri": "pvc://models/churn/sha256-1", "digest": DIGEST, "format": "skops"},
    },
}
PLAN: dict[str, Any] = {"name": "plan", "feature": "plan", "values": ["basic", "flex"]}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "upright.dev/v1alpha1",
    "kind": "Deployment",
    "metadata": {"name": "churn"},
    "spec": {
        "modelVersion": "churn-1",
        "replicas": 3,
        "rollout": {"steps": [{"weight": 5, "for": "10m"}, {"weight": 50, "for": "90s"}]},
        "monitoring": {
            "interval": "5s",
            "metrics": [{"name": "errors", "type": "ErrorRate", "tolerance": {"relative": 0.5}}],
        },
    },
}
VALID = (TRAINING_JOB, MODEL_VERSION, DEPLOYMENT)
A_METRIC = {"name": "errors", "type": "ErrorRate"}
EXACT = {"boundary": "Exact"}


@pytest.fixture(scope="module")
def api(control_plane: Cluster) -> Cluster:
    """The control plane, with our kinds."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", ROOT / "crds")
    return control_plane


def apply(api: Cluster, namespace: str, manifest: dict[str, Any]) -> str:
    """Apply it as a user would; returns what was said when it was refused, and nothing otherwise."""
    done = api.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump(manifest), check=False)
    return done.stderr if done.returncode else ""


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The manifest with one field set, or removed when the value is None."""
    copy = deepcopy(manifest)
    *parents, last = path.split(".")
    inner: Any = copy
    for parent in parents:
        inner = inner[int(parent)] if parent.isdigit() else inner.setdefault(parent, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.mark.parametrize("manifest", VALID, ids=lambda manifest: str(manifest["kind"]))
def test_what_is_right_is_taken(api: Cluster, namespace: str, manifest: dict[str, Any]) -> None:
    assert not apply(api, namespace, manifest)


def test_an_exact_boundary_is_taken_with_a_relative_tolerance(api: Cluster, namespace: str) -> None:
    for tolerance in ({"relative": 0.25, "absolute": 0}, {"relative": 0.25}, {"absolute": 0}):
        metrics = [A_METRIC | EXACT | {"tolerance": tolerance}]
        assert not apply(api, namespace, changed(DEPLOYMENT, "spec.monitoring.metrics", metrics))


def test_segments_by_features_and_labels_are_taken(api: Cluster, namespace: str) -> None:
    refunds = {"name": "refunds", "type": "Ratio", "bad": "refunds_total", "total": "orders_total"}
    tenure = {"name": "tenure", "feature": "tenure", "edges": [-1.5, 12, 36]}
    shop = {"name": "shop", "label": "shop", "values": [f"shop {k} é" for k in range(10)]}
    whole = changed(DEPLOYMENT, "spec.monitoring.segments", [PLAN, tenure, shop])
    assert not apply(api, namespace, changed(whole, "spec.monitoring.metrics", [A_METRIC, refunds]))
    default = changed(DEPLOYMENT, "spec.monitoring", {"segments": [PLAN]})
    assert not apply(api, namespace, default)


@pytest.mark.parametrize(
    "written", ["1ms1ms1ms1ms1ms1ms1ms1ms1ms1ms", "1.5h", "0s", "87600h", "315360000000ms", "000090s"]
)
def test_a_duration_is_taken_as_go_would_write_it(api: Cluster, namespace: str, written: str) -> None:
    assert not apply(api, namespace, changed(TRAINING_JOB, "spec.ttl", written))


@pytest.mark.parametrize("value", ["500m", 2, 0.5, "4Gi"])
def test_a_quantity_is_taken_as_kubernetes_takes_it(api: Cluster, namespace: str, value: object) -> None:
    limited = changed(TRAINING_JOB, "spec.train.resources", {"limits": {"cpu": value}, "requests": {"cpu": value}})
    assert not apply(api, namespace, changed(limited, "spec.train.pod.volumes.0.emptyDir.sizeLimit", value))
    found = api.kubectl("get", "tj", "churn", "-n", namespace, "-o", "jsonpath={.spec.train.resources.limits.cpu}")
    assert found.stdout == str(value)


INVALID = [
    (TRAINING_JOB, "metadata.name", "Churn.v2", "metadata.name must be a DNS label"),
    (TRAINING_JOB, "metadata.name", "c" * 64, "metadata.name must be a DNS label"),
    (TRAINING_JOB, "spec.train", None, "spec.train: Required"),
    (TRAINING_JOB, "spec.train.command", [], "spec.train.command"),
    (TRAINING_JOB, "spec.data", [{"name": "a", "uri": "ftp://host/file"}], "spec.data[0].uri"),
    (TRAINING_JOB, "spec.data", [{"name": "a", "uri": "pvc://lake/../other"}], "must not contain '..'"),
    (
        TRAINING_JOB,
        "spec.data",
        [{"name": "a", "uri": "pvc://lake"}, {"name": "a", "uri": "pvc://sea"}],
        "Duplicate value",
    ),
    (TRAINING_JOB, "spec.data.0.digest", "abc", "spec.data[0].digest"),
    (TRAINING_JOB, "spec.output.store", "models", "spec.output.store"),
    (TRAINING_JOB, "spec.deadline", "7d", "spec.deadline"),
    (TRAINING_JOB, "spec.deadline", "0s", "deadline must be at least 1s"),
    (
        TRAINING_JOB,
        "spec.deadline",
        "99999999999h",
        'spec.deadline: Invalid value: "99999999999h": must be at most 87600h',
    ),
    (TRAINING_JOB, "spec.ttl", "87601h", "must be at most 87600h (ten years)"),
    (TRAINING_JOB, "spec.ttl", "1ms" * 20, "spec.ttl"),
    (TRAINING_JOB, "spec.retries", -1, "spec.retries"),
    (TRAINING_JOB, "spec.parameters", ["a"], "spec.parameters"),
    (TRAINING_JOB, "spec.train.env", [{"name": "UPRIGHT_RUN", "value": "{}"}], "are set by Upright: choose another"),
    (TRAINING_JOB, "spec.train.env", [{"value": "1"}], "spec.train.env[0].name: Required"),
    (TRAINING_JOB, "spec.train.metadata", {"labels": {"upright.dev/run": "7"}}, "labels has one that is set by"),
    (TRAINING_JOB, "spec.train.metadata", {"labels": {"app.kubernetes.io/managed-by": "me"}}, "labels has one that"),
    (TRAINING_JOB, "spec.train.metadata", {"annotations": {"upright.dev/a": "7"}}, "annotations has one of"),
    *(
        (DEPLOYMENT, "spec.serving.metadata", {field: {name: value}}, f"{field} has one that no object can have")
        for field, name, value in (
            ("labels", "team", "credit risk"),
            ("labels", "team", "-a"),
            ("labels", "cost center", "a"),
            ("labels", "Example.com/a", "a"),
            ("labels", "a" * 64, "a"),
            ("annotations", "a b", "a"),
            ("annotations", "a/b/c", "a"),
        )
    ),
    *(
        (TRAINING_JOB, "spec.train.pod", pod, said)
        for pod, said in (
            ({"hostNetwork": True}, "hostNetwork is not for pods of Upright"),
            ({"hostPID": True}, "hostPID is not for pods of Upright"),
            ({"hostIPC": True}, "hostIPC is not for pods of Upright"),
            ({"automountServiceAccountToken": True}, "get no credentials of the API server"),
            *(
                ({"volumes": [{"name": "token", "projected": {"sources": [source]}}]}, "of a ServiceAccount")
                for source in ({"serviceAccountToken": {"path": "token"}}, {"podCertificate": {"keyType": "ED25519"}})
            ),
            ({"volumes": [{"name": "data-0", "emptyDir": {}}]}, "a volume of Upright's has this name"),
            ({"containers": [{"name": "x", "env": [{"name": "UPRIGHT_DIGEST"}]}]}, "are set by Upright"),
            ({"containers": [{"name": "publish", "env": [{"name": "LD_PRELOAD"}]}]}, "only the resources can be set"),
            ({"initContainers": [{"name": "data", "image": "mine"}]}, "only the resources can be set"),
            ({"initContainers": [{"name": "train", "securityContext": {}}]}, "securityContext of container train"),
            (
                {"initContainers": [{"name": "train", "restartPolicy": "Always"}]},
                "restartPolicyRules of container train",
            ),
            (
                {"initContainers": [{"name": "train", "restartPolicyRules": []}]},
                "restartPolicyRules of container train",
            ),
            ({"initContainers": [{"name": "data", "restartPolicy": "Always"}]}, "only the resources can be set"),
        )
    ),
    *(
        (manifest, f"spec.{path}", value, f"spec.{path.replace('.0', '[0]')}: Invalid value")
        for manifest, path in (
            (TRAINING_JOB, "train.resources.limits.cpu"),
            (TRAINING_JOB, "train.pod.containers.0.resources.requests.memory"),
            (TRAINING_JOB, "train.pod.volumes.0.emptyDir.sizeLimit"),
            (DEPLOYMENT, "serving.resources.requests.memory"),
            (DEPLOYMENT, "serving.pod.overhead.cpu"),
        )
        for value in ("two", -1)
    ),
    (TRAINING_JOB, "spec.trian", {}, 'unknown field "spec.trian"'),
    (MODEL_VERSION, "spec.artifact.digest", None, "spec.artifact.digest: Required"),
    (MODEL_VERSION, "spec.artifact.digest", "sha256:AB", "spec.artifact.digest"),
    (MODEL_VERSION, "spec.artifact.format", "pickle", 'supported values: "skops", "joblib"'),
    (MODEL_VERSION, "spec.artifact.uri", "s3://bucket/churn", "spec.artifact.uri"),
    (MODEL_VERSION, "spec.artifact.uri", "pvc://models/../churn", "must not contain '..'"),
    (MODEL_VERSION, "spec.model", "A Model", "spec.model"),
    *(
        (MODEL_VERSION, "spec.producedAt", time, "spec.producedAt")
        for time in ("0000-01-01T00:00:00Z", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00ZTx")
    ),
    (DEPLOYMENT, "spec.serving", {"port": 9000, "grpc": True}, "port 9000 is where the container listens for gRPC"),
    (DEPLOYMENT, "spec.modelVersion", None, "exactly one of modelVersion and latest"),
    (DEPLOYMENT, "spec.latest", {"model": "churn"}, "exactly one of modelVersion and latest"),
    (DEPLOYMENT, "spec.replicas", -1, "spec.replicas"),
    (DEPLOYMENT, "spec.mode", "Batch", 'supported values: "Realtime"'),
    (DEPLOYMENT, "spec.rollout.steps", [], "spec.rollout.steps"),
    (DEPLOYMENT, "spec.rollout.steps", [{"weight": 100, "for": "1m"}], "spec.rollout.steps[0].weight"),
    (DEPLOYMENT, "spec.rollout.steps", [{"weight": 5, "for": "0s"}], "for must be longer than 0s"),
    (
        DEPLOYMENT,
        "spec.rollout.steps",
        [{"weight": 25, "for": "1m"}, {"weight": 5, "for": "1m"}],
        "the weights must rise from step to step",
    ),
    (
        DEPLOYMENT,
        "spec.rollout.steps",
        [{"weight": 25, "for": "1m"}, {"weight": 25, "for": "1m"}],
        "the weights must rise from step to step",
    ),
    (DEPLOYMENT, "spec.rollout.steps", [{"weight": 5, "for": "999999h999999h999999h"}], "must be at most 87600h"),
    (DEPLOYMENT, "spec.rollout.startupDeadline", "9999999999999999999999999999999h", "must be at most 87600h"),
    (DEPLOYMENT, "spec.monitoring.interval", "10ms", "interval must be at least 1s"),
    (DEPLOYMENT, "spec.monitoring.falseRollbackProbability", 0, "must be at least 0.000001"),
    (DEPLOYMENT, "spec.monitoring.falseRollbackProbability", 1, "must be at most 0.5"),
    (DEPLOYMENT, "spec.monitoring.metrics", [], "spec.monitoring.metrics"),
    (DEPLOYMENT, "spec.monitoring.metrics.0.type", "Happiness", 'supported values: "ErrorRate"'),
    (DEPLOYMENT, "spec.monitoring.metrics.0.tolerance.relative", -1, "tolerance.relative"),
    *(
        (DEPLOYMENT, "spec.monitoring.metrics.0.tolerance.relative", percent, "relative: Invalid value: " + said)
        for percent, said in ((10, "10: must be less than 10, which"), (25.0, "25: must be less than 10, which"))
    ),
    *(
        (DEPLOYMENT, "spec.monitoring.metrics.0.tolerance.absolute", points, "0.01 is one point")
        for points in (1, 1.0, 5)
    ),
    (
        DEPLOYMENT,
        "spec.monitoring.metrics",
        [{"name": "basket", "type": "Mean"}],
        "type Mean is for `upright backtest`",
    ),
    (
        DEPLOYMENT,
        "spec.monitoring.metrics",
        [{"name": "quality", "type": "Quality"}],
        "Limit need bad and total: which",
    ),
    *(
        (DEPLOYMENT, "spec.monitoring.segments", [{**PLAN, **said}], why)
        for said, why in (
            ({"label": "plan"}, "exactly one of feature and label"),
            ({"feature": None}, "exactly one of feature and label"),
            ({"edges": [1]}, "exactly one of values and edges"),
            ({"values": None}, "exactly one of values and edges"),
            (
                {"feature": None, "label": "plan", "values": None, "edges": [1]},
                "edges are for the numbers of a feature",
            ),
            ({"values": ["basic", "other"]}, "other is what is in none of the values"),
            ({"values": ["basic", "basic"]}, "values must differ"),
            ({"values": ["two\nlines"]}, "spec.monitoring.segments[0].values[0]"),
            ({"values": list("abcdefghijk")}, "must have at most 10 items"),
            ({"values": None, "edges": [2, 1]}, "edges must rise"),
            ({"feature": None, "label": "a-b"}, "spec.monitoring.segments[0].label"),
            ({"feature": None, "label": "plan"}, "each segment must split a metric"),
        )
    ),
    (
        DEPLOYMENT,
        "spec.monitoring.segments",
        [{**PLAN, "name": f"s{k}", "values": list("abcdefghij")} for k in range(4)],
        "segments make too many comparisons",
    ),
    (DEPLOYMENT, "spec.monitoring.segments", [PLAN, PLAN], "Duplicate value"),
    (DEPLOYMENT, "spec.monitoring.pods", {"path": "metrics"}, "spec.monitoring.pods.path"),
    (DEPLOYMENT, "spec.monitoring.pods", {"path": "/a\r\nHost: b"}, "spec.monitoring.pods.path"),
    (DEPLOYMENT, "spec.monitoring.pods", {"port": 0}, "spec.monitoring.pods.port"),
    (DEPLOYMENT, "spec.monitoring.falseRollbackProbability", 0.0000001, "must be at least 0.000001"),
    (DEPLOYMENT, "spec.monitoring.metrics.0.weight", 0.0001, "weight must be at least 0.001"),
    (DEPLOYMENT, "spec.monitoring.metrics.0.weight", 0, "metrics[0].weight: Invalid value"),
    (DEPLOYMENT, "spec.monitoring.metrics.0.weight", 1001, "metrics[0].weight: Invalid value"),
    (DEPLOYMENT, "spec.monitoring.warmUp", "1h", "monitoring.warmUp must be shorter than each step"),
    (DEPLOYMENT, "spec.monitoring.warmUp", "90s", "monitoring.warmUp must be shorter than each step"),
    (DEPLOYMENT, "spec.monitoring.warmUp", "soon", "must be a duration such as"),
    (DEPLOYMENT, "spec.serving.port", 70000, "spec.serving.port"),
]


@pytest.mark.parametrize(("manifest", "path", "value", "said"), INVALID)
def test_what_is_wrong_is_refused_with_the_field_and_the_remedy(
    api: Cluster, namespace: str, manifest: dict[str, Any], path: str, value: Any, said: str
) -> None:
    answer = apply(api, namespace, changed(manifest, path, value))
    assert said in answer
    assert "rule evaluation error" not in answer


SELECTS = 'must select one metric, as PromQL does: shop_orders_total, or shop_orders_total{plan="basic"}'
REFUSED_METRICS: list[tuple[dict[str, Any], str]] = [
    ({"type": "Limit"}, "type Limit needs maximum, the highest acceptable rate"),
    ({"maximum": 0.1}, "maximum belongs to type Limit: remove it, or change the type"),
    ({"buckets": [0.1]}, "buckets belongs to type Latency: remove it, or change the type"),
    ({"deviation": 2}, "deviation belongs to type Mean: remove it, or change the type"),
    ({"bad": "x_total"}, "bad and total belong together: give both, or neither"),
    ({"type": "Ratio", "total": "x_total"}, "bad and total belong together: give both, or neither"),
    (
        {"type": "Ratio", "bad": "x_total", "total": "x_total"},
        "bad and total are the same counter, of which all is bad: let bad select the bad events alone",
    ),
    (
        {"type": "Latency", "bad": "x_total", "total": "x_bucket"},
        "for type Latency total names the buckets: remove bad",
    ),
    *(
        ({"type": "Ratio", "bad": selector, "total": "x_total"}, f"bad {SELECTS}")
        for selector in (
            "rate(x_total[5m])",
            "x_total[5m]",
            "x_total offset 5m",
            "sum(x_total)",
            "x_total / y_total",
            '{job="shop"}',
            'x_total{job="shop"',
            "x_total{job=shop}",
            'x_total{job=="shop"}',
            'x_total{job="shop", or="a" or b="c"}',
            "x total",
            "9_total",
        )
    ),
    ({"type": "Latency", "total": "rate(x_bucket[1m])"}, f"total {SELECTS}"),
    ({"type": "Latency", "buckets": [0.2, 0.1]}, "buckets must rise from each to the next"),
    ({"type": "Latency", "buckets": [0.1, 0.1]}, "buckets must rise from each to the next"),
    ({"type": "Quality", **EXACT}, "boundary Exact is for ErrorRate, RefusalRate and Ratio: write boundary: Mixture"),
    (EXACT, "boundary Exact needs a tolerance that is only relative: write tolerance: {relative: 0.25}"),
    (EXACT | {"tolerance": {}}, "boundary Exact needs a tolerance that is only relative"),
    (EXACT | {"tolerance": {"relative": 0.25, "absolute": 0.1}}, "boundary Exact needs a tolerance that is only"),
    (
        EXACT | {"dispersion": 2, "tolerance": {"relative": 0.25}},
        "boundary Exact holds for independent events only: remove dispersion, or write boundary: Mixture",
    ),
]
TAKEN_METRICS: list[dict[str, Any]] = [
    {},
    *(
        {"type": "Ratio", "bad": selector, "total": "all_total"}
        for selector in (
            "x_total",
            " x_total {} ",
            'job:x:rate5m{job="shop",path=~"/v[12]/.*", a!="b" , c!~\'d|"e"\', }',
            r'x_total{a="quote \" and \\ backslash", b="}"}',
        )
    ),
    {"type": "Latency"},
    {"type": "Latency", "total": "http_request_duration_seconds_bucket", "buckets": [0.1, 0.5]},
    {"type": "Limit", "bad": "late_total", "total": "all_total", "maximum": 0.02},
    {"type": "Quality", "bad": "wrong_total", "total": "labelled_total"},
    {"bad": "a_total", "total": "b_total"},
    {"tolerance": {}},
    {"tolerance": {"relative": 0}},
    {"dispersion": 1.5, "weight": 3},
    {"weight": 0.001},
    {"weight": 1000},
    EXACT | {"dispersion": 1, "tolerance": {"relative": 0.25}},
    EXACT | {"type": "RefusalRate", "tolerance": {"absolute": 0}},
]


@pytest.mark.parametrize(("metric", "said"), REFUSED_METRICS)
def test_a_deployment_and_a_policy_file_refuse_the_same_with_the_same_sentence(
    api: Cluster, namespace: str, metric: dict[str, Any], said: str
) -> None:
    metrics = [A_METRIC | metric]
    assert said in apply(api, namespace, changed(DEPLOYMENT, "spec.monitoring.metrics", metrics))
    with pytest.raises(ValidationError, match=re.escape(said)):
        Policy.model_validate({"metrics": metrics}, context=WRITTEN)


@pytest.mark.parametrize("metric", TAKEN_METRICS)
def test_a_deployment_and_a_policy_file_take_the_same(api: Cluster, namespace: str, metric: dict[str, Any]) -> None:
    metrics = [A_METRIC | metric]
    assert not apply(api, namespace, changed(DEPLOYMENT, "spec.monitoring.metrics", metrics))
    assert Policy.model_validate({"metrics": metrics}, context=WRITTEN).metrics


def test_every_refusal_of_a_metric_is_tried() -> None:
    tried = {said for _, said in REFUSED_METRICS}
    assert {rule.message for rule in Metric.rules} <= tried


RULED = {f"spec.monitoring.metrics.0.{field}" for field in ("maximum", "deviation", "weight")}
"""Numbers of which a rule says more than their bounds: that they belong to types which a Deployment refuses as yet, or,
of a weight, which one is too small; INVALID, REFUSED_METRICS and TAKEN_METRICS have these."""
DURATIONS = [
    (manifest, path)
    for manifest, paths in (
        (TRAINING_JOB, ("deadline", "ttl")),
        (
            DEPLOYMENT,
            (
                "serving.timeout",
                "rollout.steps.0.for",
                "rollout.startupDeadline",
                "rollout.noDataDeadline",
                "monitoring.interval",
            ),
        ),
    )
    for path in paths
]


@pytest.mark.parametrize(("manifest", "path"), DURATIONS)
@pytest.mark.parametrize("written", ["30", "7d", "soon", "-5s", ""])
def test_what_is_no_duration_has_one_answer(
    api: Cluster, namespace: str, manifest: dict[str, Any], path: str, written: str
) -> None:
    answer = apply(api, namespace, changed(manifest, f"spec.{path}", written))
    assert answer.count("Invalid value") == 1
    assert f'"{written}": must be a duration such as 90s, 10m or 1h30m' in answer
    assert "rule evaluation error" not in answer


def numbers(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in a schema that has a bound, with its path in an object."""
    if node.get("type") in {"integer", "number"} and {"minimum", "maximum"} & node.keys():
        yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from numbers(inner, f"{path}.{name}")
    if "items" in node:
        yield from numbers(node["items"], f"{path}.0")


def around(node: dict[str, Any]) -> Iterator[tuple[float, bool]]:
    """Numbers around the bounds of a number, written as people write them, and whether each is within."""
    whole = node["type"] == "integer"
    # A fractional bound is said by a rule alone.
    rules = [rule["rule"].split() for rule in node.get("x-kubernetes-validations", ())]
    said = {sign[0]: (float(limit), sign in {"<", ">"}) for _, sign, limit in rules}
    low, low_open = said.get(">", (node.get("minimum", -math.inf), node.get("exclusiveMinimum", False)))
    high, high_open = said.get("<", (node.get("maximum", math.inf), node.get("exclusiveMaximum", False)))
    for bound in {low, high} - {-math.inf, math.inf}:
        near = {bound, math.floor(bound), math.ceil(bound), math.floor(bound) - 1, math.ceil(bound) + 1}
        near |= {int(bound)} if whole else {bound * 0.999 - 1e-9, bound * 1.001 + 1e-9, float(math.floor(bound))}
        for value in near:
            above = value > low if low_open else value >= low
            below = value < high if high_open else value <= high
            yield value, above and below


def test_every_number_is_taken_within_its_bounds_and_refused_outside_of_them(api: Cluster, namespace: str) -> None:
    wanted: dict[str, tuple[str, float, bool]] = {}
    objects: list[dict[str, Any]] = []
    one_step = changed(DEPLOYMENT, "spec.rollout.steps", [{"weight": 5, "for": "10m"}])
    for manifest in (TRAINING_JOB, MODEL_VERSION, one_step):
        [schema] = [one for one in crds.manifests().values() if one["spec"]["names"]["kind"] == manifest["kind"]]
        parts = schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        assert not list(numbers(parts["status"], "status")), "the status has bounds, too: send them as well"
        for path, node in numbers(parts["spec"], "spec"):
            if path in RULED:
                continue
            for value, within in around(node):
                name = f"n{len(objects)}"
                objects.append(changed(changed(manifest, path, value), "metadata.name", name))
                wanted[f"{schema['spec']['names']['singular']}.upright.dev/{name}"] = (path, value, within)
    assert len({path for path, _, _ in wanted.values()}) >= 10
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    command = ("create", "--dry-run=server", "--output=name", "-n", namespace, "-f", "-")
    taken = set(api.kubectl(*command, input=whole, check=False).stdout.split())
    assert [what for name, what in wanted.items() if (name in taken) != what[2]] == []


def test_common_labels_of_kustomize_pass_strict_validation(api: Cluster, namespace: str, tmp_path: Path) -> None:
    """It takes whatever is called Deployment for one of apps/v1."""
    names = [f"{manifest['kind'].lower()}.yaml" for manifest in VALID]
    for name, manifest in zip(names, VALID, strict=True):
        (tmp_path / name).write_text(yaml.safe_dump(manifest))
    labels = [{"pairs": {"team": "growth"}, "includeSelectors": True, "includeTemplates": True}]
    whole = {"resources": names, "labels": labels, "commonAnnotations": {"cost": "shop"}, "namePrefix": "eu-"}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(whole))
    api.kubectl("apply", "--validate=strict", "-n", namespace, "-k", tmp_path)
    found = api.kubectl("get", "mlops", "-n", namespace, "-l", "team=growth", "-o", "name").stdout
    assert len(found.split()) == len(VALID)


def test_a_version_says_at_a_glance_what_is_the_matter(api: Cluster, namespace: str) -> None:
    measured = changed(MODEL_VERSION, "spec.metrics", {"accuracy": 0.9})
    apply(api, namespace, changed(measured, "spec.parameters", {"depth": 4}))
    status = {
        "phase": "Corrupt",
        "usedBy": ["shop/churn", "shop/other"],
        "verdicts": [
            {"deployment": "churn", "revision": "a", "outcome": "Stable", "at": "2026-11-22T12:00:00Z"},
            {"deployment": "newer", "revision": "a", "outcome": "Rejected", "at": "2026-11-21T12:00:00Z"},
            {"deployment": "older", "revision": "a", "outcome": "Rejected", "at": "2026-11-20T12:00:00Z"},
        ],
        "rejectedBy": ["newer", "older"],
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Corrupt", "message": "model.skops is not what it was."},
            {"type": "Verified", "status": "False", "reason": "Corrupt", "message": "model.skops is not what it was."},
        ],
    }
    patch = json.dumps({"status": status})
    api.kubectl("patch", "mv", "churn-1", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    head, row = api.kubectl("get", "mv", "-o", "wide", "-n", namespace).stdout.splitlines()
    names = "NAME MODEL PHASE VERIFIED FORMAT DIGEST USED-BY REJECTED-BY METRICS PARAMETERS MESSAGE AGE"
    assert head.split() == names.split()
    said_of = ("newer", '{"accuracy":0.9}', '{"depth":4}', "model.skops is not what it was.")
    for said in ("Corrupt", "False", "skops", DIGEST, " shop/churn ", *said_of):
        assert said in row
    assert "shop/other" not in row, "the API server prints a list as JSON, or one item of it"


def test_a_version_is_immutable(api: Cluster, namespace: str) -> None:
    assert not apply(api, namespace, MODEL_VERSION)
    said = apply(api, namespace, changed(MODEL_VERSION, "spec.model", "other"))
    assert "a ModelVersion is immutable: create one with another name instead" in said


def test_defaults_are_filled_in(api: Cluster, namespace: str) -> None:
    apply(api, namespace, changed(DEPLOYMENT, "spec.rollout", None))
    done = api.kubectl("get", "mdep", "churn", "-n", namespace, "-o", "yaml")
    spec = yaml.safe_load(done.stdout)["spec"]
    assert [step["weight"] for step in spec["rollout"]["steps"]] == [5, 25, 50]
    assert spec["monitoring"]["falseRollbackProbability"] == 0.01
    assert spec["monitoring"]["metrics"][0]["tolerance"] == {"relative": 0.5}


def test_a_deployment_can_be_scaled_by_name_like_any_other(api: Cluster, namespace: str) -> None:
    apply(api, namespace, DEPLOYMENT)
    api.kubectl("scale", "deployments.upright.dev/churn", "--replicas=5", "-n", namespace)
    done = api.kubectl("get", "mdep", "churn", "-n", namespace, "-o", "jsonpath={.spec.replicas}")
    assert done.stdout == "5"


def test_all_kinds_are_listed_together(api: Cluster, namespace: str) -> None:
    for manifest in VALID:
        apply(api, namespace, manifest)
    listed = api.kubectl("get", "mlops", "-n", namespace).stdout
    for name in ("trainingjob.upright.dev/churn", "modelversion.upright.dev/churn-1", "deployment.upright.dev/churn"):
        assert name in listed
