"""What pods count of metrics that a user selects: durations, and counters of any exporter."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.builders import a_metric, a_policy
from tests.unit.builders import NOW, a_pod, after
from upright.analysis import Counts, Histogram, Look, Policy, begin, update, verdict
from upright.analysis.counters import TORN
from upright.analysis.looks import Measurement
from upright.api import names
from upright.api.by_segment import by_segment
from upright.api.segments import Segment
from upright.pods.reading import read
from upright.rollout.measuring import Asked, Reading
from upright.sources.buckets import Buckets
from upright.sources.comparison import Comparison
from upright.sources.page import MOST_BUCKETS, Counters, NoCountersError, Scan
from upright.sources.sample import PageError
from upright.sources.selectors import LONGEST_VALUE, Condition, Selected, Selector, SelectorError, selected
from upright.sources.tallied import FELL
from upright.sources.tally import MOST_EDGES, Sum, Tally
from upright.sources.unmeasured import IN_PARTS
from upright.sources.wanted import wanted

INTERVAL = timedelta(seconds=15)
REFUNDS = a_metric("Ratio", "refunds", bad='shop_refunds_total{kind="full"}', total="shop_orders_total")
LATENCY = a_metric("Latency", "latency")
PLAN = Segment(name="plan", feature="plan", values=("flex",))
SHOPS = {"name": "shop", "label": "shop", "values": ["a", "b"]}
SLO = a_metric("Limit", "slo", bad="late_total", total="all_total")


class Arms:
    """One canary and stable pods, which show pages."""

    def __init__(
        self,
        *metrics: Mapping[str, Any],
        verified: bool = True,
        port: int | None = None,
        segments: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        whole = a_policy(*(dict(one) for one in metrics), interval=INTERVAL, segments=list(segments))
        self.policy: Policy = by_segment(whole)
        self.comparison: Comparison | None = None
        self.verified = verified
        self.port = port
        self.started: datetime | None = None
        self.down = False
        """No pod of the stable version is ready."""
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
        ready = not (self.down and name.startswith("stable"))
        pod = a_pod(name, ready=ready, podIP="10.0.0.1", labels=labels, containerStatuses=status)
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


def by_shop(a: tuple[float, float], b: tuple[float, float]) -> str:
    return "".join(
        f'shop_orders_total{{shop="{shop}"}} {orders}\nshop_refunds_total{{shop="{shop}",kind="full"}} {bad}\n'
        for shop, (orders, bad) in (("a", a), ("b", b))
    )


def test_a_metric_is_counted_in_each_group_that_a_label_makes() -> None:
    arms = Arms(REFUNDS, segments=[SHOPS])
    arms.look(by_shop((0, 0), (0, 0)), by_shop((900, 9), (90, 1)))
    look = arms.look(by_shop((80, 1), (20, 9)), by_shop((1700, 17), (290, 3)))
    assert of(look, "refunds") == Counts(canary=(100, 10), stable=(1000, 10))
    assert of(look, "refunds of shop a") == Counts(canary=(80, 1), stable=(800, 8))
    assert of(look, "refunds of shop b") == Counts(canary=(20, 9), stable=(200, 2))
    assert not arms.unmeasured()


def test_where_only_one_version_has_a_label_nothing_is_compared_by_it() -> None:
    """What is in no group may be everybody of the one, and few of the other."""
    arms, plain = Arms(REFUNDS, segments=[SHOPS]), 'shop_orders_total {}\nshop_refunds_total{{kind="full"}} {}\n'
    arms.look(by_shop((0, 0), (0, 0)) + plain.format(0, 0), plain.format(1000, 10))
    look = arms.look(by_shop((80, 1), (20, 1)) + plain.format(20, 4), plain.format(2000, 20))
    assert look
    assert look.measurements.keys() == {"refunds"}


def test_a_label_that_no_series_has_is_told() -> None:
    arms = Arms(REFUNDS, segments=[{**SHOPS, "label": "shpo", "values": ["a", "c"]}])
    for orders in (100, 200):
        arms.look(by_shop((orders, 1), (orders, 1)), by_shop((orders, 1), (orders, 1)))
    assert arms.unmeasured() == {
        "refunds of shop": "Metric refunds cannot be measured by segment shop: of its series none is "
        'shop_orders_total{shpo="a"} or shop_orders_total{shpo="c"}. Correct label or values in '
        "spec.monitoring.segments, if they are misspelt."
    }


def test_a_group_for_which_nobody_asks_holds_up_nothing() -> None:
    arms = Arms(REFUNDS, segments=[{**SHOPS, "values": ["a", "nowhere"]}])
    for orders in (100, 200):
        look = arms.look(by_shop((orders, 1), (orders, 1)), by_shop((orders, 1), (orders, 1)))
    assert of(look, "refunds of shop a") == Counts(canary=(200, 1), stable=(100, 0))
    assert not arms.unmeasured()


def test_a_page_is_read_however_many_metrics_and_groups_its_series_count_for() -> None:
    metrics = [a_metric("Ratio", f"refunds{k}", bad="shop_refunds_total", total="shop_orders_total") for k in range(15)]
    one = {"name": "shop", "label": "shop", "values": ["a", "b"]}
    arms = Arms(*metrics, a_metric("Ratio", "all", bad="late_total", total="all_total"), segments=[one])
    arms.look(by_shop((0, 0), (0, 0)), by_shop((900, 9), (90, 1)))
    look = arms.look(by_shop((80, 1), (20, 9)), by_shop((1700, 17), (290, 3)))
    assert of(look, "refunds14 of shop b") == Counts(canary=(20, 9), stable=(200, 2))


def test_what_pods_count_by_segment_is_compared_where_both_versions_do() -> None:
    segment = PLAN.counted_as

    def page(requests: int, failed: int) -> str:
        return (
            f'upright_requests_total{{code="2xx"}} {requests - failed}\nupright_requests_total{{code="5xx"}} {failed}\n'
            + "".join(
                f'upright_segment_requests_total{{segment="{segment}",value="{value}",outcome="{outcome}"}} {count}\n'
                for value, count_failed in (("flex", failed), ("other", 0))
                for outcome, count in (("answered", requests - count_failed), ("failed", count_failed))
            )
        )

    arms = Arms(a_metric(), segments=[PLAN.model_dump(exclude_none=True)])
    arms.look(page(0, 0), page(1000, 1))
    look = arms.look(page(100, 30), page(1900, 2))
    assert of(look, "errors of plan flex") == Counts(canary=(100, 30), stable=(900, 1))
    older = Arms(a_metric(), segments=[PLAN.model_dump(exclude_none=True)])
    for requests in (100, 200):
        look = older.look(page(requests, 30), f'upright_requests_total{{code="2xx"}} {requests}\n')
    assert look
    assert look.measurements.keys() == {"errors"}
    assert not older.unmeasured()


def test_durations_are_compared_by_bucket() -> None:
    arms = Arms(LATENCY)
    arms.look(durations(0, 0, 0), durations(900, 990, 1000))
    look = arms.look(durations(5, 9, 10), durations(990, 1085, 1100))
    assert of(look, "latency") == Histogram(canary=(5, 4, 1), stable=(90, 5, 5), edges=(0.1, 0.5))


def test_halves_of_the_stable_pods_come_with_what_is_compared() -> None:
    arms = Arms(REFUNDS, LATENCY)
    pages = [orders(100 * place, place) + durations(place, 2 * place, 3 * place) for place in range(1, 4)]
    later = [orders(110 * place, 2 * place) + durations(2 * place, 4 * place, 7 * place) for place in range(1, 4)]
    arms.look(orders(1) + durations(0, 0, 0), pages)
    look = arms.look(orders(11, 3) + durations(5, 9, 10), later)
    assert of(look, "refunds") == Counts(canary=(11, 3), stable=(60, 6))
    assert look
    assert look.halves == {
        "refunds": Counts(canary=(40, 4), stable=(20, 2)),  # the first and the third pod, and the second
        "latency": Histogram(canary=(4, 4, 8), stable=(2, 2, 4), edges=(0.1, 0.5)),
    }


def test_one_stable_pod_has_no_halves() -> None:
    arms = Arms(REFUNDS)
    arms.look(orders(1), orders(1000, 20))
    look = arms.look(orders(11, 3), orders(1090, 22))
    assert look
    assert not look.halves


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


def test_the_order_of_lines_makes_no_sum_of_fractions_fall() -> None:
    """Shops as an exporter lists them that keeps a hash map."""
    sold = {"a": 0.1, "b": 0.2, "c": 0.3}

    def page(order: str, more: float = 0) -> str:
        return "".join(f'sold_total{{shop="{one}"}} {sold[one] + more}\n' for one in order) + "refunded_total 0\n"

    arms = Arms(a_metric("Ratio", "refunds", bad="refunded_total", total="sold_total"))
    arms.look(page("abc"), page("abc"))
    assert arms.page(page("abc")) == arms.page(page("cba"))
    arms.look(page("cba"), "sold_total 0.6\nrefunded_total 0\n")
    assert of(arms.look(page("abc", 10), page("cba", 10)), "refunds") == Counts(canary=(30.6, 0), stable=(30, 0))
    assert not arms.unmeasured()


@given(st.lists(st.floats(0, 1e99) | st.integers(0, 10**15).map(float)), st.randoms(use_true_random=False))
def test_a_sum_of_counts_is_exact_in_any_order(counts: list[float], random: Random) -> None:
    summed = Sum()
    for count in random.sample(counts, len(counts)):
        summed.add(count)
    assert summed.value == math.fsum(counts)


@pytest.mark.parametrize("odd", [-1.0, math.nan, math.inf, 1e100])
def test_a_sum_with_what_is_no_count_is_none(odd: float) -> None:
    summed = Sum()
    for count in (odd, 5.0):
        summed.add(count)
    assert math.isnan(summed.value)


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
        (LATENCY, durations(1, 2, edges=("0." + "1" * 40, "+Inf")), "whose le is no number"),
        (LATENCY, durations(1, 2, 3) * 2, "has a series of upright_request_duration_seconds_bucket twice"),
        (
            REFUNDS,
            'shop_orders_total{a="b",c=""} 4\nshop_orders_total{a="b"} 4\n',
            "a series of shop_orders_total twice",
        ),
        (REFUNDS, orders(5) + 'shop_refunds_total{kind="full"} 1\n', "has a series of shop_refunds_total twice"),
        (
            {**LATENCY, "total": "lat_seconds_bucket"},
            '# TYPE lat_seconds summary\nlat_seconds{quantile="0.5"} 2\nlat_seconds_sum 9\nlat_seconds_count 5\n',
            "has no lat_seconds_bucket, but lat_seconds, lat_seconds_count, lat_seconds_sum",
        ),
        (
            {**LATENCY, "total": "lat_seconds_bucket"},
            "# TYPE lat_seconds histogram\nlat_seconds_sum 9\nlat_seconds_count 5\n",
            "has no lat_seconds_bucket, but lat_seconds_count, lat_seconds_sum",
        ),
        (
            a_metric("Ratio", "r", bad="b_total", total="lat_seconds"),
            '# TYPE lat_seconds summary\nlat_seconds{quantile="0.5"} 2\n',
            "says that lat_seconds is a summary, where a counter was expected",
        ),
        (
            REFUNDS,
            "# TYPE shop_orders counter\nshop_orders 1000\n",
            "has no shop_orders_total, but shop_orders",
        ),
        (REFUNDS, "# HELP shop_orders_total Orders.\n", "has no shop_orders_total."),
        (LATENCY, durations(*range(300), edges=[f"{n}" for n in range(299)] + ["+Inf"]), f"more than {MOST_EDGES}"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_a_page_that_does_not_tell_of_a_metric_says_why(metric: dict[str, Any], page: str, says: str) -> None:
    arms = Arms(metric)
    arms.look(page, page)
    assert says in arms.unmeasured()[metric["name"]]
    assert "pod canary-0" in arms.unmeasured()[metric["name"]]


def test_of_buckets_those_that_are_named_are_kept_and_of_all_metrics_no_more_than_a_page_may_have() -> None:
    def page(edges: int, metrics: int = 5) -> str:
        of = [(metric, [*range(1, edges), "+Inf"]) for metric in range(metrics)]
        return "".join(f'h{metric}_bucket{{le="{edge}"}} 7\n' for metric, edges in of for edge in edges)

    latencies = [a_metric("Latency", f"m{number}", total=f"h{number}_bucket") for number in range(5)]
    each = MOST_BUCKETS // 4
    tallies = Arms(*latencies).page(page(each)).tallies
    assert [isinstance(tally, Tally) for tally in tallies.values()] == [True] * 4 + [False]
    assert f"more than {MOST_BUCKETS} buckets of all metrics" in str(tallies["m4"])
    named = Arms({**latencies[0], "buckets": [2.0, 5.0, 5000.0]}, *latencies[1:]).page(page(each)).tallies
    assert named["m0"] == Tally(7.0, upto={2.0: 7.0, 5.0: 7.0})
    assert all(isinstance(tally, Tally) for tally in named.values())
    none = Arms({**latencies[0], "buckets": [5000.0]}).page(page(each)).tallies["m0"]
    assert none == "its page of metrics has no bucket of h0_bucket that buckets names"


edges = st.dictionaries(st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.5]), st.sampled_from([0.0, 1.0, 2.0, 7.5]))


@given(edges, edges)
def test_buckets_are_what_a_mapping_of_them_is(one: dict[float, float], other: dict[float, float]) -> None:
    rising, later = (Buckets(dict(sorted(upto.items()))) for upto in (one, other))
    assert rising == one
    assert list(rising) == sorted(one)
    assert 3.0 not in rising
    assert rising.at([2.5, 3.0, 0.1]) == [one.get(2.5, 0.0), 0.0, one.get(0.1, 0.0)]
    assert rising.fall_to(later) == any(other[edge] < one[edge] for edge in one.keys() & other.keys())


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


@pytest.mark.parametrize(
    ("declared", "name", "known"),
    [
        ("shop_failed counter", "shop_failed_total", True),
        ("shop_failed_total counter", "shop_failed_total", True),
        ("shop_failed counter", "shop_failed", True),
        ("shop_failed histogram", "shop_failed_total", False),
        ("shop_failed gauge", "shop_failed_total", False),
        ("shop_failed untyped", "shop_failed_total", False),
        ("shop_failed counter\nshop_failed 80", "shop_failed_total", False),
        ("shop_failed counter\nshop_failed_total 80", "shop_failed", False),
        ("lat histogram", "lat_count", True),
        ("lat summary", "lat_sum", True),
        ("lat summary", "lat_bucket", False),
        ("lat counter", "lat_bucket", False),
    ],
)
def test_what_is_declared_is_known_by_the_names_that_its_samples_will_have(
    declared: str, name: str, known: bool
) -> None:
    arms = Arms(a_metric("Ratio", "m", bad=name, total="shop_orders_total"))
    page = f"# TYPE {declared}\nshop_orders_total 5\n"
    assert arms.page(page).tallies["m"] == Tally(5.0, 0.0, knows_bad=known)
    total = Arms(a_metric("Ratio", "m", bad="b", total=name)).page(page).tallies["m"]
    assert total == Tally(0.0, knows_bad=False) if known else isinstance(total, str)


def test_labels_that_no_series_has_are_told_from_what_has_not_counted_yet() -> None:
    metric = a_metric("Ratio", "m", bad='orders_total{plan="no",ok="0"}', total='orders_total{plan="no"}')
    arms, latency = Arms(metric), Arms({**LATENCY, "total": 'lat_bucket{plan="no"}'})
    assert arms.page('orders_total{plan="no"} 1\norders_total{plan="yes"} 2\n').tallies["m"] == Tally(1.0)
    assert arms.page('orders_total{plan="yes"} 2\n').tallies["m"] == Tally(0.0, matches=False)
    assert arms.page("# TYPE orders counter\n").tallies["m"] == Tally(0.0)
    assert latency.page('lat_bucket{plan="yes",le="+Inf"} 2\n').tallies["latency"] == Tally(0, upto={}, matches=False)
    assert latency.page("# TYPE lat histogram\n").tallies["latency"] == Tally(0, upto={}, matches=True)


def test_only_what_counts_twice_is_not_believed() -> None:
    arms = Arms(REFUNDS, a_metric())
    requests = 'upright_requests_total{code="2xx"} 5\n'
    twice = 'shop_refunds_total{kind="part"} 1\nother_total 1\n' * 2
    assert arms.page(requests + orders(5) + twice).tallies["refunds"] == Tally(5.0)
    with pytest.raises(PageError, match="has a series of upright_requests_total twice"):
        arms.page(requests * 2 + orders(5))
    without = Arms(REFUNDS).page(requests * 2 + orders(5))
    assert not without.counts_requests
    assert without.tallies["refunds"] == Tally(5.0)


def test_labels_are_compared_as_they_are_meant() -> None:
    metric = a_metric("Ratio", "odd", bad=r'a_total{x="q\"\\\n"}', total='a_total{x!~"b.*"}')
    page = Arms(metric).page('a_total{x="q\\"\\\\\\n"} 2\na_total{x="bc"} 40\na_total 100\n')
    assert page.tallies["odd"] == Tally(102.0, 2.0)


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ('a{b=~"("}', "missing )"),
        (r'a{b="\q"}', "unknown escape"),
        ('a{__name__="c"}', "name must not be set twice"),
        ("a{" + ",".join(["b='x'"] * 9) + "}", "it has 9 conditions, and may have 8"),
        ('a{b=~"(.{300}){30}"}', "regular expression"),
        (r'a{b=~"(\\pL{20}){20}"}', "is too large: write it shorter"),  # a parser of PromQL compiles that for a second
        ('a{b=~".{60}"}', "is too large: write it shorter"),
        ('a{b=~"x{300}",c!~"y{300}",d=~"z{300}"}', "its regular expressions are too large together"),
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


def test_operators_are_those_that_are_written_and_none_that_a_value_names() -> None:
    text = """a{b="=~\\"x\\"", c!~'c!="d",', d != "", e =~ "z|y",}"""
    written = selected(a_policy(a_metric("Ratio", "m", bad=text, total="b")).metrics[0])
    assert written
    assert written.bad
    assert [(one.label, one.operator, one.value) for one in written.bad.conditions] == [
        ("b", "=", '=~"x"'),
        ("c", "!~", 'c!="d",'),
        ("d", "!=", ""),
        ("e", "=~", "z|y"),
    ]


def test_a_regular_expression_matches_no_value_that_is_longer_than_it_looks_at() -> None:
    metric = a_metric("Ratio", "m", bad='a_total{b=~"x+"}', total='a_total{b!~"x+y"}')
    values = {
        "x" * LONGEST_VALUE: 1,
        "x" * (LONGEST_VALUE + 1): 2,
        "x" * LONGEST_VALUE + "y": 4,
        "é" * 200: 8,
        "xy": 16,
    }
    page = "".join(f'a_total{{b="{value}"}} {count}\n' for value, count in values.items())
    assert Arms(metric).page(page).tallies["m"] == Tally(15.0, 1.0)


SLOW = [
    a_metric("Ratio", f"m{n}", bad=f'a{{b!~"[ab]*a[ab]{{{500 + n}}}"}}', total=f'a{{b!~"[ab]*a[ab]{{{520 + n}}}"}}')
    for n in range(16)
]


def slow_lines(lines: int) -> bytes:
    return "".join(f'a{{b="{"ab" * 125}{line:05}"}} 1\n' for line in range(lines)).encode()


def test_a_page_that_is_as_slow_as_it_may_be_gives_others_their_turn_and_ends() -> None:
    want = wanted(Asked("a-b", a_policy(*SLOW), {}, None))
    scan = Scan(want.selected, requests=False)
    pieces = sum(1 for _ in scan.pieces(slow_lines(10)))
    assert pieces >= 10 * 32 / 2
    assert all(tally == Tally(10.0, 10.0) for tally in scan.counters().tallies.values())
    scan = Scan(want.selected, requests=False)
    with pytest.raises(PageError, match="more series than can be compared with so many conditions"):
        scan.feed(slow_lines(1000))


def test_a_condition_that_several_metrics_have_is_looked_at_once_for_each_series() -> None:
    looked = list[str]()

    def holds(value: str) -> bool:
        looked.append(value)
        return value == "x"

    def having(name: str) -> Selector:
        return Selector("a", (Condition("b", "=~", "x", holds, 1),), name)

    scan = Scan({name: Selected(having(name), having(f"bad {name}")) for name in ("one", "two")}, requests=False)
    scan.feed(b'a{b="x"} 1\na{b="y"} 2\n')
    assert scan.counters().tallies == {"one": Tally(1.0, 1.0), "two": Tally(1.0, 1.0)}
    assert looked == ["x", "y"]


def test_selectors_are_read_once_while_they_are_compared_and_so_is_why_they_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arms = Arms(a_metric("Ratio", "refused", bad='a{b=~"("}', total="b"), REFUNDS)
    arms.look(orders(1), orders(1))
    for number in range(300):
        Arms(a_metric("Ratio", "m", bad=f"a_{number}", total="b")).look("b 1\n", "b 1\n")
    monkeypatch.setattr("upright.sources.wanted.selected", None)
    arms.look(orders(2), orders(2))
    assert "missing )" in arms.unmeasured()["refused"]


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


def test_a_candidate_that_calls_its_bad_events_otherwise_is_not_taken_for_one_without() -> None:
    arms = Arms(REFUNDS)
    told = []
    for look in range(1, 8):
        arms.look(f"shop_orders_total {100 * look}\nshop_refund_total {80 * look}\n", orders(1000 * look, 10 * look))
        told.append(arms.unmeasured().get("refunds", ""))
    assert told[:4] == [""] * 4
    assert told[-1].startswith(
        "Metric refunds cannot be measured: no pod of the candidate has "
        'shop_refunds_total{kind="full"}, which has counted 60 of 6000 events of the stable version.'
    )


def test_a_limit_is_not_measured_while_the_candidate_alone_answers() -> None:
    """Its few pods get all the requests then."""
    arms = Arms(SLO)

    def look(number: int, late: int) -> Measurement | None:
        return of(arms.look(f"all_total {100 * number}\nlate_total {late}\n", "nothing 1\n"), "slo")

    look(1, 0)
    assert look(2, 1) == Counts(canary=(100, 1), stable=None)
    arms.down = True
    assert look(3, 50) is None
    arms.down = False
    assert look(4, 51) == Counts(canary=(100, 1), stable=None), "of the 49 before nobody knows whose doing they are"


def test_labels_that_no_series_has_are_told() -> None:
    arms = Arms(a_metric("Ratio", "basic", bad="shop_refunds_total", total='shop_orders_total{shop="aa"}'))
    for look in range(3):
        arms.look(orders(10 * look), orders(100 * look))
    assert arms.unmeasured()["basic"].startswith(
        "Metric basic cannot be measured: of the series of shop_orders_total none is "
        'shop_orders_total{shop="aa"}, in any pod of either version.'
    )
