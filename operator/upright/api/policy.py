"""What one rollout promises, watches, and how long it takes: what a policy file of `upright backtest` says, and a
Deployment in spec.monitoring and spec.rollout.
"""

import hashlib
from datetime import timedelta
from functools import lru_cache, partial
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from upright.api.common import Duration, format_duration
from upright.api.monitoring import Inconclusive, Metric, Promise
from upright.api.schema import no_such_field
from upright.api.segments import MOST_COMPARISONS, SPLITS_NOTHING, TOO_MANY, Segment
from upright.api.tolerance import Tolerance


def _known(model: type[BaseModel], given: Any) -> Any:
    """What is given, if it has no field but the model's. Raises ValueError: nobody else refuses what is mistyped."""
    if not isinstance(given, dict):
        return given
    known = {field.alias or name for name, field in model.model_fields.items()}
    unknown = given.keys() - known - model.model_fields.keys()
    if unknown:
        raise ValueError(no_such_field(model.__name__, unknown, known))
    if model is Metric and "tolerance" in given:
        _known(Tolerance, given["tolerance"])
    return given


class Policy(Promise):
    """What one rollout promises and watches, and how long it takes: what `upright backtest` reads, and what a
    Deployment says in spec.monitoring and spec.rollout.
    """

    metrics: tuple[Annotated[Metric, BeforeValidator(partial(_known, Metric))], ...] = Field(
        min_length=1, max_length=16
    )
    segments: tuple[Annotated[Segment, BeforeValidator(partial(_known, Segment))], ...] = Field(
        default=(), max_length=8
    )
    horizon: Duration = Field(default=timedelta(minutes=30), description="Length of the rollout: the sum of its steps.")
    on_inconclusive: Inconclusive = Field(
        default=Inconclusive.PROMOTE, description="What to do at the horizon without a verdict."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_known_fields(cls, given: Any) -> Any:
        return _known(cls, given)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for field, named in (("metrics", self.metrics), ("segments", self.segments)):
            names = [one.name for one in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{field}: the name {twice[0]!r} stands more than once; give each its own name")
        parts = [
            sum(len(segment.parts) for metric in self.metrics if metric.is_split_by(segment))
            for segment in self.segments
        ]
        if not all(parts):
            raise ValueError(f"segments: {SPLITS_NOTHING}")
        if sum(parts) > MOST_COMPARISONS:
            raise ValueError(f"segments: {TOO_MANY}")
        if self.horizon < self.interval:
            raise ValueError(
                f"horizon ({format_duration(self.horizon)}) is shorter than interval "
                f"({format_duration(self.interval)}), which leaves no look; make the horizon longer"
            )
        if self.warm_up >= self.horizon:
            raise ValueError(
                f"warmUp ({format_duration(self.warm_up)}) must be shorter than horizon "
                f"({format_duration(self.horizon)}), or nothing would be compared"
            )
        return self

    @property
    def planned_looks(self) -> int:
        """How many intervals fit into the horizon."""
        return max(1, round(self.horizon / self.interval))

    @property
    def fingerprint(self) -> str:
        """Names what an analysis depends on: everything but onInconclusive, and the layout of its state."""
        return _fingerprint(self)


_STATE_LAYOUT = 10
"""Counts up when the state of an analysis is laid out anew, so that an older one is not taken for one of now."""


@lru_cache(maxsize=256)
def _fingerprint(policy: Policy) -> str:
    text = policy.model_dump_json(exclude={"on_inconclusive"})
    return hashlib.sha256(f"{_STATE_LAYOUT} {text}".encode()).hexdigest()[:16]
