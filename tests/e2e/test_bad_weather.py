"""Rollouts that meet what clusters and people do: crashes, silence, another contract, hands in what is ours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.e2e.conftest import workspace
from tests.e2e.objects import a_claim, a_deployment, a_training_job, ask, condition, deployed, serves, stalled, warned
from tests.installed import Object, Workspace

STEP = {"steps": [{"weight": 50, "for": "5s"}]}
TWO_COLUMNS = """
import pandas as pd
from sklearn.dummy import DummyClassifier
from upright.runtime import sdk
answer = sdk.parameters()["answer"]
rows = pd.DataFrame({name: [0.0, 1.0] for name in sdk.parameters()["columns"]})
sdk.save(DummyClassifier(strategy="constant", constant=answer).fit(rows, [answer, answer]), reference=rows)
"""
"""Its model answers the parameter `answer` and takes the columns that `columns` names."""


def a_version(name: str, answer: int, *columns: str) -> Object:
    return a_training_job(name, TWO_COLUMNS, model="toy", parameters={"answer": answer, "columns": list(columns)})


@pytest.fixture(scope="module")
def models(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """Three versions: `one-1` and `two-1` take the column age, `more-1` takes size beside it."""
    jobs = [a_version("one", 1, "age"), a_version("two", 2, "age"), a_version("more", 3, "age", "size")]
    with workspace(cluster, installed) as place:
        place.apply(a_claim(), *jobs)
        for job in jobs:
            place.until_phase("tj", job["metadata"]["name"], "Succeeded")
        yield place


def with_container(**container: Any) -> Object:
    return {"pod": {"containers": [container]}}


def workload(place: Workspace, name: str) -> Object:
    """The only apps/v1 Deployment of a Deployment."""
    [found] = place.items("deployments.apps", f"upright.dev/deployment={name}")
    return found


def test_a_candidate_that_crashes_again_and_again_is_given_up(models: Workspace) -> None:
    flaky = {
        "name": "flaky",
        "image": models.images.runtime,
        "command": ["python", "-c", "import time; time.sleep(3); raise SystemExit(7)"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    long = {"steps": [{"weight": 50, "for": "10m"}], "restarts": 2}
    with deployed(models, "crash", "one-1", rollout=long):
        models.patch("mdep", "crash", {"spec": {"modelVersion": "two-1", "serving": with_container(**flaky)}})
        back = models.until_phase("mdep", "crash", "RolledBack")
        assert "'flaky'" in back["status"]["rejected"][0]["message"]
        assert "exit code 7" in back["status"]["rejected"][0]["message"]
        assert serves(back, "one-1")
        warned(models, "crash", "RolledBack")


def test_a_candidate_that_cannot_be_measured_waits_for_a_person(models: Workspace) -> None:
    silent = {"name": "serve", "command": ["python", "-m", "http.server", "3000"]}
    serving = {**with_container(**silent), "image": models.images.runtime}
    rollout = {"steps": [{"weight": 50, "for": "1s"}], "noDataDeadline": "3s"}
    with deployed(models, "silent", "one-1", rollout=rollout):
        models.patch("mdep", "silent", {"spec": {"modelVersion": "two-1", "serving": serving}})
        held = models.until("mdep", "silent", lambda one: stalled(one, "Unmeasured"), "held")
        assert held["status"]["phase"] == "Paused"
        assert condition(held, "Measured")[0] == "False"
        assert held["status"]["stable"]["modelVersion"] == "one-1"
        models.patch("mdep", "silent", {"spec": {"rollout": {"whenUnmeasured": "Promote"}}})
        models.until("mdep", "silent", lambda one: serves(one, "two-1"), "promotion unseen")


def test_a_version_that_breaks_its_clients_is_held_and_rolled_back_when_it_is_let_out(models: Workspace) -> None:
    rollout = {"steps": [{"weight": 50, "for": "10m"}]}
    with deployed(models, "contract", "one-1", rollout=rollout):
        models.patch("mdep", "contract", {"spec": {"modelVersion": "more-1"}})
        held = models.until("mdep", "contract", lambda one: stalled(one, "ContractChanged"), "held")
        assert "new input 'size'" in condition(held, "Stalled")[2]
        assert serves(held, "one-1")
        models.patch("mdep", "contract", {"spec": {"rollout": {"contract": "Any"}}})
        path = f"/api/v1/namespaces/{models.namespace}/services/contract:80/proxy/v1/models/toy:predict"
        body = json.dumps({"instances": [{"age": 0.0}]})

        def asked(deployment: Object) -> bool:
            for _ in range(20):
                models.kubectl("create", "--raw", path, "-f", "-", input=body, check=False)
            return bool(deployment["status"].get("phase") == "RolledBack")

        back = models.until("mdep", "contract", asked, "rolled back by its refusals", 240)
        assert back["status"]["rejected"][0]["metric"] == "refusals"


def test_what_hands_change_is_put_back_and_what_they_delete_comes_back_as_it_was(models: Workspace) -> None:
    with deployed(models, "hands", "one-1", serving={"env": [{"name": "COLOUR", "value": "blue"}]}):
        owned = workload(models, "hands")["metadata"]["name"]
        models.until("controllerrevisions.apps", owned, lambda one: one, "the record of the template")

        models.patch("service", "hands", {"spec": {"selector": {"team": "growth"}}})
        models.until("service", "hands", lambda one: "team" not in one["spec"]["selector"], "the selector put back")
        assert ask(models, "hands", "toy") == [1]

        image = {"spec": {"template": {"spec": {"containers": [{"name": "serve", "image": "another:1"}]}}}}
        models.kubectl("patch", "deployments.apps", owned, "--type=strategic", "-p", json.dumps(image))
        models.until(
            "deployments.apps",
            owned,
            lambda one: one["spec"]["template"]["spec"]["containers"][0]["image"] != "another:1",
            "the template put back",
        )
        warned(models, "hands", "Restored")

        models.kubectl("delete", "deployments.apps", owned)
        again = models.until("deployments.apps", owned, lambda one: one, "the workload made again")
        variables = {one["name"]: one.get("value") for one in again["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert variables["COLOUR"] == "blue"
        models.until("mdep", "hands", lambda one: condition(one, "Current")[0] == "True", "all as it was")


def test_a_deployment_that_is_made_again_takes_up_its_objects_and_counts_no_pods_of_before(models: Workspace) -> None:
    with deployed(models, "again", "one-1"):
        before = workload(models, "again")
        models.kubectl("delete", "mdep", "again", "--cascade=orphan")
        models.apply(a_deployment("again", "one-1"))
        models.until("mdep", "again", lambda one: condition(one, "Current")[0] == "True", "taken up")
        assert workload(models, "again")["metadata"]["uid"] == before["metadata"]["uid"]

        replaced = json.dumps(a_deployment("again", "one-1"))
        models.kubectl("replace", "--force", "-f", "-", input=replaced)
        models.until("mdep", "again", lambda one: condition(one, "Current")[0] == "True", "made again")
        owners = workload(models, "again")["metadata"]["ownerReferences"]
        found = models.find("mdep", "again")
        assert found
        assert [owner["uid"] for owner in owners] == [found["metadata"]["uid"]]
        assert ask(models, "again", "toy") == [1]


def test_a_rejection_outlives_the_deployment(models: Workspace) -> None:
    rollout = {"steps": [{"weight": 50, "for": "10m"}], "startupDeadline": "3s"}
    broken = with_container(name="serve", command=["sleep", "1h"])
    with deployed(models, "memory", "one-1"):
        bad = a_deployment("memory", "two-1", rollout=rollout, serving=broken)
        models.apply(bad)
        models.until_phase("mdep", "memory", "RolledBack")
        models.until(
            "mv", "two-1", lambda one: [each["outcome"] for each in one["status"].get("verdicts", [])], "remembered"
        )
        models.kubectl("replace", "--force", "-f", "-", input=json.dumps(bad))
        again = models.until("mdep", "memory", lambda one: stalled(one, "VersionRejected"), "remembered")
        assert "two-1 was rejected" in condition(again, "Stalled")[2]
        # What served before is tried instead; here with the same broken container, since the spec says so.
        assert again["status"].get("candidate", {}).get("modelVersion") != "two-1"


def test_nothing_is_promoted_while_scaled_to_zero(models: Workspace) -> None:
    with deployed(models, "night", "one-1", rollout={"steps": [{"weight": 50, "for": "2s"}]}):
        models.patch("mdep", "night", {"spec": {"modelVersion": "two-1", "replicas": 0}})
        waits = models.until("mdep", "night", lambda one: condition(one, "Ready")[1] == "ScaledToZero", "scaled")
        assert serves(waits, "one-1")
        models.patch("mdep", "night", {"spec": {"replicas": 1}})
        models.until("mdep", "night", lambda one: serves(one, "two-1"), "the rollout after the night")
