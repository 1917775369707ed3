"""Rollouts of real models with a client that never stops asking."""

import json
import re
from datetime import datetime
from typing import Any

from tests.cluster.cluster import Cluster
from tests.e2e.objects import (
    a_claim,
    a_deployment,
    a_program,
    a_training_job,
    ask,
    condition,
    deployed,
    serves,
    stable,
    stalled,
    warned,
)
from tests.e2e.scraping import scraping
from tests.installed import Answer, Object, Workspace

RATE = 20
TWO_STEPS = {"steps": [{"weight": 33, "for": "5s"}, {"weight": 67, "for": "5s"}]}
ONE_STEP = {"steps": [{"weight": 50, "for": "10s"}]}
UNTIL_PROVEN = {"steps": [{"weight": 50, "for": "2m"}]}
"""Long enough for a verdict on a busy machine, where answers are few."""
PROXIES_FOLLOW = 10.0
"""Seconds until no node sends requests to pods any more that a Service does not select: 2, but on a busy machine."""
SPOIL = """
import pathlib, sys
model = pathlib.Path("/store", sys.argv[1], "model.skops")
model.chmod(0o644)
content = bytearray(model.read_bytes())
content[len(content) // 2] ^= 1
model.write_bytes(content)
"""


def failures(answers: list[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.failed]


def rejections(deployment: Object) -> list[str]:
    return [one["modelVersion"] for one in deployment["status"].get("rejected", [])]


def is_observed(deployment: Object) -> bool:
    """Whether the status is about the newest spec."""
    return bool(deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"])


def is_candidate(deployment: Object, version: str) -> bool:
    return bool(deployment["status"].get("candidate", {}).get("modelVersion") == version)


def test_a_good_version_replaces_another_and_no_request_fails(churn: Workspace) -> None:
    with deployed(churn, "good", "old-1", replicas=2, rollout=TWO_STEPS), churn.traffic("good", rate=RATE) as client:
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", "good", {"spec": {"modelVersion": "good-1"}})
        done = churn.until("mdep", "good", lambda one: serves(one, "good-1"), "promotion of good-1")
        answers = client.until(
            lambda all_: {answer.version for answer in all_[-2 * RATE :]} == {"good-1"}, "answers of good-1 only"
        )
        assert failures(answers) == []
        assert {answer.version for answer in answers} == {"old-1", "good-1"}
        assert condition(done, "Ready")[0] == "True"
        assert [(one["modelVersion"], one["outcome"]) for one in done["status"]["history"]] == [
            ("good-1", "Promoted"),
            ("old-1", "Replaced"),
        ]


def test_a_bad_version_is_rolled_back_and_stays_rejected_until_somebody_says_otherwise(churn: Workspace) -> None:
    with deployed(churn, "bad", "old-1", rollout=ONE_STEP), churn.traffic("bad", rate=RATE) as client:
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        to_bad = a_deployment("bad", "bad-1", rollout=UNTIL_PROVEN)
        churn.apply(to_bad)
        back = churn.until_phase("mdep", "bad", "RolledBack")

        [rejection] = back["status"]["rejected"]
        assert (rejection["modelVersion"], rejection["metric"]) == ("bad-1", "refusals")
        assert re.search(
            r"Most frequent of its refusals \([\d.]+ % of \d+\): UnknownValue of plan\.$", rejection["message"]
        )
        assert serves(back, "old-1")
        assert condition(back, "Ready")[0] == "True"
        assert stalled(back, "VersionRejected")
        warned(churn, "bad", "RolledBack")

        assert "unchanged" in churn.kubectl(
            "apply", "-f", "-", input=json.dumps(a_deployment("bad", "bad-1", rollout=UNTIL_PROVEN))
        )
        again = a_deployment("bad", "bad-1", rollout=UNTIL_PROVEN, monitoring={"interval": "2s"})
        again["metadata"]["annotations"] = {"team": "growth"}
        churn.apply(again)
        seen = churn.until("mdep", "bad", is_observed, "the change observed")
        assert seen["status"]["rejected"] == back["status"]["rejected"]
        assert seen["status"]["history"] == back["status"]["history"]
        assert stalled(seen, "VersionRejected")
        assert serves(seen, "old-1")

        churn.apply(a_deployment("bad", "good-1", rollout=ONE_STEP))
        good = churn.until("mdep", "bad", lambda one: serves(one, "good-1"), "promotion of good-1")
        assert rejections(good) == ["bad-1"]
        rolled_back = datetime.fromisoformat(rejection["at"]).timestamp() + PROXIES_FOLLOW
        after = [answer for answer in client.answers() if answer.begun > rolled_back]
        assert failures(after) == []
        assert {answer.version for answer in after} == {"old-1", "good-1"}

        churn.patch("mdep", "bad", {"spec": {"modelVersion": "bad-1"}})
        refused = churn.until("mdep", "bad", is_observed, "the change observed")
        assert stalled(refused, "VersionRejected")
        assert serves(refused, "good-1")

        churn.kubectl("annotate", "mdep/bad", "upright.dev/retry=1")
        churn.until("mdep", "bad", lambda one: is_candidate(one, "bad-1"), "another try of bad-1")


def rejected_by(churn: Workspace, metric: Object, name: str, version: str, **more: Any) -> Object:
    """The rejection of a version that goes out in the place of old-1 where this metric alone is watched."""
    monitoring = {"interval": "1s", "metrics": [metric], **more}
    with (
        deployed(churn, name, "old-1", rollout=UNTIL_PROVEN, monitoring=monitoring),
        churn.traffic(name, rate=RATE) as client,
    ):
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", name, {"spec": {"modelVersion": version}})
        back = churn.until_phase("mdep", name, "RolledBack")
        assert serves(back, "old-1")
        [rejection] = back["status"]["rejected"]
        return dict(rejection)


def test_by_the_exact_boundary_the_refusals_are_counted_that_were_too_many(churn: Workspace) -> None:
    metric = {
        "name": "refusals",
        "type": "RefusalRate",
        "boundary": "Exact",
        "tolerance": {"relative": 0.25, "absolute": 0},
    }
    rejection = rejected_by(churn, metric, "few", "bad-1")
    assert re.search(r"\([0-9]+ in all, too many from [0-9]+ on\)", rejection["message"])


def test_a_slower_version_is_rolled_back(churn: Workspace) -> None:
    rejection = rejected_by(churn, {"name": "latency", "type": "Latency"}, "slower", "slow-1")
    assert rejection["metric"] == "latency"
    assert re.match(r"Worse than tolerated in latency above 0\.[0-9]+: ", rejection["message"])


def test_a_version_that_is_fine_as_a_whole_is_rolled_back_for_those_that_it_fails(churn: Workspace) -> None:
    metric = {"name": "errors", "type": "ErrorRate", "tolerance": {"absolute": 0.5}}
    plan = {"name": "plan", "feature": "plan", "values": ["basic", "flex", "premium"]}
    rejection = rejected_by(churn, metric, "fewer", "few-1", segments=[plan])
    assert rejection["metric"] == "errors of plan flex"
    assert rejection["message"].startswith(
        "Worse than tolerated in errors of plan flex: 100 % against 0 % of the stable"
    )
    assert "ValueError: The Box-Cox transformation can only be applied to strictly" in rejection["message"]


def test_a_counter_that_its_owner_names_rolls_a_version_back_and_one_that_is_nowhere_is_told(churn: Workspace) -> None:
    mistakes = {"bad": 'upright_requests_total{code=~"4.."}', "total": 'upright_requests_total{code!="overload"}'}
    orders = {"bad": "shop_refunds_total", "total": "shop_orders_total"}
    metrics = [{"name": "refunds", "type": "Ratio", **orders}, {"name": "mistakes", "type": "Ratio", **mistakes}]
    with (
        deployed(churn, "named", "old-1", rollout=UNTIL_PROVEN, monitoring={"interval": "1s", "metrics": metrics}),
        churn.traffic("named", rate=RATE) as client,
    ):
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", "named", {"spec": {"modelVersion": "good-1"}})
        blind = churn.until("mdep", "named", lambda one: condition(one, "Measured")[0] == "False", "what is missing")
        assert "Metric refunds cannot be measured in pod" in condition(blind, "Measured")[2]
        assert "its page of metrics has no shop_orders_total" in condition(blind, "Measured")[2]

        spec = {"modelVersion": "bad-1", "monitoring": {"metrics": metrics[1:]}}
        churn.patch("mdep", "named", {"spec": spec})
        back = churn.until_phase("mdep", "named", "RolledBack")
        assert {one["modelVersion"]: one["metric"] for one in back["status"]["rejected"]} == {"bad-1": "mistakes"}
        assert serves(back, "old-1")


def test_a_version_whose_file_was_changed_in_the_store_is_corrupt_and_never_serves(place: Workspace) -> None:
    place.apply(a_claim(), a_training_job("model"), a_deployment("model", "model-1"))
    place.until("mdep", "model", lambda one: serves(one, "model-1"), "model-1 in production")
    version = place.train("model", {"answer": 2}, "model-2")
    folder = version["spec"]["artifact"]["uri"].removeprefix("pvc://models/")
    place.apply(a_program("spoils", place.images.runtime, SPOIL, folder, claim="models"))
    place.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/spoils", "--timeout=60s")

    place.patch("mdep", "model", {"spec": {"modelVersion": "model-2"}})
    back = place.until_phase("mdep", "model", "RolledBack")
    [rejection] = back["status"]["rejected"]
    assert rejection["modelVersion"] == "model-2"
    assert "model.skops is not the file that was published" in rejection["message"]
    assert condition(back, "Ready")[0] == "True"
    warned(place, "model", "RolledBack")
    corrupt = place.until_phase("mv", "model-2", "Corrupt")
    assert condition(corrupt, "Verified")[:2] == ("False", "Corrupt")
    warned(place, "model-2", "Corrupt")

    assert stable(back) == "model-1"
    assert ask(place, "model", "model") == [1]


def test_a_bad_version_is_rolled_back_by_what_prometheus_has_scraped(cluster: Cluster, churn: Workspace) -> None:
    by_prometheus = {"source": "Prometheus", "interval": "2s"}
    steps = {"steps": [{"weight": 50, "for": "5m"}]}
    with (
        deployed(churn, "scraped", "old-1", rollout=steps, monitoring=by_prometheus),
        churn.traffic("scraped", rate=RATE) as client,
    ):
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", "scraped", {"spec": {"modelVersion": "bad-1"}})
        blind = churn.until(
            "mdep", "scraped", lambda one: condition(one, "Measured")[0] == "False", "no server to measure it"
        )
        assert "Prometheus server 'default' does not answer" in condition(blind, "Measured")[2]
        with scraping(cluster, churn, "scraped"):
            back = churn.until_phase("mdep", "scraped", "RolledBack")
        [rejection] = back["status"]["rejected"]
        assert (rejection["modelVersion"], rejection["metric"]) == ("bad-1", "refusals")
