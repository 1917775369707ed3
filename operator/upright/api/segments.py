"""Groups of users that are watched each by itself (`spec.monitoring.segments`): a version may be fine as a whole, and
fail for some of them.

A metric that is counted by segment is compared as a whole with half of its share of the false rollback probability, and
in each group with an equal part of the other half. The sum of the weighted evidence is an e-process under any
dependence (Wang & Ramdas, arXiv 2009.02824), so segments take nothing from the promise.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from upright.api.common import Resource
from upright.api.names import short_hash
from upright.api.refusals import Refusal, check
from upright.api.schema import Rule, in_cel
from upright.api.serving import OTHER

MOST_COMPARISONS = 40
"""Metrics times groups: each takes its time in a look, and a part of the promise."""


_REFUSED: Sequence[Refusal] = (
    Refusal(
        Rule(
            "has(self.feature) != has(self.label)",
            "exactly one of feature and label must be given: an input of the model, or a label of an exporter's series",
        ),
        lambda segment: (segment.feature is None) != (segment.label is None),
    ),
    Refusal(
        Rule(
            "has(self.values) != has(self.edges)",
            "exactly one of values and edges must be given: the values of groups, or the numbers between them",
        ),
        lambda segment: (segment.values is None) != (segment.edges is None),
    ),
    Refusal(
        Rule("!has(self.edges) || has(self.feature)", "edges are for the numbers of a feature: write values", "edges"),
        lambda segment: segment.edges is None or segment.feature is not None,
    ),
    Refusal(
        Rule(
            f"!has(self.values) || !({in_cel(OTHER)} in self.values)",
            f"{OTHER} is what is in none of the values: remove it",
            "values",
        ),
        lambda segment: OTHER not in (segment.values or ()),
    ),
    Refusal(
        Rule(
            "!has(self.values) || self.values.all(value, self.values.exists_one(other, other == value))",
            "values must differ",
            "values",
        ),
        lambda segment: len(set(segment.values or ())) == len(segment.values or ()),
    ),
    Refusal(
        Rule(
            "!has(self.edges) || (self.edges.isSorted() && "
            "self.edges.all(edge, self.edges.exists_one(other, other == edge)))",
            "edges must rise from each to the next",
            "edges",
        ),
        lambda segment: all(low < high for low, high in pairwise(segment.edges or ())),
    ),
)


class Segment(Resource):
    """One way to tell users, or what they ask, apart."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,30}$",
        max_length=31,
        description="Names it in status, events and alerts; unique among the segments of a Deployment.",
    )
    feature: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="The input of the model by which the pods that Upright serves count their requests. They begin to "
        "with the next revision that goes out. Splits metrics of type ErrorRate without total.",
    )
    label: str | None = Field(
        None,
        pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$",
        max_length=128,
        description="The label of an exporter's series that has the values. Splits metrics of type ErrorRate, "
        "RefusalRate and Ratio with bad and total, which then select among series with it.",
    )
    values: tuple[Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,63}$", max_length=63)], ...] | None = Field(
        None,
        min_length=1,
        max_length=10,
        description=f"The groups, each by its value; of a feature, what has another one, or none, is {OTHER}.",
    )
    edges: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        max_length=9,
        description="Of a feature that is a number: the groups lie below the first of these, from each to below the "
        f"next, and from the last on; what is no number is {OTHER}.",
    )

    @model_validator(mode="after")
    def _is_not_refused(self, info: ValidationInfo) -> Self:
        check(_REFUSED, self, info, f"segment {self.name!r}: ")
        return self

    @property
    def groups(self) -> Sequence[str]:
        """The names of its values, but for OTHER."""
        if self.edges is None:
            return self.values or ()
        written = [f"{edge:.15g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(written)]
        return [f"under {written[0]}", *between, f"{written[-1]} or more"]

    @property
    def counted_as(self) -> str:
        """What pods call it that count by it: those that were told of other groups under this name call theirs
        otherwise, and OTHER is not the same users.
        """
        return f"{self.name}-{short_hash([self.feature, self.values, self.edges])}"

    @property
    def parts(self) -> Sequence[str]:
        """The groups that are compared. Whether series without a label, or with other values of it, are the same users
        of both versions is not known; what pods count is.
        """
        return self.groups if self.feature is None else [*self.groups, OTHER]

    rules: ClassVar[Sequence[Rule]] = tuple(refused.rule for refused in _REFUSED)


_SPLITS = (
    "(metric.boundary == 'Mixture' && has(segment.label) == has(metric.total) && "
    "(metric.type == 'ErrorRate' || (has(segment.label) && metric.type in ['RefusalRate', 'Ratio'])))"
)
SPLITS_NOTHING = (
    "each segment must split a metric with boundary Mixture: by feature one of type ErrorRate without total, by label "
    "one of type ErrorRate, RefusalRate or Ratio with bad and total"
)
TOO_MANY = f"segments make too many comparisons: metrics times groups, {OTHER} among them, may be {MOST_COMPARISONS}"
SEGMENT_RULES: Sequence[Rule] = (
    Rule(
        f"!has(self.segments) || self.segments.all(segment, self.metrics.exists(metric, {_SPLITS}))",
        SPLITS_NOTHING,
        "segments",
    ),
    Rule(
        f"!has(self.segments) || self.segments.map(segment, self.metrics.filter(metric, {_SPLITS}).size() * "
        "((has(segment.values) ? segment.values.size() : has(segment.edges) ? segment.edges.size() + 1 : 0) + "
        "(has(segment.feature) ? 1 : 0))).sum() "
        f"<= {MOST_COMPARISONS}",
        TOO_MANY,
        "segments",
    ),
)
"""Of what a Deployment watches; `Policy` refuses the same."""
