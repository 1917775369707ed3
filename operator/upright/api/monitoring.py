"""What a user says about monitoring: the metrics, their tolerances, and the promise that a rollback must keep."""

import hashlib
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from upright.api.common import Duration, format_duration


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


def _refuse_unknown_fields(model: type[BaseModel], given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    known = {field.alias or name for name, field in model.model_fields.items()}
    unknown = sorted(str(key) for key in given if key not in known and key not in model.model_fields)
    if unknown:
        raise ValueError(
            f"{model.__name__} has no field {', '.join(repr(key) for key in unknown)}; "
            f"its fields are {', '.join(sorted(known))}. Remove the field or correct its name."
        )
    return given


_CONFIG = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Tolerance(BaseModel):
    """How much worse than the stable version a candidate may be and still count as healthy.

    A candidate is healthy while it keeps within at least one of the two margins.
    """

    model_config = _CONFIG

    relative: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Tolerated relative increase of the rate: 0.25 lets 1.0 % become 1.25 %.",
    )
    absolute: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Tolerated increase of the rate itself: 0.001 lets 0.3 % become 0.4 %. "
        "For a Mean it is measured in standard deviations of one value.",
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return _refuse_unknown_fields(cls, given)


DEFAULT_TOLERANCES: dict[MetricType, Tolerance] = {
    MetricType.ERROR_RATE: Tolerance(relative=0.25, absolute=0.001),
    MetricType.REFUSAL_RATE: Tolerance(relative=0.25, absolute=0.01),
    MetricType.LATENCY: Tolerance(relative=0.25),
    MetricType.QUALITY: Tolerance(absolute=0.01),
    MetricType.RATIO: Tolerance(relative=0.25),
    MetricType.LIMIT: Tolerance(),
    MetricType.MEAN: Tolerance(absolute=0.02),
}


class Metric(BaseModel):
    """One thing that is watched during a rollout."""

    model_config = _CONFIG

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$",
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
        "absolute 0.02. A margin left out is 0.",
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
    dispersion: Annotated[
        float | Literal["auto"],
        WithJsonSchema(
            {
                "description": "How much more the counts scatter than independent events would: a number of at least "
                "1, or auto to estimate it from pods of the stable version compared with each other.",
                "default": "auto",
                "x-kubernetes-preserve-unknown-fields": True,
            }
        ),
    ] = Field(default="auto")
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
        "uses the whole false rollback probability, and so needs events that are known to be independent "
        "(dispersion: 1) and a tolerance that is only relative.",
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

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return _refuse_unknown_fields(cls, given)

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Self:
        if self.type is MetricType.LIMIT and self.maximum is None:
            raise ValueError(f"metric {self.name!r} has type Limit and needs maximum, the highest acceptable rate")
        only = {"maximum": (MetricType.LIMIT,), "buckets": (MetricType.LATENCY,), "deviation": (MetricType.MEAN,)}
        for field, types in only.items():
            if getattr(self, field) is not None and self.type not in types:
                raise ValueError(
                    f"metric {self.name!r} has type {self.type}, for which {field} means nothing; "
                    f"{field} belongs to {', '.join(types)}. Remove it or change the type."
                )
        if (self.bad is None) != (self.total is None) and self.type is not MetricType.LATENCY:
            raise ValueError(f"metric {self.name!r} needs bad and total together, or neither")
        if self.bad is not None and self.type is MetricType.LATENCY:
            raise ValueError(f"metric {self.name!r} has type Latency, for which total names the buckets; remove bad")
        if self.dispersion != "auto" and not self.dispersion >= 1:
            raise ValueError(f"metric {self.name!r}: dispersion must be at least 1 or auto, found {self.dispersion}")
        if self.boundary is Boundary.EXACT:
            self._fits_the_exact_boundary()
        if self.buckets is not None and any(
            high <= low for low, high in zip(self.buckets, self.buckets[1:], strict=False)
        ):
            raise ValueError(
                f"metric {self.name!r}: buckets must rise from each to the next, found {list(self.buckets)}"
            )
        return self

    def _fits_the_exact_boundary(self) -> None:
        if self.type not in (MetricType.ERROR_RATE, MetricType.REFUSAL_RATE, MetricType.RATIO):
            raise ValueError(
                f"metric {self.name!r} has type {self.type}; boundary Exact is for ErrorRate, RefusalRate and Ratio"
            )
        if self.dispersion != 1:
            raise ValueError(
                f"metric {self.name!r}: boundary Exact holds for independent events only; say dispersion: 1 if they "
                f"are, or remove boundary (found dispersion {self.dispersion})"
            )
        if self.margins.absolute:
            raise ValueError(
                f"metric {self.name!r}: boundary Exact needs a tolerance that is only relative, "
                f"for example tolerance: {{relative: {self.margins.relative:g}}} "
                f"(found absolute {self.margins.absolute:g})"
            )

    @property
    def margins(self) -> Tolerance:
        """The tolerance, or the default of the metric's type."""
        return self.tolerance or DEFAULT_TOLERANCES[self.type]


class Policy(BaseModel):
    """What one rollout promises and watches; the fields of spec.monitoring that the analysis needs, and the horizon."""

    model_config = _CONFIG

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
        description="The probability that a candidate at least inferiorityRatio times as bad is promoted before the "
        "horizon is at most this.",
    )
    inferiority_ratio: float = Field(
        default=2.0,
        gt=1,
        le=100,
        description="Promotion before the horizon needs proof that the candidate's rate is below this multiple of the "
        "stable version's.",
    )
    interval: Duration = Field(default=timedelta(seconds=15), description="Time between looks.")
    horizon: Duration = Field(default=timedelta(minutes=30), description="Length of the rollout: the sum of its steps.")
    warm_up: Duration = Field(default=timedelta(0), description="Looks this early in the rollout are not compared.")
    on_inconclusive: Inconclusive = Field(
        default=Inconclusive.PROMOTE, description="What to do at the horizon without a verdict."
    )
    metrics: tuple[Metric, ...] = Field(min_length=1, max_length=16, description="What is watched.")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return _refuse_unknown_fields(cls, given)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        names = [metric.name for metric in self.metrics]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"metrics: the name {twice[0]!r} stands more than once; give each metric its own name")
        if self.interval <= timedelta(0):
            raise ValueError(f"interval must be longer than zero, found {format_duration(self.interval)}")
        if self.horizon < self.interval:
            raise ValueError(
                f"horizon ({format_duration(self.horizon)}) is shorter than interval "
                f"({format_duration(self.interval)}), which leaves no look; make the horizon longer"
            )
        return self

    @property
    def planned_looks(self) -> int:
        """How many looks fit into the horizon."""
        return max(1, round(self.horizon / self.interval))

    def share(self, metric: Metric) -> float:
        """The part of the false rollback probability that a metric may use."""
        return self.false_rollback_probability * metric.weight / sum(other.weight for other in self.metrics)

    @property
    def fingerprint(self) -> str:
        """Names what an analysis depends on: everything but onInconclusive, and the layout of its state."""
        return _fingerprint(self)


_STATE_LAYOUT = 6
"""Counts up when the state of an analysis is laid out anew, so that an older one is not taken for one of now."""


@lru_cache(maxsize=256)
def _fingerprint(policy: Policy) -> str:
    text = policy.model_dump_json(exclude={"on_inconclusive"})
    return hashlib.sha256(f"{_STATE_LAYOUT} {text}".encode()).hexdigest()[:16]
