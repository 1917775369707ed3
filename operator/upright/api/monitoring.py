"""What a user says about monitoring: the metrics, their tolerances, and the promise that a rollback must keep.

`spec.monitoring` of a Deployment and a policy file of `upright backtest` are the same, field by field; what the one
refuses in CEL the other does with the same sentence.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from upright.api.common import Duration, Resource
from upright.api.refusals import Refusal, check
from upright.api.schema import Rule
from upright.api.segments import Segment
from upright.api.selector import is_selector, selects
from upright.api.tolerance import Tolerance


class MetricType(StrEnum):
    """What a metric counts, and so which test compares it."""

    ERROR_RATE = "ErrorRate"
    REFUSAL_RATE = "RefusalRate"
    LATENCY = "Latency"
    QUALITY = "Quality"
    RATIO = "Ratio"
    LIMIT = "Limit"
    MEAN = "Mean"


class Boundary(StrEnum):
    """When a metric's evidence is enough."""

    MIXTURE = "Mixture"
    EXACT = "Exact"


class Inconclusive(StrEnum):
    """What to do when the horizon ends without a verdict."""

    PROMOTE = "Promote"
    HOLD = "Hold"
    ROLLBACK = "Rollback"


class _Said(Resource):
    """A part of what a user says: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Margins(NamedTuple):
    """A tolerance as it is reckoned with."""

    relative: float
    absolute: float


DEFAULT_TOLERANCES: dict[MetricType, Margins] = {
    MetricType.ERROR_RATE: Margins(0.25, 0.001),
    MetricType.REFUSAL_RATE: Margins(0.25, 0.01),
    MetricType.LATENCY: Margins(0.25, 0.0),
    MetricType.QUALITY: Margins(0.0, 0.01),
    MetricType.RATIO: Margins(0.25, 0.0),
    MetricType.LIMIT: Margins(0.0, 0.0),
    MetricType.MEAN: Margins(0.0, 0.02),
}
_OF_COUNTS = (MetricType.ERROR_RATE, MetricType.REFUSAL_RATE, MetricType.RATIO)


def _only_of(field: str, type: MetricType) -> Refusal:
    rule = Rule(
        f"self.type == '{type}' || !has(self.{field})",
        f"{field} belongs to type {type}: remove it, or change the type",
        field=field,
    )
    return Refusal(rule, lambda metric: metric.type is type or getattr(metric, field) is None)


def _if_exact(rule: str, message: str, field: str, holds: Callable[["Metric"], bool]) -> Refusal:
    return Refusal(
        Rule(f"self.boundary != 'Exact' || ({rule})", message, field),
        lambda metric: metric.boundary is not Boundary.EXACT or holds(metric),
    )


_REFUSED: Sequence[Refusal] = (
    Refusal(selects("bad"), lambda metric: is_selector(metric.bad or "none")),
    Refusal(selects("total"), lambda metric: is_selector(metric.total or "none")),
    Refusal(
        Rule("self.type != 'Limit' || has(self.maximum)", "type Limit needs maximum, the highest acceptable rate"),
        lambda metric: metric.type is not MetricType.LIMIT or metric.maximum is not None,
    ),
    _only_of("maximum", MetricType.LIMIT),
    _only_of("buckets", MetricType.LATENCY),
    _only_of("deviation", MetricType.MEAN),
    Refusal(
        Rule(
            "self.type == 'Latency' || has(self.bad) == has(self.total)",
            "bad and total belong together: give both, or neither",
        ),
        lambda metric: metric.type is MetricType.LATENCY or (metric.bad is None) == (metric.total is None),
    ),
    Refusal(
        Rule(
            "!has(self.bad) || !has(self.total) || self.bad != self.total",
            "bad and total are the same counter, of which all is bad: let bad select the bad events alone",
            field="bad",
        ),
        lambda metric: metric.bad is None or metric.bad != metric.total,
        young=True,
    ),
    Refusal(
        Rule(
            "self.type != 'Latency' || !has(self.bad)",
            "for type Latency total names the buckets: remove bad",
            field="bad",
        ),
        lambda metric: metric.type is not MetricType.LATENCY or metric.bad is None,
    ),
    Refusal(
        Rule(
            "!has(self.buckets) || (self.buckets.isSorted() && "
            "self.buckets.all(edge, self.buckets.exists_one(other, other == edge)))",
            "buckets must rise from each to the next",
            field="buckets",
        ),
        lambda metric: list(metric.buckets or ()) == sorted(set(metric.buckets or ())),
    ),
    _if_exact(
        "self.type in ['ErrorRate', 'RefusalRate', 'Ratio']",
        "boundary Exact is for ErrorRate, RefusalRate and Ratio: write boundary: Mixture",
        "boundary",
        lambda metric: metric.type in _OF_COUNTS,
    ),
    _if_exact(
        "!has(self.dispersion) || self.dispersion == 1.0",
        "boundary Exact holds for independent events only: remove dispersion, or write boundary: Mixture",
        "boundary",
        lambda metric: metric.dispersion in (None, 1),
    ),
    _if_exact(
        "has(self.tolerance) && has(self.tolerance.absolute) ? self.tolerance.absolute == 0.0 : "
        "self.type == 'Ratio' || (has(self.tolerance) && has(self.tolerance.relative))",
        "boundary Exact needs a tolerance that is only relative: write tolerance: {relative: 0.25}",
        "tolerance",
        lambda metric: metric.margins.absolute == 0,
    ),
)


class Metric(_Said):
    """One thing that is watched during a rollout."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$",
        max_length=63,
        description="Names the metric in status, events and alerts; unique among the metrics of a Deployment.",
    )
    type: MetricType = Field(
        description="ErrorRate: failed (5xx) among those that the model answered or failed. RefusalRate: refused (4xx, "
        "or 503 for want of room) among all requests. Latency: a histogram of durations. Quality: wrong among "
        "labelled predictions. Ratio: any two counters, bad among total. Limit: a rate of the candidate alone against "
        "a maximum. Mean: the mean of a continuous value."
    )
    tolerance: Tolerance | None = Field(
        default=None,
        description="How much worse is still healthy. Default by type: ErrorRate relative 0.25 and absolute 0.001, "
        "RefusalRate relative 0.25 and absolute 0.01, Latency and Ratio relative 0.25, Quality absolute 0.01, Mean "
        "absolute 0.02. A margin that is left out beside the other is that of the type in a Deployment, and 0 in a "
        "policy file.",
    )
    bad: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description='Selector of the counter of bad events, for example shop_refunds_total{kind="full"}. '
        "For Ratio and Limit.",
    )
    total: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Selector of the counter of all events, bad ones included; of a Latency that of the histogram's "
        "buckets. Default for ErrorRate, RefusalRate and Latency: those of the pods that Upright serves.",
    )
    maximum: float | None = Field(
        default=None, gt=0, lt=1, description="Limit only: the highest rate that is acceptable, whatever stable does."
    )
    dispersion: Annotated[float | None, BeforeValidator(lambda given: None if given == "auto" else given)] = Field(
        default=None,
        ge=1,
        le=1000,
        description="How much more the counts scatter than independent events would, for instance because failed "
        "requests are tried again at once; 1: not at all. Left out: estimated from the looks so far, by halves of the "
        "stable version's pods; at first, and where it has one pod, 8 for Latency and 1 for other types.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Share of the false rollback probability that this metric may use, relative to the others.",
    )
    buckets: Annotated[tuple[float, ...], Field(min_length=1, max_length=14)] | None = Field(
        default=None,
        description="Latency only: the bucket edges (le, in the histogram's unit) to compare. Default: all, or 14 "
        "spread evenly when there are more.",
    )
    boundary: Boundary = Field(
        default=Boundary.MIXTURE,
        description="When the evidence is enough. Mixture: finds regressions of any size that begin at any time. "
        "Exact: for ErrorRate, RefusalRate and Ratio with few bad events, where it finds more of the regressions; it "
        "uses the whole false rollback probability, and so needs events that are known to be independent, and a "
        "tolerance that is only relative.",
    )
    worse: Literal["Higher", "Lower"] = Field(
        default="Higher", description="Mean only: whether a higher or a lower mean is the bad direction."
    )
    deviation: float | None = Field(
        default=None,
        gt=0,
        description="Mean only: the standard deviation of one value, from history. Default: estimated from the looks "
        "already seen, of which the first then gives no evidence.",
    )

    @model_validator(mode="after")
    def _is_not_refused(self, info: ValidationInfo) -> Self:
        check(_REFUSED, self, info, f"metric {self.name!r}: ")
        return self

    @property
    def doubts(self) -> Sequence[str]:
        """For what it would be refused, were it written now: it can hardly show that a version is worse."""
        refused = [one.rule.message for one in _REFUSED if one.young and not one.holds(self)]
        return [*refused, *(self.tolerance.doubts if self.tolerance else ())]

    @property
    def margins(self) -> Margins:
        """The tolerance, or the default of the metric's type."""
        said = self.tolerance
        if said is None or (said.relative is None and said.absolute is None):
            return DEFAULT_TOLERANCES[self.type]
        return Margins(said.relative or 0.0, said.absolute or 0.0)

    def of_deployment(self) -> "Metric":
        """As a Deployment means it: a margin that is left out is that of the type."""
        usual, said = DEFAULT_TOLERANCES[self.type], self.tolerance or Tolerance()
        floor = 0.0 if self.boundary is Boundary.EXACT else usual.absolute
        tolerance = Tolerance(
            relative=usual.relative if said.relative is None else said.relative,
            absolute=floor if said.absolute is None else said.absolute,
        )
        return self.model_copy(update={"tolerance": tolerance})

    def is_split_by(self, segment: Segment) -> bool:
        """Whether it is compared in each group of a segment, too."""
        if self.boundary is not Boundary.MIXTURE or self.type not in _OF_COUNTS:
            return False
        if segment.label is not None:
            return self.total is not None
        return self.total is None and self.type is MetricType.ERROR_RATE

    def scatter(self, estimated: float) -> float:
        """The dispersion to reckon with: the given one, else the estimate. The exact boundary is for events that are
        known to be independent.
        """
        if self.boundary is Boundary.EXACT:
            return 1.0
        return max(1.0, estimated if self.dispersion is None else self.dispersion)

    rules: ClassVar[Sequence[Rule]] = tuple(refused.rule for refused in _REFUSED)


class Promise(_Said):
    """What a rollout promises and watches, however long it takes."""

    false_rollback_probability: float = Field(
        default=0.01,
        gt=0,
        le=0.5,
        description="The probability that a healthy candidate is ever rolled back in one rollout is at most this.",
    )
    false_promotion_probability: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="The probability that a candidate is promoted before the horizon although it is in some metric as "
        "much worse as inferiorityRatio excludes is at most this.",
    )
    inferiority_ratio: float = Field(
        default=2.0,
        gt=1,
        le=100,
        description="Promotion before the horizon needs proof, in every metric, that the candidate's rate is below so "
        "many times the stable version's, or higher by less than tolerance.absolute; of a Limit, it is below maximum.",
    )
    interval: Duration = Field(
        default=timedelta(seconds=15), ge=timedelta(seconds=1), description="The time between looks, at least 1s."
    )
    warm_up: Duration = Field(
        default=timedelta(0),
        description="Left out are looks so soon after both versions, or more of the candidate's pods, began to count.",
    )
    metrics: tuple[Metric, ...] = Field(
        default=(
            Metric(name="errors", type=MetricType.ERROR_RATE, tolerance=Tolerance(relative=0.25, absolute=0.001)),
            Metric(name="refusals", type=MetricType.REFUSAL_RATE, tolerance=Tolerance(relative=0.25, absolute=0.01)),
        ),
        min_length=1,
        max_length=16,
        description="What is watched.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    segments: tuple[Segment, ...] = Field(
        default=(),
        max_length=8,
        description="Groups of users in each of which metrics are compared, too: a version may be fine as a whole, and "
        "fail for some. A metric that is split has half of its share of the promise as a whole.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    def share(self, metric: Metric) -> float:
        """The part of the false rollback probability that a metric may use."""
        return self.false_rollback_probability * metric.weight / sum(other.weight for other in self.metrics)
