"""Any user id, as namespaces of OpenShift assign them: no entry in /etc/passwd, group 0, volumes of others."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import upright
from tests.unit.runtime.pod import PROGRAM, Pod, a_matrix_model, a_pod, told
from tests.unit.runtime.server import a_store_with, serving

SOMEBODY = 1_000_770_000

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="only root can run a process as another user"),
    pytest.mark.skipif(
        any(not parent.stat().st_mode & 0o001 for parent in Path(__file__).parents),
        reason="this checkout lies in a folder that other users may not enter",
    ),
]


@pytest.fixture(scope="module")
def somebody() -> Iterator["Somebody"]:
    """How Popen runs a process as a user that nobody knows, with a copy of this Python where it is in root's home."""
    with TemporaryDirectory() as folder:
        home, version = Path(folder), f"python{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(sys.base_prefix)
        ignored = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*", "idlelib")
        shutil.copytree(base / "lib" / version, home / "lib" / version, ignore=ignored)
        for library in (base / "lib").glob("libpython*.so*"):
            shutil.copy(library, home / "lib")
        python = shutil.copy(Path(sys.executable).resolve(), home)
        home.chmod(0o755)
        packages = [path for path in sys.path if path.endswith("site-packages")]
        environment = {
            "PYTHONHOME": folder,
            "LD_LIBRARY_PATH": f"{folder}/lib",
            "PYTHONPATH": ":".join([*packages, str(Path(upright.__file__).parents[1])]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        user: dict[str, Any] = {"user": SOMEBODY, "group": 0, "extra_groups": [], "umask": 0o077}
        yield Somebody({"executable": python, "env": environment, **user})


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod whose folders anybody may enter; work, output and store belong to group 0, as a claim with fsGroup does."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o777)
        pod = a_pod(root)
        for shared in (pod.work, pod.output, pod.store):
            shared.chmod(0o2775)
        yield pod


@dataclass(frozen=True)
class Somebody:
    """A user with an id and no name."""

    how: dict[str, Any]

    def execute(self, pod: Pod, command: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """Run a command as a container does: its exit status and termination message."""
        done = subprocess.run(
            ["python", "-c", PROGRAM, command],
            **self.how | {"env": {**self.how["env"], **pod.variables, **environment}},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        log = pod.root / "termination-log"
        return done.returncode, told(log.read_text()) if log.exists() else {}

    def left_by_publish(self, pod: Pod) -> str:
        """The termination message of one that tries again."""
        with pod.running("publish", **self.how | {"env": {**self.how["env"], **pod.variables}}) as process:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(2)]
            assert said[1].startswith("trying again"), said
        return (pod.root / "termination-log").read_text()


def a_run_with_data(pod: Pod) -> Pod:
    pod.run["data"] = [{"name": "train", "uri": "pvc://lake/churn"}]
    (pod.data / "train").mkdir()
    (pod.data / "train" / "train.csv").write_text("x\n1\n")
    return pod.trained(a_matrix_model())


def test_a_user_that_nobody_knows_checks_publishes_and_serves(pod: Pod, somebody: Somebody) -> None:
    a_run_with_data(pod)
    assert somebody.execute(pod, "data")[0] == 0
    status, report = somebody.execute(pod, "publish")
    assert status == 0, report
    artifact = pod.store / report["uri"].removeprefix("pvc://models/")
    assert artifact.stat().st_uid == SOMEBODY
    assert {path.stat().st_mode & 0o777 for path in artifact.iterdir()} == {0o444}
    pod.store.chmod(0o555)
    served = {
        "UPRIGHT_ARTIFACT": str(artifact),
        "UPRIGHT_DIGEST": report["digest"],
        "UPRIGHT_MODEL": "churn",
        "UPRIGHT_MODEL_VERSION": "churn-7",
    }
    how = {name: value for name, value in somebody.how.items() if name != "env"}
    with serving(pod, {**somebody.how["env"], **served}, **how) as server:
        assert server.predict({"instances": [[6, 2, 1, 1]]}).json() == {"predictions": [1]}
        assert "Traceback" not in server.log.read_text()


def test_data_that_this_user_may_not_read_is_said_with_the_remedy(pod: Pod, somebody: Somebody) -> None:
    (a_run_with_data(pod).data / "train" / "train.csv").chmod(0o600)
    os.chown(pod.data / "train" / "train.csv", 65534, 65534)

    status, message = somebody.execute(pod, "data")

    assert (status, message["reason"]) == (1, "DataUnreadable")
    assert f"at pvc://lake/churn cannot be read by user {SOMEBODY} with group 0: " in message["message"]
    assert "securityContext" in message["message"]


@pytest.mark.parametrize("deep", [False, True])
def test_a_store_of_somebody_else_s_is_said_with_the_remedy(pod: Pod, somebody: Somebody, *, deep: bool) -> None:
    """An export with root_squash: it belongs to nobody, and no chown is granted."""
    pod.trained(a_matrix_model())
    theirs = pod.store / "churn" if deep else pod.store
    theirs.mkdir(exist_ok=True)
    theirs.chmod(0o755)
    os.chown(theirs, 65534, 65534)

    message = told(somebody.left_by_publish(pod))

    assert message["reason"] == "StoreNotWritable"
    assert "The store pvc://models cannot be written to (Permission denied: " in message["message"]
    assert f"for user {SOMEBODY} with group 0): give that user or one of the groups the right" in message["message"]


def test_what_another_user_s_killed_publish_left_stops_nobody(pod: Pod, somebody: Somebody) -> None:
    pod.trained(a_matrix_model())
    leftover = pod.store / "churn" / ".tmp-old"
    leftover.mkdir(parents=True)
    leftover.parent.chmod(0o2775)
    (leftover / "model.skops").write_text("half")
    leftover.chmod(0o755)
    os.utime(leftover, (0, 0))

    assert somebody.execute(pod, "publish")[0] == 0


def test_an_artifact_that_this_user_may_not_read_is_said_with_the_remedy(pod: Pod, somebody: Somebody) -> None:
    environment = a_store_with(pod, a_matrix_model())
    Path(environment["UPRIGHT_ARTIFACT"]).chmod(0o700)

    status, message = somebody.execute(pod, "serve", **environment)

    assert (status, message["reason"]) == (1, "Unreadable")
    assert f"The artifact of churn-7 cannot be read by user {SOMEBODY} with group 0: " in message["message"]


def test_the_sentences_are_json_that_the_operator_reads(pod: Pod, somebody: Somebody) -> None:
    pod.store.rmdir()

    assert set(json.loads(somebody.left_by_publish(pod.trained(a_matrix_model())))) == {"reason", "message"}
