"""What goes wrong gets a condition and an event that say so, starts by itself once it can, and disturbs nothing else.

Everything is applied at once, and then each test waits for what it is about.
"""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.e2e.conftest import workspace
from tests.e2e.objects import (
    ANSWERS,
    a_claim,
    a_deployment,
    a_training_job,
    ask,
    condition,
    serves,
    stable,
    stalled,
    warned,
    warnings,
)
from tests.installed import Object, Workspace
from upright.pods.build import CONTAINER_SECURITY

LONG = "m" + 61 * "x" + "l"
WRITES_GARBAGE = """
import os, pathlib
pathlib.Path(os.environ["UPRIGHT_OUTPUT"], "model.skops").write_bytes(b"not a model")
"""
WRITES_TOO_MUCH = """
import numpy
from sklearn.neighbors import KNeighborsClassifier
from upright.runtime import sdk
rows = numpy.random.default_rng(0).normal(size=(200_000, 10))
sdk.save(KNeighborsClassifier(algorithm="brute").fit(rows, rows[:, 0] > 0))
"""
A_SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "taken"},
    "spec": {"selector": {"app": "somebody-elses"}, "ports": [{"port": 80}]},
}
A_PICKLE: Object = {
    "apiVersion": "upright.dev/v1alpha1",
    "kind": "ModelVersion",
    "metadata": {"name": "pickled-1"},
    "spec": {
        "model": "pickled",
        "number": 1,
        "artifact": {"uri": "pvc://models/pickled/x", "digest": f"sha256:{64 * '0'}", "format": "joblib"},
    },
}


def a_proxy(image: str) -> Object:
    """A mesh's container, which never ends."""
    return {
        "name": "proxy",
        "image": image,
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "securityContext": dict(CONTAINER_SECURITY),
    }


def the_code(answer: int) -> Object:
    """A training program in a ConfigMap."""
    program = ANSWERS.replace('sdk.parameters()["answer"]', str(answer))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"train.py": program},
    }


@pytest.fixture(scope="module")
def place(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """A namespace in which all that can go wrong does, beside a model that is trained and served."""
    with workspace(cluster, installed) as fresh:
        fresh.apply(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    a_claim(),
                    a_claim("small", storage_class="tiny", size="8Mi"),
                    a_training_job("fine"),
                    a_deployment("fine", "fine-1"),
                    a_training_job("bad-parameters", parameters={"rate": 0.1, "RATE": 0.2}),
                    a_training_job("fails", "raise SystemExit('there is no such column')"),
                    a_training_job("never-ends", "import time; time.sleep(3600)", deadline="5s"),
                    a_training_job("writes-nothing", "pass"),
                    a_training_job("writes-garbage", WRITES_GARBAGE),
                    a_training_job("writes-too-much", WRITES_TOO_MUCH, output={"store": "pvc://small"}, deadline="1m"),
                    a_training_job("no-image", train={"image": "registry.invalid/NONE:1"}),
                    a_training_job("no-claim", output={"store": "pvc://later"}),
                    a_training_job("no-data", data=[{"name": "train", "uri": "configmap://later"}]),
                    a_training_job(LONG),
                    a_training_job("meshed", train={"pod": {"containers": [a_proxy(installed.runtime)]}}),
                    a_deployment("early", "no-claim-1"),
                    A_PICKLE,
                    a_deployment("pickled", "pickled-1"),
                    A_SERVICE,
                    a_deployment("taken", "fine-1"),
                ],
            }
        )
        yield fresh


@pytest.fixture(scope="module")
def elsewhere(cluster: Cluster, installed: Images, place: Workspace) -> Iterator[Workspace]:
    """Another namespace, in which somebody else uses the name `fine`."""
    with workspace(cluster, installed) as fresh:
        fresh.apply(a_claim(), a_training_job("fine", parameters={"answer": 2}), a_deployment("fine", "fine-1"))
        yield fresh


def hindered(place: Workspace, kind: str, name: str, reason: str) -> str:
    """Wait until something goes no further for this reason, see that an event tells it too, and return the sentence."""
    found = place.until(kind, name, lambda one: stalled(one, reason), f"stalled by {reason}")
    assert condition(found, "Ready")[0] == "False"
    warned(place, name, reason)
    return condition(found, "Stalled")[2]


def waiting(place: Workspace, kind: str, name: str, reason: str) -> str:
    """Wait until something waits for what may come by itself, and return the sentence."""
    found = place.until(
        kind, name, lambda one: condition(one, "Reconciling")[:2] == ("True", reason), f"waiting by {reason}"
    )
    assert condition(found, "Stalled")[0] == "Absent"
    return condition(found, "Reconciling")[2]


def ended(place: Workspace, name: str, phase: str) -> str:
    """Wait until a run has ended so, see that this is told and nothing was made of it, and return the sentence."""
    job = place.until_phase("tj", name, phase)
    assert stalled(job, phase), job["status"]
    assert condition(job, "Ready")[:2] == ("False", phase)
    warned(place, name, f"Run{phase}")
    assert place.find("mv", f"{name}-1") is None
    return condition(job, "Stalled")[2]


def serving(place: Workspace, name: str, version: str) -> None:
    """Wait until a version is in production and all is well."""
    found = place.until("mdep", name, lambda one: serves(one, version) and one["status"]["phase"] == "Stable", version)
    assert condition(found, "Ready")[0] == "True"
    assert condition(found, "Stalled")[0] == "Absent"


def test_parameters_that_cannot_be_an_environment_start_no_run(place: Workspace, elsewhere: Workspace) -> None:
    assert "would all be UPRIGHT_PARAM_RATE" in hindered(place, "tj", "bad-parameters", "InvalidParameters")
    assert place.find("job", "bad-parameters-1") is None


def test_a_deployment_waits_for_a_version_and_a_run_for_its_claim_and_both_start_by_themselves(
    place: Workspace,
) -> None:
    assert "ModelVersion no-claim-1 does not exist" in waiting(place, "mdep", "early", "VersionInTraining")
    assert "PersistentVolumeClaim later of spec.output.store" in waiting(place, "tj", "no-claim", "CannotStart")
    warned(place, "no-claim", "CannotStart")
    place.apply(a_claim("later"))
    place.until_phase("tj", "no-claim", "Succeeded")
    serving(place, "early", "no-claim-1")


def test_a_run_waits_for_its_config_map_and_starts_by_itself(place: Workspace) -> None:
    assert "ConfigMap later of spec.data 'train'" in waiting(place, "tj", "no-data", "CannotStart")
    place.kubectl("create", "configmap", "later", "--from-literal=rows.csv=1")
    place.until_phase("tj", "no-data", "Succeeded")


def test_a_container_that_never_ends_costs_no_version(place: Workspace) -> None:
    place.until_phase("tj", "meshed", "Succeeded")
    assert place.find("mv", "meshed-1")
    place.kubectl("wait", "--for=delete", "job/meshed-1", "--timeout=90s")
    place.kubectl("wait", "--for=delete", "pod", "-l", "upright.dev/training-job=meshed", "--timeout=60s")
    found = place.find("tj", "meshed")
    assert found is not None
    assert [run["attempts"] for run in found["status"]["runs"]] == [1]


def test_a_changed_program_is_trained_and_the_old_one_again_needs_no_run(cluster: Cluster, installed: Images) -> None:
    with workspace(cluster, installed) as place:
        uri = "configmap://code"
        coded = a_training_job("coded", code={"uri": uri}, train={"command": ["python", "train.py"]})
        place.apply(a_claim(), the_code(1), coded)
        place.until_phase("tj", "coded", "Succeeded")
        place.apply(the_code(2))
        place.until("tj", "coded", lambda job: job["status"].get("lastVersion") == "coded-2", "a second version")
        place.apply(the_code(1))
        back = place.until("tj", "coded", lambda job: job["status"].get("lastVersion") == "coded-1", "the first again")
        assert condition(back, "Ready")[:2] == ("True", "VersionReused")
        assert [run["name"] for run in back["status"]["runs"]] == ["coded-2", "coded-1"]
        for run in back["status"]["runs"]:
            version = place.find("mv", run["name"])
            assert version is not None
            assert version["spec"]["lineage"]["code"]["digest"] == run["sources"][uri]


def test_a_full_quota_is_named_and_the_run_goes_on_when_there_is_room(cluster: Cluster, installed: Images) -> None:
    with workspace(cluster, installed) as place:
        place.kubectl("create", "quota", "pods", "--hard=pods=0")
        place.apply(a_claim(), a_training_job("full"))
        said = waiting(place, "tj", "full", "NoPod")
        warned(place, "full", "NoPod")
        assert "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0" in said
        place.kubectl("patch", "quota", "pods", "--type=merge", '--patch={"spec": {"hard": {"pods": "5"}}}')
        place.until_phase("tj", "full", "Succeeded", 240)


def test_a_run_goes_on_when_its_object_is_deleted_without_it_and_made_again(
    cluster: Cluster, installed: Images
) -> None:
    with workspace(cluster, installed) as place:
        again = a_training_job("again", f"import time; time.sleep(15)\n{ANSWERS}")
        place.apply(a_claim(), again)
        place.until_phase("tj", "again", "Running")
        place.kubectl("delete", "tj", "again", "--cascade=orphan")
        place.apply(again)
        trained = place.until_phase("tj", "again", "Succeeded")
        assert [run["name"] for run in trained["status"]["runs"]] == ["again-1"]
        [job] = place.items("jobs", "upright.dev/training-job=again")
        assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [trained["metadata"]["uid"]]


def test_a_service_of_somebody_else_is_never_overwritten(place: Workspace) -> None:
    assert "Service taken exists" in hindered(place, "mdep", "taken", "ServiceNameTaken")
    service = place.find("service", "taken")
    assert service is not None
    assert service["spec"]["selector"] == A_SERVICE["spec"]["selector"]
    assert not {"labels", "ownerReferences"} & service["metadata"].keys()
    place.kubectl("delete", "service", "taken")
    serving(place, "taken", "fine-1")


def test_a_version_that_is_not_ready_is_not_served(place: Workspace) -> None:
    said = hindered(place, "mdep", "pickled", "VersionNotReady")
    assert "pickled-1 cannot be served" in said
    assert "joblib" in said
    assert place.items("deployments.apps", "upright.dev/deployment=pickled") == []


def test_a_training_program_that_fails_is_quoted(place: Workspace) -> None:
    said = ended(place, "fails", "Failed")
    assert "exited with 1" in said
    assert "there is no such column" in said


def test_a_training_program_that_never_ends_is_stopped(place: Workspace) -> None:
    assert "spec.deadline" in ended(place, "never-ends", "Failed")
    place.kubectl("wait", "--for=delete", "pod", "-l", "upright.dev/training-job=never-ends", "--timeout=60s")


def test_a_training_program_that_writes_no_model_is_refused(place: Workspace) -> None:
    said = ended(place, "writes-nothing", "Refused")
    assert "(NoModel)" in said
    assert "wrote nothing" in said


def test_a_corrupt_model_is_refused(place: Workspace) -> None:
    said = ended(place, "writes-garbage", "Refused")
    assert "(CorruptModel)" in said
    assert "not a skops file" in said


def test_a_full_store_is_named(place: Workspace) -> None:
    if place.cluster.provider != "local":
        pytest.skip("only the local cluster offers volumes so small that they can be filled")
    said = ended(place, "writes-too-much", "Failed")
    assert "The store pvc://small has no room" in said
    assert "(StoreFull)" in said


def test_an_image_that_cannot_be_pulled_is_named(place: Workspace) -> None:
    said = hindered(place, "tj", "no-image", "RunHindered")
    assert "'registry.invalid/NONE:1'" in said
    assert "cannot be pulled" in said


def test_names_may_have_63_characters(place: Workspace) -> None:
    trained = place.until_phase("tj", LONG, "Succeeded")
    version = trained["status"]["lastVersion"]
    assert len(version) == 63
    place.apply(a_deployment(LONG, version))
    serving(place, LONG, version)
    assert ask(place, LONG, LONG) == [1]


def test_one_name_in_two_namespaces_is_two_models(place: Workspace, elsewhere: Workspace) -> None:
    for namespace, answer in ((place, 1), (elsewhere, 2)):
        serving(namespace, "fine", "fine-1")
        assert ask(namespace, "fine", "fine") == [answer]


def test_no_replicas_and_back(place: Workspace) -> None:
    serving(place, "fine", "fine-1")
    place.kubectl("scale", "mdep/fine", "--replicas=0")
    none = place.until("mdep", "fine", lambda one: condition(one, "Ready")[1] == "ScaledToZero", "scaled to zero")
    assert stable(none) == "fine-1"
    place.kubectl("wait", "--for=delete", "pod", "-l", "upright.dev/deployment=fine", "--timeout=60s")
    place.kubectl("scale", "mdep/fine", "--replicas=1")
    place.until("mdep", "fine", lambda one: one["status"]["stable"].get("readyReplicas"), "a pod again")
    serving(place, "fine", "fine-1")
    assert ask(place, "fine", "fine") == [1]


def test_all_this_has_disturbed_nothing_else(place: Workspace) -> None:
    assert warnings(place, "fine") <= {"VersionNotFound"}  # before there was one
    assert len(place.items("jobs", "upright.dev/training-job=fine")) == 1
