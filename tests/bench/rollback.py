"""How fast a bad version is rolled back: `python -m tests.bench.rollback [--runs N]`, on the cluster; prints figures.

The work by which the other tools were measured: ten replicas that fail 1 % of their requests; a version that fails
20 % goes out with a first step of 10 %; a client in a pod sends 100 requests a second, each on a connection of its own,
to the Service by its DNS name; the metrics are looked at as a Deployment does that says nothing of it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.audit import AuditTrail, Write
from tests.cluster import providers
from tests.cluster.shell import ClusterError, Progress
from tests.e2e.conftest import workspace
from tests.installed import ROOT, Answer, NotInTimeError, Object, Workspace, install

REPLICAS = 10
RATE = 100
GOOD, BAD = 0.01, 0.20
STEPS = [{"weight": 10, "for": "1m"}, {"weight": 50, "for": "1m"}]
RUN_SECONDS = 120
OTHERS = """\
Measured before, on the same kind of cluster (Kubernetes 1.37.2, one node, 2 cores), 2026-11-22, with Prometheus
scraping every 5 s; Flagger 1.44 with Gateway API, Traefik and 3 replicas, Argo Rollouts 1.9.1 with 10 replicas:

  tool, configuration                                T, s (runs)   bad answers     API writes
  Flagger, as fast as it goes (10 s, threshold 2)    28-31 (6)     56-63           10, and Traefik's 2
  Argo, as fast as sensible (10 s, failureLimit 2)   27-39 (5)     56-103          24-36
  Flagger, numbers of its tutorial                   363 (1)       718             12
  Argo, numbers of its documentation, background     1504 (1)      11041           57
  Argo, numbers of its documentation, inline         301; the other run promoted the bad version
                                                                   1198; 1838      23-36
  (without a preStop wait: 18 failed connections with Argo, 3 answers of 502 with Flagger)

  our mark, the median of 10 runs                    at most 4     at most 8       at most 10, no foreign failure"""


@dataclass(frozen=True)
class Run:
    """What one bad version did before it was gone."""

    seconds: float
    answered: int
    bad: int
    foreign: Sequence[Answer]
    writes: Sequence[Write] | None
    verdict: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how many bad versions go out (default: 3)")
    runs = parser.parse_args().runs
    say = Progress()
    try:
        cluster = providers.choose().up(say)
        images = install(cluster, say)
        with workspace(cluster, images) as place:
            say(f"{REPLICAS} replicas of a small server (tests/bench/fallible.py) stand for models")
            prepare(place)
            done = [measure(place, number, say) for number in range(1, runs + 1)]
    except (ClusterError, NotInTimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(done)
    return 0


def prepare(place: Workspace) -> None:
    """The good version, serving."""
    place.apply(ROOT / "examples" / "churn" / "pvc.yaml", ROOT / "examples" / "churn" / "data.yaml")
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "server"},
            "data": {"fallible.py": (ROOT / "tests" / "bench" / "fallible.py").read_text()},
        },
        version("good", 1),
        deployment(place.images.runtime),
    )
    place.until(
        "mdep",
        "bench",
        lambda one: one["status"].get("phase") == "Stable" and one["status"]["stable"]["readyReplicas"] == REPLICAS,
        f"{REPLICAS} pods of the good version",
    )


def measure(place: Workspace, number: int, say: Progress) -> Run:
    """Let a bad version go out, and wait until nothing of it is left."""
    bad = f"bad-{number}"
    place.apply(version(bad, number + 1))
    place.until_phase("mv", bad, "Ready")
    with place.traffic("bench", rate=RATE, seconds=RUN_SECONDS) as client:
        client.until(lambda answers: len(answers) > 3 * RATE, "answers")
        log = place.cluster.audit_log
        trail = AuditTrail.from_now(log) if log else None
        place.patch("mdep", "bench", {"spec": {"modelVersion": bad}})
        done = place.until("mdep", "bench", lambda one: is_rejected(one, bad), f"{bad} rejected", RUN_SECONDS)
        until_gone(place, bad)
        answers = client.until(lambda all_: followed(all_, bad, RATE), f"a second without {bad}")
    writes = trail.writes() if trail else None
    run = summary(answers, bad, writes, done["status"]["rejected"][0]["message"])
    written = "?" if run.writes is None else Counter(f"{one.verb} {one.resource}" for one in counted(run.writes))
    say(f"{bad}: T = {run.seconds:.1f} s, {run.bad} bad answers; {run.verdict}")
    say(f"  API writes: {written}")
    return run


def is_rejected(one: Object, version: str) -> bool:
    return any(rejection["modelVersion"] == version for rejection in one["status"].get("rejected", []))


def until_gone(place: Workspace, version: str) -> None:
    selector = f"upright.dev/model-version={version}"
    place.kubectl("wait", "--for=delete", "pods", "-l", selector, f"--timeout={RUN_SECONDS}s")


def followed(answers: Sequence[Answer], version: str, count: int) -> bool:
    """Whether so many requests were sent after the last one that this version answered."""
    last = max((one.ended for one in answers if one.version == version), default=float("inf"))
    return sum(one.begun > last for one in answers) > count


def summary(answers: Sequence[Answer], version: str, writes: Sequence[Write] | None, verdict: str) -> Run:
    mine = [one for one in answers if one.version == version]
    return Run(
        seconds=max(one.ended for one in mine) - min(one.begun for one in mine),
        answered=len(mine),
        bad=sum(one.failed for one in mine),
        foreign=[one for one in answers if one.failed and one.version == "-"],
        writes=writes,
        verdict=verdict,
    )


def counted(writes: Sequence[Write]) -> list[Write]:
    return [write for write in writes if write.resource != "events"]


def report(runs: Sequence[Run]) -> None:
    print(f"""
Upright: {REPLICAS} replicas, own errors {GOOD:.0%} against {BAD:.0%}, {RATE} requests/s, the default interval, α = 1 %.
T: from the first request that the bad version answered to the last. Foreign: failures that no version answered.
API writes: of the operator, from naming the bad version until its pods are gone, without events and its Lease.

  run   T, s   answers of the bad version   bad answers   foreign failures   API writes""")
    for number, run in enumerate(runs, 1):
        writes = "not known" if run.writes is None else str(len(counted(run.writes)))
        print(f"  {number:3d}  {run.seconds:5.1f}   {run.answered:26d}   {run.bad:11d}", end="")
        print(f"   {len(run.foreign):16d}   {writes:>10}")
    middle = [median(values) for values in zip(*((one.seconds, one.bad, one.answered) for one in runs), strict=True)]
    print(f"  median: T {middle[0]:.1f} s, {middle[1]:g} bad answers of {middle[2]:g}")
    for outcome, count in Counter(one.outcome for run in runs for one in run.foreign).items():
        print(f"  foreign failures: {outcome}: {count}")
    print(f"\n{OTHERS}")


def version(name: str, number: int) -> Object:
    """A version as it is imported by hand. Its artifact is never read: the server stands for the model."""
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name},
        "spec": {
            "model": "bench",
            "number": number,
            "artifact": {"uri": f"pvc://models/{name}", "digest": "sha256:" + 64 * "0", "format": "skops"},
        },
    }


def deployment(image: str) -> Object:
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "Deployment",
        "metadata": {"name": "bench"},
        "spec": {
            "modelVersion": "good",
            "replicas": REPLICAS,
            "serving": {
                "image": image,
                "pod": {
                    "containers": [
                        {
                            "name": "serve",
                            "command": ["python", "/server/fallible.py", f"good={GOOD}", f"bad={BAD}"],
                            "volumeMounts": [{"name": "server", "mountPath": "/server"}],
                        }
                    ],
                    "volumes": [{"name": "server", "configMap": {"name": "server"}}],
                },
            },
            "rollout": {"steps": STEPS},
        },
    }


if __name__ == "__main__":
    sys.exit(main())
