"""What pods count of metrics that a user selects: durations, and counters of any exporter."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.analysis.builders import a_metric, a_policy
from tests.unit.builders import NOW, a_pod, after
from upright.analysis import Counts, Histogram, Look, Policy, begin, update, verdict
from upright.analysis.counters import TORN
from upright.analysis.looks import Measurement
from upright.api import names
from upright.pods.reading import read
from upright.rollout.measuring import Asked, Reading
from upright.sources.comparison import Comparison
from upright.sources.page import Counters, NoCountersError, Scan
from upright.sources.selectors import SelectorError, selected
from upright.sources.tallied import FELL
from upright.sources.tally import MOST_EDGES, Tally
from upright.sources.unmeasured import IN_PARTS
from upright.sources.wanted import wanted

INTERVAL = timedelta(seconds=15)
REFUNDS = a_metric("Ratio", "refunds", bad='shop_refunds_total{kind="full"}', total="shop_orders_total")
LATENCY = a_metric("Latency", "latency")
SLO = a_metric("Limit", "slo", bad="late_total", total="all_total")


class Arms:
    """One canary and stable pods, which show pages."""

    def __init__(self, *metrics: Mapping[str, Any], verified: bool = True, port: int | None = None) -> None:
        self.policy: Policy = a_policy(*(dict(one) for one in metrics), interval=INTERVAL)
        self.comparison: Comparison | None = None
        self.verified = verified
        self.port = port
        self.started: datetime | None = None
        self.seconds = 0.0

    def look(
        self,
        canary: str | Sequence[str],
        stable: str | Sequence[str],
        restarts: int = 0,
        seconds: float = 15,
        exporter: int = 0,
    ) -> Look | None:
        """What the next look gives, so long before the one after it; each arm has as many pods as pages.

        `restarts`, `exporter`: how often the canary's container serve, or one beside it, was started again.
        """
        pages = {"canary": [canary] if isinstance(canary, str) else canary}
        pages["stable"] = [stable] if isinstance(stable, str) else stable
        pods = {
            arm: [
                self._pod(f"{arm}-{place}", *((restarts, exporter) if arm == "canary" else (0, 0)))
                for place in range(len(shown))
            ]
            for arm, shown in pages.items()
        }
        of: Any = {arm: [read(pod) for pod in members] for arm, members in pods.items()}
        asked = Asked("a-b", self.policy, of, None, port=self.port)
        self.comparison = self.comparison or Comparison(asked)
        found = {f"{arm}-{place}": self.page(text) for arm, shown in pages.items() for place, text in enumerate(shown)}
        before = len(self.comparison.looks)
        self.comparison.take(asked, found, after(seconds=self.seconds))
        self.seconds += seconds
        return self.comparison.looks[-1] if len(self.comparison.looks) > before else None

    def page(self, text: str) -> Counters:
        asked = Asked("a-b", self.policy, {}, None)
        scan = Scan(wanted(asked).selected, requests=wanted(asked).requests)
        scan.feed(text.encode())
        return scan.counters()

    def unmeasured(self) -> Mapping[str, str]:
        assert self.comparison
        return self.comparison.unmeasured

    def _pod(self, name: str, restarts: int, exporter: int) -> Any:
        self.started = self.started or (after(seconds=self.seconds) if restarts else None)
        started = {"state": {"running": {"startedAt": self.started.isoformat()}}} if restarts and self.started else {}
        status = [{"name": "serve", "ready": True, "restartCount": restarts, **started}]
        status += [{"name": "exporter", "ready": True, "restartCount": exporter, "state": {"running": {}}}]
        labels = {names.VERIFIES: "true"} if self.verified else {}
        pod = a_pod(name, podIP="10.0.0.1", labels=labels, containerStatuses=status)
        pod["metadata"]["creationTimestamp"] = NOW.isoformat()
        return pod


def orders(orders: float, refunds: float = 0, partly: float = 0) -> str:
    return (
        f'shop_orders_total{{shop="a"}} {orders - 1}\nshop_orders_total{{shop="b"}} 1\n'
        f'shop_refunds_total{{kind="full"}} {refunds}\nshop_refunds_total{{kind="part"}} {partly}\n'
    )


def durations(*upto: float, edges: Sequence[str] = ("0.1", "0.5", "+Inf")) -> str:
    return "# TYPE upright_request_duration_seconds histogram\n" + "".join(
        f'upright_request_duration_seconds_bucket{{le="{edge}",model="m"}} {count}\n'
        for edge, count in zip(edges, upto, strict=True)
    )


def of(look: Look | None, metric: str) -> Measurement | None:
    return look.measurements.get(metric) if look else None


def test_counters_of_any_exporter_are_compared_by_what_their_labels_say() -> None:
    arms = Arms(REFUNDS)
    assert arms.look(orders(1), orders(1000, 20, 5)) is None
    look = arms.look(orders(11, 3, 100), orders(1090, 22, 50))
    assert of(look, "refunds") == Counts(canary=(11, 3), stable=(90, 2))
    assert not arms.unmeasured()


def test_durations_are_compared_by_bucket() -> None:
    arms = Arms(LATENCY)
    arms.look(durations(0, 0, 0), durations(900, 990, 1000))
    look = arms.look(durations(5, 9, 10), durations(990, 1085, 1100))
    assert of(look, "latency") == Histogram(canary=(5, 4, 1), stable=(90, 5, 5), edges=(0.1, 0.5))


def test_of_buckets_that_differ_the_common_edges_are_compared() -> None:
    arms = Arms(LATENCY)
    arms.look(durations(0, 0, 0, edges=("0.1", "0.25", "+Inf")), durations(0, 0, 0))
    look = arms.look(durations(5, 9, 10, edges=("0.1", "0.25", "+Inf")), durations(90, 95, 100))
    assert of(look, "latency") == Histogram(canary=(5, 5), stable=(90, 10), edges=(0.1,))


def test_a_limit_needs_the_candidate_alone() -> None:
    arms = Arms(SLO)
    arms.look("all_total 0\nlate_total 0\n", "nothing 1\n")
    look = arms.look("all_total 50\nlate_total 3\n", "nothing 1\n")
    assert of(look, "slo") == Counts(canary=(50, 3), stable=None)
    assert not arms.unmeasured()


def test_a_look_that_comes_early_waits_until_it_has_enough_events_of_each_version() -> None:
    arms = Arms(REFUNDS, a_metric())

    def page(of: int, bad: int = 0) -> str:
        return orders(of, bad) + f'upright_requests_total{{code="2xx"}} {of}\n'

    arms.look(page(1), page(100))
    arms.look(page(11), page(200), seconds=1)
    assert arms.look(page(15), page(300, 1), seconds=1) is None
    enough = arms.look(page(17, 1), page(400, 1), seconds=14)
    assert of(enough, "refunds") == Counts(canary=(6, 1), stable=(200, 1))
    assert of(enough, "errors") == Counts(canary=(6, 0), stable=(200, 0))
    in_peace = arms.look(page(18, 1), page(401, 1))
    assert of(in_peace, "refunds") == Counts(canary=(1, 0), stable=(1, 0))
    assert of(in_peace, "errors") == Counts(canary=(1, 0), stable=(1, 0))


def test_what_waits_for_more_events_is_not_said_to_be_unmeasured() -> None:
    arms = Arms(REFUNDS, a_metric())

    def page(of: int, refunded: int = 0) -> str:
        return orders(of // 10 + 1, refunded) + f'upright_requests_total{{code="2xx"}} {of}\n'

    arms.look(page(0), page(0))
    arms.look(page(100), page(1000), seconds=1)
    early = arms.look(page(120), page(1100), seconds=14)
    assert early
    assert (set(early.measurements), set(early.waits)) == ({"errors"}, {"refunds"})
    state = update(arms.policy, begin(arms.policy), *(arms.comparison.looks if arms.comparison else ()))
    assert not verdict(arms.policy, state).why_unused
    later = arms.look(page(220), page(1200))
    assert of(later, "refunds") == Counts(canary=(12, 0), stable=(20, 0))


def test_several_pods_are_added_up() -> None:
    arms = Arms(REFUNDS)
    arms.look([orders(1), orders(1)], [orders(100), orders(100), orders(100)])
    look = arms.look([orders(5, 1), orders(6, 1)], [orders(110), orders(120), orders(130, 1)])
    assert of(look, "refunds") == Counts(canary=(11, 2), stable=(60, 1))


def test_a_look_tells_how_many_of_the_canarys_pods_have_counted_anything() -> None:
    arms, nothing = Arms(REFUNDS), 'shop_orders_total 0\nshop_refunds_total{kind="full"} 0\n'
    shown = [(orders(11), nothing), (orders(21), nothing), (orders(31), orders(2)), (orders(41), orders(12), nothing)]
    looks = [arms.look(canary, [orders(1000 * (look + 1))] * 3) for look, canary in enumerate(shown)]
    assert [look.pods for look in looks if look] == [1, 2, 2]


def test_bad_events_that_are_shown_before_their_totals_are_counted_with_them() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(10), orders(100))
    arms.look(orders(10), orders(200))
    early = arms.look(orders(10, 2), orders(300))
    assert of(early, "refunds") is None
    assert early
    assert early.left_out["canary-0"] == f"refunds: {TORN}"
    assert of(arms.look(orders(14, 2), orders(400)), "refunds") == Counts(canary=(4, 2), stable=(200, 0))


def test_what_is_counted_while_the_other_version_shows_nothing_waits() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(1), orders(100))
    assert of(arms.look(orders(20, 1), "other 1\n"), "refunds") is None
    assert of(arms.look(orders(30, 2), orders(300, 6)), "refunds") == Counts(canary=(30, 2), stable=(200, 6))


def test_what_falls_is_no_counter_until_its_container_is_started_anew() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(10), orders(100))
    look = arms.look(orders(6), orders(200))
    assert look
    assert look.left_out == {"canary-0": f"refunds: {FELL}"}
    assert of(arms.look(orders(12), orders(300)), "refunds") is None
    assert of(arms.look(orders(12), orders(400), restarts=1), "refunds") == Counts(canary=(12, 0), stable=(300, 0))


def test_a_container_that_was_started_anew_counts_from_nothing() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(10), orders(100))
    assert of(arms.look(orders(12, 2), orders(200), restarts=1), "refunds") == Counts(canary=(12, 2), stable=(100, 0))


def test_requests_and_other_metrics_are_in_one_look() -> None:
    arms = Arms(a_metric(), LATENCY)
    requests = 'upright_requests_total{{code="2xx"}} {}\n'.format
    arms.look(requests(0) + durations(0, 0, 0), requests(100) + durations(90, 95, 100))
    look = arms.look(requests(10) + durations(8, 9, 9), requests(200) + durations(190, 195, 200))
    assert of(look, "errors") == Counts(canary=(10, 0), stable=(100, 0))
    assert of(look, "latency") == Histogram(canary=(8, 1, 0), stable=(100, 0, 0), edges=(0.1, 0.5))


def test_what_pods_of_an_image_of_ones_own_show_is_watched_at_first_when_its_past_is_not_known() -> None:
    arms = Arms(REFUNDS, verified=False)
    arms.seconds = 3600
    for number in range(8):
        assert of(arms.look(orders(10 + number), orders(100 + number)), "refunds") is None
    assert of(arms.look(orders(40, 1), orders(200)), "refunds") == Counts(canary=(23, 1), stable=(93, 0))


def test_parts_of_events_are_nothing_for_the_exact_boundary() -> None:
    arms = Arms({**REFUNDS, "boundary": "Exact"})
    arms.look(orders(10), orders(100))
    look = arms.look(orders(20, 1.5), orders(200))
    assert look
    assert look.left_out == {"canary-0": f"refunds: {IN_PARTS.why}"}


@pytest.mark.parametrize(
    ("metric", "page", "says"),
    [
        (REFUNDS, "", "has no shop_orders_total"),
        (REFUNDS, "# TYPE shop_orders_total gauge\n" + orders(5), "shop_orders_total is a gauge, where a counter was"),
        (REFUNDS, "# TYPE shop_refunds_total gauge\n" + orders(5), "shop_refunds_total is a gauge"),
        (LATENCY, durations(1, 2, edges=("0.1", "0.5")), 'has no bucket le="+Inf" of upright_request_duration_seconds'),
        (LATENCY, durations(3, 2, 4), "do not rise with le"),
        (LATENCY, durations(1, 2, edges=("fast", "+Inf")), "whose le is no number"),
        (LATENCY, durations(1, 2, edges=("NaN", "+Inf")), "whose le is no number"),
        (LATENCY, durations(1, 2, edges=("-Inf", "+Inf")), "whose le is no number"),
        (
            LATENCY,
            durations(1, 2, 3, edges=("0.1", "0.10", "+Inf")),
            "series of",
        ),
        (LATENCY, durations(1, 2, 3) + 'upright_request_duration_seconds_bucket{le="+Inf",model="n"} 3\n', "different"),
        (LATENCY, "upright_request_duration_seconds_bucket 3\n", "without le"),
        (LATENCY, durations(*range(300), edges=[f"{n}" for n in range(299)] + ["+Inf"]), f"more than {MOST_EDGES}"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_a_page_that_does_not_tell_of_a_metric_says_why(metric: dict[str, Any], page: str, says: str) -> None:
    arms = Arms(metric)
    arms.look(page, page)
    assert says in arms.unmeasured()[metric["name"]]
    assert "pod canary-0" in arms.unmeasured()[metric["name"]]


def test_bad_events_that_no_pod_knows_are_not_taken_for_none() -> None:
    """Their counter may be misspelt, or not be made before the first of them."""
    total = "shop_orders_total {}\n".format
    arms = Arms(REFUNDS)
    arms.look(total(1), total(100))
    arms.look(total(10), total(200))
    assert "no pod of either version has shop_refunds_total" in arms.unmeasured()["refunds"]
    look = arms.look(total(20), orders(300, 2))
    assert of(look, "refunds") == Counts(canary=(10, 0), stable=(100, 2))
    assert not arms.unmeasured()


def test_histograms_that_have_no_edge_in_common_are_told_and_so_is_a_bucket_that_is_nowhere() -> None:
    arms = Arms(LATENCY)
    arms.look(durations(0, 0, edges=("0.1", "+Inf")), durations(0, 0, edges=("0.2", "+Inf")))
    assert "the buckets of the pods have no edge in common" in arms.unmeasured()["latency"]
    arms = Arms({**LATENCY, "buckets": [0.1, 0.3]})
    arms.look(durations(0, 0, 0), durations(0, 0, 0))
    assert "there is no bucket le=0.3 in all pods" in arms.unmeasured()["latency"]


def test_a_version_none_of_whose_pods_is_believed_is_told() -> None:
    arms = Arms(REFUNDS)
    arms.look([orders(10), orders(10)], orders(100))
    arms.look([orders(6), orders(12)], orders(200))
    assert not arms.unmeasured()
    arms.look([orders(8), orders(5)], orders(300))
    assert f"in pod canary-0, nor in the 1 others: {FELL}" in arms.unmeasured()["refunds"]


def test_a_gauge_of_the_same_name_without_its_ending_is_another_metric() -> None:
    page = Arms(REFUNDS).page("# TYPE shop_orders gauge\n# TYPE shop_refunds counter\n" + orders(5, 1))
    assert page.tallies["refunds"] == Tally(5.0, 1.0)


def test_requests_that_are_counted_otherwise_matter_only_where_they_are_asked_for() -> None:
    otherwise = 'upright_requests_total{status="200"} 7\n' + orders(5, 1)
    assert Arms(REFUNDS).page(otherwise).tallies["refunds"] == Tally(5.0, 1.0)
    with pytest.raises(NoCountersError, match="without code"):
        Arms(REFUNDS, a_metric()).page(otherwise)


def test_a_counter_that_is_declared_and_has_counted_nothing_is_zero() -> None:
    page = Arms(REFUNDS).page("# HELP shop_orders_total Orders.\n# TYPE shop_orders_total counter\n")
    assert page.tallies["refunds"] == Tally(0.0, 0.0, knows_bad=False)
    declared = "# TYPE upright_request_duration_seconds histogram\n"
    arms = Arms(LATENCY)
    arms.look(declared, durations(0, 0, 0))
    look = arms.look(durations(5, 9, 10), durations(90, 95, 100))
    assert of(look, "latency") == Histogram(canary=(5, 4, 1), stable=(90, 5, 5), edges=(0.1, 0.5))
    assert not arms.unmeasured()


def test_labels_are_compared_as_they_are_meant() -> None:
    metric = a_metric("Ratio", "odd", bad=r'a_total{x="q\"\\\n"}', total='a_total{x!~"b.*"}')
    page = Arms(metric).page('a_total{x="q\\"\\\\\\n"} 2\na_total{x="bc"} 40\na_total 100\n')
    assert page.tallies["odd"] == Tally(102.0, 2.0)


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ('a{b=~"("}', "illegal regex"),
        (r'a{b="\q"}', "unknown escape"),
        ('a{__name__="c"}', "name must not be set twice"),
        ("a{" + ",".join(["b='x'"] * 9) + "}", "it has 9 conditions, and may have 8"),
        ('a{b=~"(.{300}){30}"}', "regular expression"),
    ],
)
def test_a_selector_that_cannot_be_read_is_named(selector: str, says: str) -> None:
    metric = a_policy(a_metric("Ratio", "refunds", bad=selector, total="b")).metrics[0]
    with pytest.raises(SelectorError, match="bad of metric refunds") as caught:
        selected(metric)
    assert says in str(caught.value)
    arms = Arms(a_metric("Ratio", "refunds", bad=selector, total="b"), LATENCY)
    arms.look(durations(0, 0, 0), durations(0, 0, 0))
    assert says in arms.unmeasured()["refunds"]
    assert of(arms.look(durations(1, 1, 1), durations(1, 1, 1)), "latency")


@pytest.mark.parametrize("text", ['a{b="x\\"y"}', r'a{b="back\\slash", c=~"d|e"}', "a{b='it\"s'}", "job:a:rate{}", "a"])
def test_a_selector_goes_to_a_server_as_it_was_written(text: str) -> None:
    metric = a_policy(a_metric("Ratio", "refunds", bad=text, total="b")).metrics[0]
    written = selected(metric)
    assert written
    assert written.bad
    again = a_policy(a_metric("Ratio", "refunds", bad=written.bad.also('version="v"'), total="b")).metrics[0]
    both = selected(again)
    assert both
    assert both.bad
    for value in ('x"y', "back\\slash", 'it"s', "", "else"):
        labels = {"b": value, "c": "d"}
        assert not both.bad.selects(labels)
        assert both.bad.selects({**labels, "version": "v"}) is written.bad.selects(labels)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x_total", 'x_total{version="v2"}'),
        ('x_total{code="500"}', 'x_total{code="500", version="v2"}'),
        ('x_total{code=~"5..",}', 'x_total{code=~"5..", version="v2"}'),
        ("x_total{}", 'x_total{version="v2"}'),
        ('x_total{path="/a{b}"}', 'x_total{path="/a{b}", version="v2"}'),
    ],
)
def test_conditions_are_added_to_a_selector(text: str, expected: str) -> None:
    found = selected(a_policy(a_metric("Ratio", "refunds", bad=text, total="b")).metrics[0])
    assert found
    assert found.bad
    assert found.bad.also('version="v2"') == expected


@pytest.mark.parametrize("port", [None, 9100])
def test_counters_begin_again_with_the_container_that_counts(port: int | None) -> None:
    """One that ends beside it takes no counters with it: all that the other ever counted is not new for that."""
    arms = Arms(REFUNDS, port=port)
    arms.look(orders(500, 100), orders(1000, 20))
    arms.look(orders(510, 101), orders(1090, 22))
    whose = {"exporter": 1} if port else {"restarts": 1}
    fell = arms.look(orders(7, 2), orders(1180, 24), **whose)
    assert of(fell, "refunds") == Counts(canary=(7, 2), stable=(90, 2))
    look = arms.look(orders(17, 3), orders(1270, 26), restarts=1, exporter=1)
    assert of(look, "refunds") == Counts(canary=(10, 1), stable=(90, 2))
    assert not arms.unmeasured()


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        (lambda look: orders(20 * look, 80 * look), "its bad events grow by more than all events do"),
        (lambda look: orders(100 * look, math.nan), "its counters are not finite numbers"),
    ],
)
def test_counters_that_make_no_sense_in_any_pod_are_told_when_that_lasts(
    canary: Callable[[int], str], why: str
) -> None:
    arms = Arms(REFUNDS)
    told = []
    for look in range(12):  # at some the sample before was too long ago
        arms.look(canary(look), orders(1000 + 100 * look, look))
        told.append(why in arms.unmeasured().get("refunds", ""))
    assert told == [False] * 3 + [True] * 9 or told == [False] * 2 + [True] * 10


def test_bad_events_that_are_counted_a_little_sooner_are_nothing_to_tell() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(1, 0), orders(1000, 1))
    assert of(arms.look(orders(1, 3), orders(1100, 2)), "refunds") is None
    assert not arms.unmeasured()
    look = arms.look(orders(20, 3), orders(1200, 3))
    assert of(look, "refunds") == Counts(canary=(20, 3), stable=(200, 2))


def test_nobody_is_said_to_have_asked_where_a_page_does_not_tell() -> None:
    arms = Arms(REFUNDS)
    for look in range(3):
        arms.look(f"shop_ordres_total {100 * look}\n", f"shop_ordres_total {900 * look}\n")
    assert arms.comparison
    reading = Reading(
        arms=arms.comparison.arms, since=NOW.timestamp(), until=NOW.timestamp(), unmeasured=arms.unmeasured()
    )
    assert [arm.requests for arm in reading.arms.values()] == [None, None]
    assert not reading.quiet(after(minutes=5), INTERVAL)
    assert "has no shop_orders_total" in reading.unmeasured["refunds"]


def test_events_of_a_metric_are_no_requests_that_should_have_reached_the_candidate() -> None:
    """The stable version looks into its cache fifty times for each request, the canary once."""
    arms = Arms(REFUNDS)
    for look in range(1, 5):
        arms.look(orders(10 * look), orders(5000 * look))
    assert arms.comparison
    canary = arms.comparison.arms["canary"]
    assert (canary.state, canary.requests, canary.expected) == ("Counted", 40, 0)


def test_all_counts_of_a_look_are_of_the_same_time() -> None:
    """A pod that was not read at the last one would bring more than the others: of an outage that all share, too."""
    arms = Arms(REFUNDS)
    nothing = "other 1\n"
    arms.look([orders(1), orders(1)], orders(100))
    assert of(arms.look([orders(10), orders(10)], orders(200)), "refunds") == Counts(canary=(20, 0), stable=(100, 0))
    assert of(arms.look([orders(20, 5), nothing], orders(300, 50)), "refunds") == Counts((10, 5), (100, 50))
    assert of(arms.look([orders(30, 5), orders(30, 5)], orders(400, 50)), "refunds") == Counts((10, 0), (100, 0))
    assert of(arms.look([orders(40, 5), orders(40, 5)], orders(500, 50)), "refunds") == Counts((20, 0), (100, 0))
