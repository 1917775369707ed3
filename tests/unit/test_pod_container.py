"""What is certain of a container that cannot be started, or has been again: what it is made of, or perhaps its node."""

import json
import time
from datetime import timedelta

import pytest

from tests.unit.builders import NOW, a_pod, exited, waiting
from upright.conditions import plain
from upright.contract import Key
from upright.pods.reading import Pod, of_one_template, read
from upright.rollout.sightings import Sightings

REFERENCE = "docker.io/team/serve:2"
PULLING = f'failed to pull and unpack image "{REFERENCE}": failed to'
CREATING = "failed to create containerd task: failed to create shim task: OCI runtime create failed"
STARTING = f"{CREATING}: runc create failed: unable to start container process"
NO_PROGRAM = 'exec: "serve": executable file not found in $PATH'
NO_IMAGE = ("ErrImagePull", f'{PULLING} resolve reference "{REFERENCE}": {REFERENCE}: not found')


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        NO_IMAGE,
        ("ImagePullBackOff", f'Back-off pulling image "{REFERENCE}": ErrImagePull: {NO_IMAGE[1]}'),
        ("ErrImagePull", "reading manifest 2 in registry.example/serve: manifest unknown"),
        ("ErrImagePull", "name unknown: repository name not known to registry"),
        ("ErrImagePull", f"failed to resolve image: registry.example:5000/serve@sha256:{'0' * 64}: not found"),
        ("InvalidImageName", "couldn't parse image name"),
        ("CreateContainerConfigError", 'secret "keys" not found'),
        ("CreateContainerConfigError", 'configmap "settings" not found'),
        ("CreateContainerConfigError", "couldn't find key a in ConfigMap shop/settings"),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: serve)"),
        ("RunContainerError", f"{STARTING}: {NO_PROGRAM}: unknown"),
        ("RunContainerError", f"{STARTING}: error during container init: {NO_PROGRAM}: unknown"),
        ("CreateContainerError", "container create failed: executable file `serve` not found in $PATH"),
    ],
)
def test_a_reference_to_what_does_not_exist_is_a_fault_until_a_pod_of_the_template_runs(
    reason: str, message: str
) -> None:
    hindered = read(a_pod("hindered", ready=False, containers={"serve": waiting(reason, message)}))
    assert hindered.containers[0].faulty
    assert not hindered.waits
    running = read(a_pod("running", containers={"serve": {"running": {"startedAt": NOW.isoformat()}}}))
    assert of_one_template([hindered, hindered]) == [hindered, hindered]
    acquitted, other = of_one_template([hindered, running])
    assert acquitted.waits
    assert other is running


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "ErrImagePull",
            f"{PULLING} prepare extraction snapshot: parent snapshot sha256:0b16 does not exist: not found",
        ),
        ("ErrImagePull", f"{PULLING} extract layer: content digest sha256:2729: not found"),
        ("ErrImagePull", f"{PULLING} authorize: POST https://auth.example/token: 404 Not Found"),
        ("ErrImagePull", f"{PULLING} copy: content at https://registry.example/v2/blobs/sha256:1: not found"),
        ("ErrImagePull", 'exec: "docker-credential-ecr-login": executable file not found in $PATH, out: ``'),
        ("CreateContainerError", "failed to resolve rootfs: content digest sha256:6cf7: not found"),
        ("CreateContainerError", "failed to apply OCI options: device node not found"),
        ("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),
        ("CreateContainerConfigError", "node not found"),
        ("RunContainerError", f"{CREATING}: container error: cgroup subsystem devices not found: unknown"),
        ("RunContainerError", f'{STARTING}: error running prestart hook #0: exec: "nvidia": executable file not found'),
        ("RunContainerError", 'failed to start shim: exec: "runc": executable file not found in $PATH'),
        ("RegistryUnavailable", "image pull failed because the registry is unavailable: manifest unknown"),
        ("SignatureValidationFailed", "image pull failed because the signature validation failed"),
        ("ImageInspectError", 'Failed to inspect image "serve:2"'),
        ("PreCreateHookError", "not found"),
        ("PreStartHookError", "not found"),
    ],
)
def test_what_a_node_or_a_registry_does_not_find_is_no_fault(reason: str, message: str) -> None:
    pod = read(a_pod("hindered", ready=False, containers={"serve": waiting(reason, message)}))
    assert not pod.containers[0].faulty
    assert pod.waits
    assert pod.hindrance


@pytest.mark.parametrize(("how", "waits"), [("Error", True), ("StartError", False), ("ContainerCannotRun", False)])
def test_a_container_that_the_runtime_could_not_begin_has_not_run(how: str, waits: bool) -> None:
    pod = a_pod("again", ready=False, containers={"serve": waiting("RunContainerError", f"{STARTING}: {NO_PROGRAM}")})
    pod["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 128, "reason": how}}
    [found] = of_one_template([read(pod)])
    assert found.waits is waits


@pytest.mark.parametrize("up", [False, True])
def test_what_serves_and_is_started_again_answers_when_it_is_up_whatever_its_node_goes_on_saying(*, up: bool) -> None:
    again, said = NOW, NOW - timedelta(hours=1)
    pod = a_pod("killed", containers={"serve": {"running": {"startedAt": again.isoformat()}}})
    pod["status"]["containerStatuses"][0] |= {"ready": True, "started": up, "restartCount": 1}
    pod["status"]["conditions"][0]["lastTransitionTime"] = said.isoformat()
    seen = read(pod)
    assert (seen.ready_since, seen.stopped, seen.changed) == ((again, None, again) if up else (None, again, again))


def test_the_time_in_which_what_serves_loaded_again_is_none_in_which_it_answered() -> None:
    sightings, key = Sightings(), Key("shop", "churn")

    def seen(second: int, *, up: bool) -> Pod:
        pod = a_pod("killed", containers={"serve": {"running": {"startedAt": NOW.isoformat()}}})
        pod["status"]["containerStatuses"][0] |= {"ready": True, "started": up, "restartCount": 1}
        pod["status"]["conditions"][0]["lastTransitionTime"] = (NOW - timedelta(hours=1)).isoformat()
        [found] = sightings.dated(key, {"one": [read(pod)]}, NOW + timedelta(seconds=second))["one"]
        return found

    assert seen(5, up=False).ready_since is None
    assert seen(95, up=True).ready_since == NOW + timedelta(seconds=95)
    assert seen(99, up=True).ready_since == NOW + timedelta(seconds=95)
    assert seen(99, up=True).changed == NOW
    sightings.forget(key)
    assert seen(200, up=True).ready_since == NOW + timedelta(seconds=200), "whoever begins knows no better"
    sightings.forget(key)
    assert seen(7200, up=True).ready_since == NOW, "but that no model takes so long"


def test_a_pod_has_been_ready_since_its_node_says_so_where_that_was_after_what_serves_began() -> None:
    ready = NOW + timedelta(minutes=1)
    pod = a_pod("started", containers={"serve": {"running": {"startedAt": NOW.isoformat()}}})
    pod["status"]["containerStatuses"][0] |= {"ready": True, "started": True, "restartCount": 1}
    pod["status"]["conditions"][0]["lastTransitionTime"] = ready.isoformat()
    assert read(pod).ready_since == ready


def test_what_a_program_writes_for_terminals_is_not_told() -> None:
    said = json.dumps({"reason": "Un\u202eloadable", "message": "\x1b[1;31mno model\x1b[0m\x07 of ours"})
    ended = read(a_pod("refused", ready=False, containers={"serve": exited(3, said)})).ended("serve")
    assert ended is not None
    assert ended.refusal is not None
    assert (ended.refusal.reason, ended.refusal.message) == ("Unloadable", "no model of ours")


@pytest.mark.parametrize("begun", ["\x1b[0", "\x1b]8;", "\x9b;", "\x9d", "\x1b \x1b"])
def test_escapes_that_never_end_take_no_time(begun: str) -> None:
    began = time.process_time()
    assert "\x1b" not in plain(begun * 100_000)
    assert time.process_time() - began < 1
