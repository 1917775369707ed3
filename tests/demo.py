"""`make demo`: train a model, serve it, roll out a good version and a bad one, and see that one rolled back."""

import argparse
import sys
from collections import Counter

from tests.cluster import providers
from tests.cluster.cluster import Cluster
from tests.cluster.shell import ClusterError, CommandError, Progress, Say
from tests.installed import ROOT, SYSTEM, Answer, NotInTimeError, Traffic, Workspace, install
from tests.ours import claim, is_ours, refuse_what_is_not_ours

NAMESPACE = "upright-demo"
CHURN = ROOT / "examples" / "churn"
RATE = 20
STEPS = [{"weight": 25, "for": "10s"}, {"weight": 50, "for": "10s"}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remove", action="store_true", help="remove what the demo made")
    remove = parser.parse_args().remove
    say = Progress()
    try:
        provider = providers.choose()
        cluster = provider.up(say)
        if remove:
            remove_from(cluster, say)
            return 0
        refuse_what_is_not_ours(cluster, SYSTEM, NAMESPACE)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
        cluster.recycle_volumes()
        say("installing Upright with Helm")
        images = install(cluster, say)
        claim(cluster, NAMESPACE)
        cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        show(Workspace(cluster, NAMESPACE, images), say)
    except (ClusterError, CommandError, NotInTimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: `make demo` begins again, `make demo-down` removes what there is", file=sys.stderr)
        return 130
    print(f"""
Look around:
  export KUBECONFIG={cluster.kubeconfig}
  kubectl get mlops -n {NAMESPACE}
  kubectl describe deployments.upright.dev churn -n {NAMESPACE}
Remove it all:
  make demo-down       what the demo made
  make cluster-down    the cluster itself""")
    return 0


def remove_from(cluster: Cluster, say: Say) -> None:
    """Remove what the demo has made, and nothing else."""
    for namespace in (NAMESPACE, SYSTEM):
        if not is_ours(cluster, namespace):
            say(f"namespace {namespace} is left alone: the demo has not made it, or it is gone")
            continue
        if namespace == SYSTEM:
            cluster.helm("uninstall", "upright", "--namespace", SYSTEM, "--ignore-not-found", "--wait", say=say)
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")
    cluster.recycle_volumes()
    say("what the demo made is removed; the CustomResourceDefinitions stay: all objects of the kinds go with them")


def show(place: Workspace, say: Progress) -> None:
    """The story."""
    say("kubectl apply: a TrainingJob, its data and code, and a Deployment that names churn-1")
    place.apply(CHURN)
    place.patch("mdep", "churn", {"spec": {"rollout": {"steps": STEPS}, "monitoring": {"interval": "2s"}}})
    place.until("tj", "churn", lambda job: job["status"].get("lastVersion"), "a first version")
    first = place.find("mv", "churn-1")
    assert first is not None
    say(f"trained churn-1: {metrics(first['spec'])}; digest {first['spec']['artifact']['digest'][:19]}...")
    place.until_phase("mdep", "churn", "Stable")
    say("churn-1 serves; a client in a pod now sends 20 requests a second to the Service by its name")
    with place.traffic(rate=RATE) as client:
        client.until(lambda answers: len(answers) > 3 * RATE, "answers")
        good(place, client, say)
        bad(place, client, say)
        client_says(client.answers(), say)


def good(place: Workspace, client: Traffic, say: Progress) -> None:
    second = place.train("churn", {"regularization": 0.3}, "churn-2")
    say(f"trained churn-2: {metrics(second['spec'])}")
    before = len(client.answers())
    place.patch("mdep", "churn", {"spec": {"modelVersion": "churn-2"}})
    say("kubectl patch: the Deployment names churn-2, which goes out in steps")
    done = place.until(
        "mdep", "churn", lambda one: one["status"]["stable"]["modelVersion"] == "churn-2", "promotion of churn-2"
    )
    failed = sum(answer.failed for answer in client.answers()[before:])
    say(f"churn-2 is promoted: {done['status']['analysis']['message']}")
    say(f"failed requests from the beginning of its rollout to the end: {failed}")


def bad(place: Workspace, client: Traffic, say: Progress) -> None:
    third = place.train("churn", {"minimum_tenure": 12}, "churn-3")
    say(f"trained churn-3 on customers of at least a year: {metrics(third['spec'])}: nothing looks wrong")
    place.patch("mdep", "churn", {"spec": {"modelVersion": "churn-3"}})
    say("kubectl patch: the Deployment names churn-3, whose encoder has never seen the new plan `flex`")
    done = place.until_phase("mdep", "churn", "RolledBack")
    rejection, analysis = done["status"]["rejected"][0], done["status"]["analysis"]
    [worse] = [metric for metric in analysis["metrics"] if metric["name"] == rejection["metric"]]
    say(f"ROLLED BACK: {rejection['message']}")
    say(
        f"metric {rejection['metric']}, {worse['canary']:.1%} against {worse['stable']:.1%}, evidence "
        f"{analysis['evidence']:g} (threshold {analysis['threshold']:g}) after {analysis['looks']} looks"
    )
    answers = client.until(
        lambda all_: sum(one.begun > ended_with(all_, "churn-3") for one in all_) > 5 * RATE, "5 s without churn-3"
    )
    of_third = [answer for answer in answers if answer.version == "churn-3"]
    begun, ended = min(one.begun for one in of_third), max(one.ended for one in of_third)
    wrong = [one for one in of_third if one.failed]
    say(
        f"churn-3 answered for {ended - begun:.1f} s and was wrong {len(wrong)} times: first after "
        f"{wrong[0].ended - begun:.1f} s, and for the last time {wrong[-1].ended - wrong[0].ended:.1f} s later"
    )
    after = [answer for answer in answers if answer.begun > ended]
    say(f"failed requests since then: {sum(one.failed for one in after)} of {len(after)}")


def ended_with(answers: list[Answer], version: str) -> float:
    return max((answer.ended for answer in answers if answer.version == version), default=float("inf"))


def client_says(answers: list[Answer], say: Progress) -> None:
    counts = Counter(answer.outcome for answer in answers)
    say("the client's answers: " + ", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items())))


def metrics(spec: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in spec["metrics"].items())


if __name__ == "__main__":
    sys.exit(main())
