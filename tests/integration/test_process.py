"""The operator as a process: what may happen to its connection while it leads, and how it ends in each state.

What it says of itself must be true all the while, and a stop must end it in time and give its Lease back.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.conftest import fresh_namespace
from tests.integration.operator_process import Operator, operator, until
from tests.integration.proxy import Fault, Proxy, a_token, proxied
from tests.integration.toy import CRD

GONE = 15
"""Seconds that a stop may take, of the 30 that Kubernetes gives."""


@dataclass(frozen=True)
class Place:
    """A namespace with Toys, and the way to the API server through a proxy."""

    cluster: Cluster
    namespace: str
    folder: Path
    proxy: Proxy
    kubeconfig: Path
    account: str

    def run(self, name: str = "first", namespaces: str = "") -> Any:
        environment = {"KUBECONFIG": str(self.kubeconfig), "UPRIGHT_LEASE_NAMESPACE": self.namespace}
        return operator(self.cluster, namespaces or self.namespace, self.folder, name, environment=environment)

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *words, input=text, check=check).stdout

    def toy(self, name: str, namespace: str = "", **spec: Any) -> None:
        manifest = {"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": {"name": name}, "spec": spec}
        where = f"--namespace={namespace or self.namespace}"
        self.cluster.kubectl("apply", where, "--filename=-", input=json.dumps(manifest))

    def status(self, name: str, namespace: str = "") -> dict[str, Any]:
        where = f"--namespace={namespace or self.namespace}"
        found = json.loads(self.cluster.kubectl("get", "toys", name, where, "--output=json").stdout)
        return dict(found.get("status", {}))

    def handled(self, name: str, namespace: str = "") -> bool:
        return bool(self.status(name, namespace))

    def holder(self) -> str:
        return self.kubectl("get", "lease", "upright-operator", "--output=jsonpath={.spec.holderIdentity}")


def install(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--filename=-", input=json.dumps(CRD))
    cluster.kubectl("wait", "--for=condition=Established", "crd/toys.upright.test", "--timeout=30s")


@pytest.fixture
def place(control_plane: Cluster, namespace: str, tmp_path: Path) -> Iterator[Place]:
    install(control_plane)
    token = a_token(control_plane, namespace, "op")
    with proxied(control_plane, tmp_path, token) as (proxy, kubeconfig):
        yield Place(control_plane, namespace, tmp_path, proxy, kubeconfig, f"{namespace}-op")


@pytest.fixture
def running(place: Place) -> Iterator[Operator]:
    with place.run() as first:
        until(first.leads, "it leads", 60)
        place.toy("before")
        until(lambda: place.handled("before"), "it works")
        yield first


def answers(running: Operator, path: str, status: int, text: str = "") -> bool:
    found, said = running.get(path)
    return found == status and text in said


def matching(pattern: str, fault: Fault) -> Callable[[Any], Fault]:
    return lambda request: fault if re.search(pattern, request.path_qs) else Fault()


def take_away(place: Place, what: str) -> None:
    if what == "crd":
        place.kubectl("delete", "crd", "toys.upright.test")
    else:
        place.kubectl("delete", "clusterrolebinding", place.account)
        place.proxy.cut_watches()  # the API server asks for permission when a watch begins


def give_back(place: Place, what: str) -> None:
    if what == "crd":
        install(place.cluster)
    else:
        account = f"--serviceaccount={place.namespace}:op"
        place.kubectl("create", "clusterrolebinding", place.account, "--clusterrole=cluster-admin", account)


def test_an_event_in_the_last_of_thirty_namespaces_is_handled_promptly(place: Place) -> None:
    with ExitStack() as stack:
        names = [stack.enter_context(fresh_namespace(place.cluster)) for _ in range(30)]
        many = stack.enter_context(place.run("many", ",".join(names)))
        until(many.leads, "it leads", 60)
        place.toy("first", names[0])
        until(lambda: place.handled("first", names[0]), "it works")
        for name in names:
            place.toy("bear", name, applied={"a": 80})
        until(lambda: place.status("bear", names[-1]).get("services") == 1, "so does the last", 10)
        assert all(place.status("bear", name).get("services") == 1 for name in names)


def test_a_config_map_that_a_toy_waits_for_wakes_it_and_costs_no_request(place: Place, running: Operator) -> None:
    place.toy("waiting", waitsFor="code")
    until(lambda: place.status("waiting").get("found") is False, "it waits")
    running.settled()
    before = running.requests()
    place.kubectl("create", "configmap", "code", "--from-literal=train.py=" + "x" * 100_000)
    until(lambda: place.status("waiting")["found"], "it has noticed", 5)
    place.kubectl("delete", "configmap", "code")
    until(lambda: not place.status("waiting")["found"], "that it is gone, too", 5)
    asked = {key: n - before.get(key, 0) for key, n in running.requests().items() if n != before.get(key)}
    assert {key for key in asked if key[1] == "configmaps"} == set(), "it was told"


def test_a_crd_that_is_deleted_and_made_again_is_missed_and_then_handled_again(place: Place, running: Operator) -> None:
    take_away(place, "crd")
    until(lambda: answers(running, "/readyz", 503, "toys.upright.test"), "it says what is missing")
    assert answers(running, "/healthz", 200), "a restart would not help"
    assert running.metric("upright_leader") == 1
    give_back(place, "crd")
    place.toy("after", applied={"a": 80})
    until(lambda: place.status("after").get("services") == 1, "it is handled again", 60)
    until(lambda: answers(running, "/readyz", 200), "it is well again")
    assert running.process.poll() is None
    assert "Traceback" not in running.log
    place.toy("last")
    until(lambda: place.handled("last"), "and goes on", 5)


def test_a_crd_that_is_replaced_at_once_is_hardly_missed(place: Place, running: Operator) -> None:
    take_away(place, "crd")
    give_back(place, "crd")
    place.toy("before", applied={"a": 80})
    until(lambda: place.status("before").get("services") == 1, "its namesake is handled", 60)
    assert running.process.poll() is None


def test_other_kinds_of_object_are_watched_while_a_crd_is_missing(place: Place, running: Operator) -> None:
    place.toy("owner", applied={"a": 80})
    until(lambda: place.status("owner").get("services") == 1, "it has its Service")
    running.settled()
    place.proxy.fault = matching(r"toys\?.*watch", Fault(status=404, message="not found"))
    place.proxy.cut_watches()
    until(lambda: answers(running, "/readyz", 503, "toys.upright.test"), "it says what is missing")
    place.kubectl("delete", "service", "a")
    until(lambda: place.kubectl("get", "service", "a", check=False), "it is made again")


def test_a_permission_that_is_taken_away_is_named_and_missed_no_longer_than_it_is_gone(
    place: Place, running: Operator
) -> None:
    take_away(place, "rbac")
    until(lambda: answers(running, "/readyz", 503, "grant the verb 'watch'"), "it says what is missing")
    give_back(place, "rbac")
    place.toy("after")
    until(lambda: place.handled("after"), "it goes on", 45)
    assert running.process.poll() is None


def test_a_watch_that_dies_ends_the_process_which_gives_its_lease_back(place: Place, running: Operator) -> None:
    place.proxy.fault = matching(r"toys\?.*watch", Fault(status=400, message="what is a watch?"))
    place.proxy.cut_watches()
    assert running.process.wait(GONE) == 1
    assert "This process ends, and is to be started again" in running.log
    assert place.holder() == ""
    place.proxy.fault = lambda _: Fault()
    with place.run("second") as second:
        until(second.leads, "the next one leads before the Lease could have ended", 12)


def test_an_api_server_that_is_gone_costs_the_lease_and_the_next_process_waits_for_it(
    place: Place, running: Operator
) -> None:
    place.proxy.fault = lambda _: Fault(broken=True)
    place.proxy.cut_watches()
    assert running.process.wait(GONE) == 1
    assert "the Lease is lost" in running.log
    with place.run("second") as second:
        until(lambda: answers(second, "/readyz", 503, "cannot list"), "it says what is missing")
        assert answers(second, "/healthz", 200), "a restart would not help"
        place.toy("meanwhile")
        place.proxy.fault = lambda _: Fault()
        until(second.leads, "it leads when the API server is back", 30)
        until(lambda: place.handled("meanwhile"), "nothing is lost")


def test_a_list_that_takes_longer_than_the_lease_does_not_lose_it(place: Place) -> None:
    """As with very many objects: the second list, after the Lease has been taken, is slow."""
    with place.run("other") as other:
        until(other.leads, "another leads")
        with place.run("slow") as slow:
            until(lambda: answers(slow, "/readyz", 200), "it waits")
            place.proxy.fault = matching(r"/toys\?limit", Fault(seconds=12))
            assert other.stop() == 0
            until(slow.leads, "it leads", 60)
            place.toy("late")
            until(lambda: place.handled("late"), "it works", 40)
            assert slow.process.poll() is None


STATES: dict[str, Callable[[Place], None]] = {
    "its CRD is gone": partial(take_away, what="crd"),
    "its permissions are gone": partial(take_away, what="rbac"),
    "the API server does not answer": lambda place: setattr(place.proxy, "fault", lambda _: Fault(seconds=600)),
    "the API server refuses connections": lambda place: setattr(place.proxy, "fault", lambda _: Fault(broken=True)),
    "the API server fails": lambda place: setattr(place.proxy, "fault", lambda _: Fault(status=500)),
    "it is told to wait for ten years": lambda place: setattr(
        place.proxy, "fault", lambda _: Fault(status=429, retry_after="315360000")
    ),
    "nothing is wrong": lambda place: None,
}


@pytest.mark.parametrize("state", STATES)
def test_a_stop_ends_it_in_time_whatever_is_wrong(place: Place, running: Operator, state: str) -> None:
    STATES[state](place)
    place.proxy.cut_watches()
    place.toy("work", applied={"a": 80}) if state != "its CRD is gone" else None
    time.sleep(2)  # into the trouble, but not so far that the Lease is lost
    running.signal(signal.SIGTERM)
    assert running.process.wait(GONE) == 0, running.log
    assert "Traceback" not in running.log
    if state == "its permissions are gone":  # how soon they are is the API server's affair
        return
    reachable = state in ("its CRD is gone", "nothing is wrong")
    assert place.holder() == ("" if reachable else "first")


@pytest.mark.parametrize("pause", [0.0, 1.0, 2.0, 4.0])
def test_a_stop_ends_it_at_any_moment_of_its_beginning(place: Place, pause: float) -> None:
    with place.run() as early:
        time.sleep(pause)
        early.signal(signal.SIGTERM)
        assert early.process.wait(GONE) in (0, -signal.SIGTERM)
        assert "Traceback" not in early.log
    assert place.kubectl("get", "lease", "--output=jsonpath={.items[*].spec.holderIdentity}") == ""


def test_one_of_two_leads_and_says_so(place: Place, running: Operator) -> None:
    with place.run("second") as second:
        until(lambda: answers(second, "/readyz", 200), "it waits")
        assert (running.metric("upright_leader"), second.metric("upright_leader")) == (1, 0)
        assert running.stop() == 0
        until(lambda: second.metric("upright_leader") == 1, "the second leads", 5)
