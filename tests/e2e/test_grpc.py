"""Rollouts under clients that keep their connections, over gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.shell import wait_until
from tests.e2e.objects import a_deployment, a_program, deployed, serves
from tests.e2e.test_rollout import RATE, TWO_STEPS, UNTIL_PROVEN, failures, rejections
from tests.installed import ROOT, Traffic, Workspace
from upright.api.names import DEPLOYMENT, MODEL_VERSION

SERVING = {"grpc": True}
PROGRAM = (ROOT / "tests" / "load_grpc.py").read_text()


@contextmanager
def calls(place: Workspace, service: str) -> Iterator[Traffic]:
    """Calls from a pod to a Service by its name, while the context lasts."""
    client = f"grpc-client-{service}"
    asked = ("--address", f"{service}:9000", "--model", "churn", "--rate", str(RATE))
    place.apply(a_program(client, place.images.runtime, PROGRAM, *asked, claim="models"))
    try:
        place.kubectl("wait", "--for=condition=Ready", f"pod/{client}", "--timeout=60s")
        yield Traffic(place, client)
    finally:
        place.kubectl("delete", "pod", client, "--ignore-not-found", "--grace-period=1")


def test_a_good_version_replaces_another_and_no_call_fails(churn: Workspace) -> None:
    with (
        deployed(churn, "good-grpc", "old-1", replicas=2, rollout=TWO_STEPS, serving=SERVING),
        calls(churn, "good-grpc") as client,
    ):
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", "good-grpc", {"spec": {"modelVersion": "good-1"}})
        churn.until("mdep", "good-grpc", lambda one: serves(one, "good-1"), "promotion of good-1")
        of_old = f"{DEPLOYMENT}=good-grpc,{MODEL_VERSION}=old-1"
        wait_until(lambda: not churn.items("pods", of_old), 120, lambda: "pods of old-1 are still there", every=1)
        seen = len(client.answers())
        answers = client.until(lambda all_: len(all_) > seen + RATE, "answers after the last pod of old-1")

        assert failures(answers) == []
        assert {answer.version for answer in answers} == {"old-1", "good-1"}
        assert {answer.version for answer in answers[seen:]} == {"good-1"}


def test_a_version_that_fails_over_grpc_alone_is_rolled_back(churn: Workspace) -> None:
    with deployed(churn, "bad-grpc", "old-1", serving=SERVING), calls(churn, "bad-grpc") as client:
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.apply(a_deployment("bad-grpc", "bad-1", rollout=UNTIL_PROVEN, serving=SERVING))
        back = churn.until_phase("mdep", "bad-grpc", "RolledBack")

        assert rejections(back) == ["bad-1"]
        assert back["status"]["rejected"][0]["metric"] == "refusals"
        assert {answer.outcome for answer in failures(client.answers())} == {"failed bad-1 INVALID_ARGUMENT"}
