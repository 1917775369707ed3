"""What was stored before the schema refused it, in the real API server after an upgrade: it can be scaled and changed
in all else, and what is written anew is refused. In a group of its own, so that nobody else's schema changes meanwhile.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.shell import wait_until
from upright.api.deployment import DEFINITION
from upright.api.schema import custom_resource_definition

GROUP = "stored.example.com"
KIND = f"deployments.{GROUP}"
RATIO = {"name": "refunds", "type": "Ratio", "bad": "orders_total", "total": "orders_total"}


def errors(**tolerance: float) -> dict[str, Any]:
    return {"metrics": [{"name": "errors", "type": "ErrorRate", "tolerance": tolerance}]}


REFUSED_BY_NOW = {
    "warm-up": ({"warmUp": "15m"}, "monitoring.warmUp must be shorter than each step"),
    "points": (errors(absolute=1), "must be less than 1, which is 100 points"),
    "percent": (errors(relative=25), "must be less than 10, which is eleven times"),
    "same": ({"metrics": [RATIO]}, "bad and total are the same counter"),
    "weight": (
        {"metrics": [{"name": "errors", "type": "ErrorRate", "weight": 0.0001}]},
        "weight must be at least 0.001",
    ),
}


def a_deployment(name: str, monitoring: dict[str, Any]) -> str:
    steps = [{"weight": 5, "for": "10m"}, {"weight": 50, "for": "1h"}]
    spec = {"modelVersion": "churn-1", "replicas": 3, "rollout": {"steps": steps}, "monitoring": monitoring}
    return yaml.safe_dump(
        {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    )


def without_rules(node: Any) -> Any:
    """The schema as it was before any rule."""
    if isinstance(node, list):
        return [without_rules(each) for each in node]
    if isinstance(node, dict):
        return {key: without_rules(each) for key, each in node.items() if key != "x-kubernetes-validations"}
    return node


@pytest.fixture(scope="module")
def upgraded(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One object of each kind of REFUSED_BY_NOW is stored in `default`, and then the schema of today comes."""
    now = custom_resource_definition(replace(DEFINITION, short_names=(), categories=()), GROUP, "v1alpha1")
    file: Path = tmp_path_factory.mktemp("stored") / "definition.yaml"

    def taken(*words: str, input: str) -> bool:
        return control_plane.kubectl(*words, "-f", "-", input=input, check=False).returncode == 0

    def define(definition: Any) -> None:
        file.write_text(yaml.safe_dump(definition))
        control_plane.kubectl("apply", "--server-side", "-f", file)
        control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", file)

    define(without_rules(now))
    stored = "---\n".join(a_deployment(name, monitoring) for name, (monitoring, _) in REFUSED_BY_NOW.items())
    wait_until(lambda: taken("apply", input=stored), 30, lambda: "what was right is not taken")
    define(now)
    wait_until(  # the schema is in force a moment after it was written
        lambda: (
            not any(
                taken("create", "--dry-run=server", input=a_deployment("new", monitoring))
                for monitoring, _ in REFUSED_BY_NOW.values()
            )
        ),
        30,
        lambda: "what is refused by now is taken anew",
    )
    yield control_plane
    control_plane.kubectl("delete", "-f", file)


def patched(api: Cluster, name: str, patch: str, *words: str) -> str:
    """What is said where it is refused."""
    done = api.kubectl("patch", KIND, name, "--type=merge", f"--patch={patch}", *words, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("name", REFUSED_BY_NOW)
def test_what_was_stored_is_scaled_and_changed_in_all_else(upgraded: Cluster, name: str) -> None:
    upgraded.kubectl("scale", f"{KIND}/{name}", "--replicas=5")
    assert not patched(upgraded, name, '{"spec": {"modelVersion": "churn-2", "paused": true}}')
    assert not patched(upgraded, name, '{"status": {"replicas": 5}}', "--subresource=status")
    found = upgraded.kubectl("get", KIND, name, "-o", "jsonpath={.spec.replicas} {.spec.modelVersion}").stdout
    assert found == "5 churn-2"


@pytest.mark.parametrize(("monitoring", "said"), REFUSED_BY_NOW.values(), ids=REFUSED_BY_NOW)
def test_the_same_is_refused_where_it_is_written_anew(upgraded: Cluster, monitoring: Any, said: str) -> None:
    done = upgraded.kubectl("create", "-f", "-", input=a_deployment("new", monitoring), check=False)
    assert said in done.stderr


@pytest.mark.parametrize(
    "changed",
    ['{"monitoring": {"warmUp": "20m"}}', '{"rollout": {"steps": [{"weight": 5, "for": "5m"}]}}'],
)
def test_a_stored_warm_up_is_refused_where_it_or_the_steps_change(upgraded: Cluster, changed: str) -> None:
    assert "must be shorter than each step" in patched(upgraded, "warm-up", f'{{"spec": {changed}}}')
    assert not patched(upgraded, "warm-up", '{"spec": {"monitoring": {"interval": "20s"}}}')
