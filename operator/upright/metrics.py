"""The operator's own numbers, for Prometheus."""

from collections.abc import Iterable, Mapping
from platform import python_version
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from upright import __version__
from upright.contract import Count, Key, ResourceType

Samples = Mapping[str, Iterable[tuple[Mapping[str, str], float]]]

_Series = tuple[str, tuple[str, ...]]
"""A counter's name, and the values of its labels."""

COUNTERS = {
    "upright_training_runs_total": ("Training runs that have ended.", ("namespace", "model", "result")),
    "upright_rollouts_total": ("Rollouts that have ended.", ("namespace", "deployment", "result")),
    "upright_rollbacks_total": (
        "Versions rejected, by the metric that was worse; none where it was not for a metric.",
        ("namespace", "deployment", "metric"),
    ),
}
"""The counters that plans may count."""

GAUGES = {
    "upright_rollout_evidence": "Evidence against the candidate of a rollout: the e-value of a metric.",
    "upright_deployment_phase": "1 for the phase that a Deployment is in.",
}
"""The gauges that plans may contribute to."""


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "upright_api_requests_total", "Requests to the API server.", ("verb", "resource", "code")
        )
        self.reconciles = self._counter("upright_reconcile_total", "Plans made and carried out.", ("kind", "result"))
        self.duration = Histogram(
            "upright_reconcile_duration_seconds",
            "Time from a key's turn until its plan was carried out.",
            ("kind",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.unreadable = self._counter(
            "upright_unreadable_events_total",
            "News of objects that could not be read, so that nobody was woken by them.",
            ("kind", "resource"),
        )
        self.depth = Gauge("upright_queue_depth", "Keys that stand in line.", ("kind",), registry=self.registry)
        self.leader = Gauge("upright_leader", "1 while this process holds the Lease.", registry=self.registry)
        build = Gauge("upright_build_info", "Always 1.", ("version", "python"), registry=self.registry)
        build.labels(version=__version__, python=python_version()).set(1)
        self._counters = {name: self._counter(name, *described) for name, described in COUNTERS.items()}
        self._counted: dict[tuple[ResourceType, Key], set[_Series]] = {}
        self._counting: dict[_Series, int] = {}  # how many objects
        self._contributed = _Contributed()
        self.registry.register(self._contributed)

    def count(self, kind: ResourceType, key: Key, count: Count) -> None:
        """One step of a counter, for an object."""
        counter, labels = self._counters[count.metric], dict(count.labels)
        counter.labels(**labels).inc()
        series = count.metric, tuple(labels[name] for name in COUNTERS[count.metric][1])
        mine = self._counted.setdefault((kind, key), set())
        if series not in mine:
            mine.add(series)
            self._counting[series] = self._counting.get(series, 0) + 1

    def contribute(self, kind: ResourceType, key: Key, samples: Samples | None) -> None:
        """Replace what an object contributes to the gauges."""
        self._contributed.replace(
            kind, key, {name: tuple(values) for name, values in samples.items()} if samples else None
        )

    def forget(self, kind: ResourceType, key: Key) -> None:
        """The object is no more, and with it goes what was counted for it alone."""
        self._contributed.replace(kind, key, None)
        for series in self._counted.pop((kind, key), ()):
            self._counting[series] -= 1
            if not self._counting[series]:
                del self._counting[series]
                metric, values = series
                self._counters[metric].remove(*values)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name.removesuffix("_total"), text, labels, registry=self.registry)


class _Contributed(Collector):
    """The gauges that objects contribute to: a sample lives as long as its object does.

    They are collected in a thread, while objects come and go.
    """

    def __init__(self) -> None:
        self._samples: dict[tuple[ResourceType, Key], Samples] = {}
        self._lock = Lock()

    def replace(self, kind: ResourceType, key: Key, samples: Samples | None) -> None:
        """What the object contributes from now on."""
        with self._lock:
            self._samples.pop((kind, key), None)
            if samples:
                self._samples[kind, key] = samples

    def collect(self) -> Iterable[GaugeMetricFamily]:
        with self._lock:
            contributed = list(self._samples.values())
        for name, text in GAUGES.items():
            samples = [sample for one in contributed for sample in one.get(name, ())]
            names = tuple(samples[0][0]) if samples else ()
            family = GaugeMetricFamily(name, text, labels=names)
            for labels, value in samples:
                family.add_metric([labels[label] for label in names], value)
            yield family
