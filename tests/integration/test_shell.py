"""The shell against a real API server, with a small kind."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.conftest import fresh_namespace
from tests.integration.operator_process import Operator, operator, until
from tests.integration.toy import CRD


class Shop:
    """A namespace with Toys in it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *words, input=text, check=check).stdout

    def apply(self, manifest: dict[str, Any]) -> None:
        self.kubectl("apply", "--filename=-", text=json.dumps(manifest))

    def toy(self, name: str = "bear", **spec: Any) -> None:
        self.apply({"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": {"name": name}, "spec": spec})

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def names(self, kind: str) -> set[str]:
        return set(self.kubectl("get", kind, "--output=jsonpath={.items[*].metadata.name}").split())

    def events(self, reason: str) -> list[str]:
        """What was told for this reason."""
        events = json.loads(self.kubectl("get", "events", "--output=json"))["items"]
        return [event["message"] for event in events if event["reason"] == reason]

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def condition(self, type: str, name: str = "bear") -> dict[str, Any]:
        conditions = self.get("toys", name).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == type), {})

    def ready(self, name: str = "bear") -> bool:
        return self.condition("Ready", name).get("status") == "True"


@pytest.fixture
def shop(control_plane: Cluster, namespace: str) -> Shop:
    control_plane.kubectl("apply", "--filename=-", input=json.dumps(CRD))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/toys.upright.test", "--timeout=30s")
    return Shop(control_plane, namespace)


@pytest.fixture
def running(shop: Shop, tmp_path: Path) -> Iterator[Operator]:
    with operator(shop.cluster, shop.namespace, tmp_path, "first") as first:
        until(first.leads, "it leads")
        yield first


def test_what_is_wanted_is_made_and_what_is_no_longer_wanted_goes(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80, "b": 80}, created={"c": 80})
    until(shop.ready, "all Services are there")
    assert shop.names("services") == {"a", "b", "c"}
    shop.toy(applied={"a": 81}, created={"c": 80})
    until(lambda: shop.names("services") == {"a", "c"}, "what is not applied any more is gone")
    assert [port["port"] for port in shop.get("service", "a")["spec"]["ports"]] == [81]


def test_what_was_created_once_is_not_written_again(shop: Shop, running: Operator) -> None:
    shop.toy(created={"c": 80})
    until(shop.ready, "it is there")
    shop.toy(created={"c": 81})
    running.settled()
    assert shop.get("service", "c")["spec"]["ports"][0]["port"] == 80


def test_what_somebody_has_changed_is_put_right(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80})
    until(shop.ready, "it is there")
    shop.kubectl("patch", "service", "a", "--type=merge", '--patch={"spec":{"selector":{"app":"other"}}}')
    until(lambda: shop.get("service", "a")["spec"]["selector"] == {"app": "a"}, "the selector is as it was")


def test_what_somebody_has_added_is_taken_away_and_told(shop: Shop, running: Operator) -> None:
    """A key that another manager owns is not taken away by server-side apply: the Service led to no pod."""
    shop.toy(applied={"a": 80}, created={"c": 80})
    until(shop.ready, "they are there")
    shop.patch("service", "a", {"spec": {"selector": {"team": "growth"}}})
    until(lambda: shop.get("service", "a")["spec"]["selector"] == {"app": "a"}, "the selector is as it was")
    told = "Put back what somebody changed: Service a had spec.selector.team added."
    until(lambda: shop.events("Restored") == [told], "it is told")
    other = [{"port": 8080}]  # of no name, as ours: server-side apply knows ports by their number
    shop.patch("service", "a", {"spec": {"ports": other}})
    until(lambda: [port["port"] for port in shop.get("service", "a")["spec"]["ports"]] == [80], "so is the number")
    two = [{"name": "main", "port": 80}, {"name": "more", "port": 81}]
    shop.patch("service", "a", {"spec": {"ports": two}})
    until(lambda: [port["port"] for port in shop.get("service", "a")["spec"]["ports"]] == [80], "so are the ports")
    shop.patch("service", "c", {"spec": {"selector": {"team": "growth"}}})
    until(lambda: shop.get("service", "c")["spec"]["selector"] == {"app": "c"}, "and what is only corrected")
    running.settled()
    assert shop.ready()


def test_who_changes_it_again_and_again_is_named_and_causes_no_storm(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80})
    until(shop.ready, "it is there")
    policy = ("patch", "service", "a", "--type=merge", '--patch={"spec":{"selector":{"team":"growth"}}}')

    def contested() -> bool:
        shop.kubectl(*policy, "--field-manager=a-policy")
        return shop.condition("Stalled").get("reason") == "Contested"

    until(contested, "it says so", 60)
    assert "Service" in shop.condition("Stalled")["message"]
    assert "spec.selector.team added" in shop.condition("Stalled")["message"]
    assert "field manager a-policy" in shop.condition("Stalled")["message"]
    before = sum(running.writes().values())
    for _ in range(20):
        shop.kubectl(*policy, "--field-manager=a-policy")
    assert sum(running.writes().values()) - before <= 4


def test_a_dated_event_is_told_once_however_often_the_operator_is_killed(
    shop: Shop, running: Operator, tmp_path: Path
) -> None:
    shop.toy(decided="2026-11-22T12:00:00+00:00")
    until(lambda: shop.events("Decided"), "it is told")
    running.signal(signal.SIGKILL)
    with operator(shop.cluster, shop.namespace, tmp_path, "first") as again:
        until(again.leads, "it leads again")
        until(lambda: 'upright_reconcile_total{kind="Toy",result="ok"}' in again.get("/metrics")[1], "it has planned")
        again.settled()
        assert again.writes() == {}
        assert ("get", "events", "200") in again.requests()
    assert shop.events("Decided") == ["Decided at 2026-11-22T12:00:00+00:00."]


def test_a_service_that_lost_its_labels_is_ours_by_its_owner(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80})
    until(shop.ready, "it is there")
    shop.kubectl("label", "service", "a", "app.kubernetes.io/managed-by-")
    managed = "app.kubernetes.io/managed-by"
    until(lambda: shop.get("service", "a")["metadata"]["labels"].get(managed) == "upright", "it has them again")
    running.settled()
    assert shop.ready()
    assert not shop.condition("Stalled")
    shop.patch("service", "a", {"spec": {"selector": {"app": "other"}}})
    until(lambda: shop.get("service", "a")["spec"]["selector"] == {"app": "a"}, "and is watched again")


def test_what_somebody_has_hidden_from_the_watches_is_brought_back(shop: Shop, running: Operator) -> None:
    shop.toy(created={"c": 80})
    until(shop.ready, "it is made")
    shop.kubectl("label", "service", "c", "app.kubernetes.io/managed-by=platform", "--overwrite")
    told = ["Put back what somebody changed: Service c had another label app.kubernetes.io/managed-by."]
    until(lambda: shop.events("Restored") == told, "its label is put back")
    shop.kubectl("delete", "service", "c")
    until(lambda: "c" in shop.names("services"), "it is watched again")


def test_an_object_that_nests_too_deep_is_named_and_ends_neither_this_process_nor_the_next(
    shop: Shop, running: Operator, tmp_path: Path
) -> None:
    toy = {"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": {"name": "deep"}, "spec": {"created": "DEEP"}}
    text = json.dumps(toy).replace('"DEEP"', '{"a":' * 9000 + "80" + "}" * 9000)
    path = f"/apis/upright.test/v1/namespaces/{shop.namespace}/toys"
    shop.kubectl("create", f"--raw={path}", "--filename=-", text=text)
    stalled = '--output=jsonpath={.status.conditions[?(@.type=="Stalled")].message}'  # all of it we cannot read either
    said = "The object nests more than 100 levels deep"
    until(lambda: shop.kubectl("get", "toys", "deep", stalled).startswith(said), "it is named")
    assert running.stop() == 0
    with operator(shop.cluster, shop.namespace, tmp_path, "second") as second:
        until(second.leads, "the next one leads", 60)
        shop.toy(created={"c": 80})
        until(shop.ready, "others are looked after")


def test_what_an_owner_has_left_behind_is_taken_up_by_its_successor(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80}, created={"c": 80})
    until(shop.ready, "they are there")
    before = {name: shop.get("service", name)["metadata"]["uid"] for name in "ac"}
    shop.kubectl("delete", "toy", "bear", "--cascade=orphan")
    shop.toy(applied={"a": 80}, created={"c": 80})
    until(shop.ready, "the new one has them")
    for name, uid in before.items():
        meta = shop.get("service", name)["metadata"]
        assert meta["uid"] == uid
        assert [owner["uid"] for owner in meta["ownerReferences"]] == [shop.get("toys", "bear")["metadata"]["uid"]]
    assert not shop.events("NameTaken")


def test_what_names_an_owner_of_another_namespace_is_not_its_own(shop: Shop, tmp_path: Path) -> None:
    """Who may read an object knows its UID. A finalizer keeps theirs from the garbage collector."""
    elsewhere, spec = fresh_namespace(shop.cluster), {"selector": {"app": "theirs"}, "ports": [{"port": 1}]}
    with elsewhere as other, operator(shop.cluster, f"{shop.namespace},{other}", tmp_path, "op") as running:
        theirs = Shop(shop.cluster, other)
        shop.toy(applied={"a": 80}, created={"c": 80})
        until(shop.ready, "its Services are there")
        ours = shop.get("service", "c")
        held = {"finalizers": ["example.com/held"], "ownerReferences": ours["metadata"]["ownerReferences"]}
        for name in ("c", "x"):
            meta = {"name": name, "labels": ours["metadata"]["labels"], **held}
            theirs.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        theirs.toy("doll", applied={"d": 80})
        until(lambda: theirs.ready("doll"), "that namespace is looked after")
        shop.patch("service", "a", {"spec": {"selector": {"app": "other"}}})
        until(lambda: shop.get("service", "a")["spec"]["selector"] == {"app": "a"}, "it has looked again")
        running.settled()
        assert shop.get("toys", "bear")["status"]["services"] == 2
        assert [theirs.get("service", name)["spec"]["selector"] for name in ("c", "x")] == [spec["selector"]] * 2
        theirs.kubectl("patch", "service", "c", "x", "--type=merge", '--patch={"metadata":{"finalizers":null}}')


def test_what_a_deleted_namesake_owned_is_neither_taken_nor_an_error(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80}, created={"c": 80})
    until(shop.ready, "they are there")
    before = {shop.get("service", name)["metadata"]["uid"] for name in "ac"}
    again = {"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": {"name": "bear"}}
    text = json.dumps({**again, "spec": {"applied": {"a": 80}, "created": {"c": 80}}})
    shop.kubectl("replace", "--force", "--filename=-", text=text)
    until(shop.ready, "the new one has its own", 60)
    assert before.isdisjoint({shop.get("service", name)["metadata"]["uid"] for name in "ac"})
    assert not shop.events("NameTaken")
    assert "WARNING" not in running.log


def test_an_object_that_somebody_holds_while_it_is_deleted_is_waited_for(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80})
    until(shop.ready, "it is there")
    shop.patch("service", "a", {"metadata": {"finalizers": ["example.com/held"]}})
    before = shop.get("service", "a")["metadata"]["uid"]
    shop.kubectl("delete", "service", "a", "--wait=false")
    waited = 'upright_reconcile_total{kind="Toy",result="WaitingForDeletion"}'
    until(lambda: waited in running.get("/metrics")[1], "it waits")
    shop.patch("service", "a", {"metadata": {"finalizers": None}})
    until(lambda: "a" in shop.names("services") and shop.get("service", "a")["metadata"]["uid"] != before, "a new one")
    assert "WARNING" not in running.log


def test_one_object_that_cannot_be_read_harms_no_other(shop: Shop, tmp_path: Path) -> None:
    unreadable = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "odd",
            "labels": {"app.kubernetes.io/managed-by": "upright"},
            "annotations": {"upright.test/unreadable": "yes"},
        },
        "spec": {"ports": [{"port": 1}]},
    }
    shop.apply(unreadable)
    with operator(shop.cluster, shop.namespace, tmp_path, "op") as running:
        until(running.leads, "it leads")
        shop.toy(applied={"a": 80})
        until(shop.ready, "it works")
        for number in range(3):
            shop.kubectl("annotate", "--overwrite", "service", "odd", f"n={number}")
        shop.toy(applied={"a": 80, "b": 80})
        until(lambda: "b" in shop.names("services"), "it goes on")
        assert running.log.count("Service " + shop.namespace + "/odd cannot be read") == 1


def test_a_mistake_of_ours_stops_one_object_until_it_changes(shop: Shop, running: Operator) -> None:
    shop.toy(mistake=True, applied={"a": 80})
    until(lambda: shop.condition("Stalled"), "it says so")
    assert shop.condition("Stalled")["reason"] == "InternalError"
    assert "KeyError: 'mistake'" in shop.condition("Stalled")["message"]
    shop.toy("doll", applied={"d": 80})
    until(lambda: shop.ready("doll"), "others are not disturbed")
    running.settled()
    turns = 'upright_reconcile_total{kind="Toy",result="InternalError"} '
    (line,) = [line for line in running.get("/metrics")[1].splitlines() if line.startswith(turns)]
    assert float(line.removeprefix(turns)) < 10
    assert running.log.count("Traceback") == 1
    shop.toy(mistake=False, applied={"a": 80})
    until(lambda: shop.ready() and not shop.condition("Stalled"), "it goes on at once", 5)


def test_neither_a_steady_state_nor_a_restart_writes_anything(shop: Shop, running: Operator, tmp_path: Path) -> None:
    for number in range(5):
        shop.toy(f"toy-{number}", applied={f"a-{number}": 80}, created={f"c-{number}": 80})
    until(lambda: all(shop.ready(f"toy-{number}") for number in range(5)), "all are ready")
    running.settled()
    assert running.stop() == 0
    with operator(shop.cluster, shop.namespace, tmp_path, "second") as second:
        until(second.leads, "the second leads")
        until(lambda: 'upright_reconcile_total{kind="Toy",result="ok"}' in second.get("/metrics")[1], "it has planned")
        second.settled()
        assert second.writes() == {}


def test_an_object_of_somebody_else_is_left_alone_and_the_status_says_whose_it_is(
    shop: Shop, running: Operator
) -> None:
    theirs = {
        "metadata": {"name": "a", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"ports": [{"port": 1}]},
    }
    shop.apply({"apiVersion": "v1", "kind": "Service", **theirs})
    before = shop.get("service", "a")
    shop.toy(applied={"a": 80})
    until(lambda: shop.condition("Stalled"), "it says that it is stalled")
    assert shop.condition("Stalled")["reason"] == "NameTaken"
    assert f"Service {shop.namespace}/a exists already and belongs to Helm" in shop.condition("Stalled")["message"]
    assert shop.get("service", "a") == before
    events = json.loads(shop.kubectl("get", "events", "--output=json"))["items"]
    of_toys = [event for event in events if event["involvedObject"]["kind"] == "Toy"]
    assert [event["reason"] for event in of_toys if event["type"] == "Warning"] == ["NameTaken"]
    shop.kubectl("delete", "service", "a")
    until(lambda: shop.ready() and not shop.condition("Stalled"), "it goes on once the name is free", 30)


def test_a_killed_operator_that_had_created_an_object_goes_on_with_it(
    shop: Shop, running: Operator, tmp_path: Path
) -> None:
    shop.toy(created={"c": 80})
    until(lambda: "c" in shop.names("services"), "it is there")
    uid = shop.get("service", "c")["metadata"]["uid"]
    running.signal(signal.SIGKILL)
    with operator(shop.cluster, shop.namespace, tmp_path, "first") as again:
        until(again.leads, "it leads again: a pod's container keeps its name, and so its Lease")
        until(shop.ready, "it has gone on")
        assert shop.get("service", "c")["metadata"]["uid"] == uid


def test_writes_of_others_meanwhile_do_not_harm(shop: Shop, running: Operator) -> None:
    for number in range(20):
        shop.toy(applied={f"a-{number}": 80})
    until(lambda: shop.names("services") == {"a-19"} and shop.ready(), "the last wish holds")
    assert shop.get("toys", "bear")["status"]["services"] == 1


def test_a_killed_leader_is_followed_when_its_lease_has_ended(shop: Shop, running: Operator, tmp_path: Path) -> None:
    with operator(shop.cluster, shop.namespace, tmp_path, "second") as second:
        until(lambda: second.get("/readyz")[0] == 200, "who waits is ready, too")
        assert "leading as" not in second.log
        running.signal(signal.SIGKILL)
        until(second.leads, "the second leads", 25)
        shop.toy(applied={"a": 80})
        until(shop.ready, "the second works")


def test_a_leader_that_stops_is_followed_at_once(shop: Shop, running: Operator, tmp_path: Path) -> None:
    with operator(shop.cluster, shop.namespace, tmp_path, "second") as second:
        until(lambda: second.get("/readyz")[0] == 200, "it is ready")
        assert running.stop() == 0
        until(second.leads, "the second leads", 5)


def test_a_leader_that_was_frozen_does_not_write_when_it_wakes_up(
    shop: Shop, running: Operator, tmp_path: Path
) -> None:
    running.settled()
    with operator(shop.cluster, shop.namespace, tmp_path, "second") as second:
        until(lambda: second.get("/readyz")[0] == 200, "it is ready")
        running.signal(signal.SIGSTOP)
        until(second.leads, "the second leads", 25)
        shop.toy(applied={"a": 80})
        until(shop.ready, "the second works")
        version = shop.get("toys", "bear")["metadata"]["resourceVersion"]
        running.signal(signal.SIGCONT)
        assert running.process.wait(15) == 1
        assert "the Lease is lost" in running.log
        assert shop.get("toys", "bear")["metadata"]["resourceVersion"] == version


def test_without_permission_it_waits_and_says_which_verb_on_which_resource(shop: Shop, tmp_path: Path) -> None:
    shop.kubectl("create", "serviceaccount", "weak")
    token = shop.kubectl("create", "token", "weak").strip()
    view = shop.cluster.kubectl("config", "view", "--raw", "--minify", "--output=json").stdout
    config = json.loads(view)
    config["users"][0]["user"] = {"token": token}
    weak = tmp_path / "weak.json"
    weak.write_text(json.dumps(config))
    with operator(shop.cluster, shop.namespace, tmp_path, "weak", environment={"KUBECONFIG": str(weak)}) as refused:
        missing = f"may not list toys.upright.test in namespace {shop.namespace}: grant the verb 'list'"
        until(lambda: missing in refused.get("/readyz")[1], "it says what is missing")
        assert refused.get("/healthz")[0] == 200
        assert refused.process.poll() is None
        shop.kubectl(
            "create", "rolebinding", "weak", "--clusterrole=cluster-admin", f"--serviceaccount={shop.namespace}:weak"
        )
        until(refused.leads, "it goes on by itself")


def test_stopping_takes_little_time(shop: Shop, running: Operator) -> None:
    shop.toy(applied={"a": 80})
    until(shop.ready, "it works")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in running.log
