"""How much worse than the stable version is still healthy: two margins, in parts and not in percent.

A margin that can hardly be crossed switches its metric off without a word, and is what somebody writes who means
percent: `absolute: 1` for a point, `relative: 25` for a quarter. Both are refused, with what was meant. Where they were
stored before that, they are read, up to the bounds of then.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from upright.api.common import Resource
from upright.api.refusals import Refusal, check
from upright.api.schema import Rule

_ABSOLUTE = Refusal(
    Rule("self < 1.0", "must be less than 1, which is 100 points of a rate: 0.01 is one point"),
    lambda margin: margin < 1,
    young=True,
)
_RELATIVE = Refusal(
    Rule("self < 10.0", "must be less than 10, which is eleven times as much: 0.25 is 25 %"),
    lambda margin: margin < 10,
    young=True,
)


def _checked(refusal: Refusal, margin: float, info: ValidationInfo) -> float:
    check([refusal], margin, info)
    return margin


def _in_parts(refusal: Refusal) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "minimum": 0, "x-kubernetes-validations": [refusal.rule.manifest()]})


_Relative = Annotated[
    float, Field(ge=0), AfterValidator(partial(_checked, _RELATIVE)), Field(le=100), _in_parts(_RELATIVE)
]
_Absolute = Annotated[
    float, Field(ge=0), AfterValidator(partial(_checked, _ABSOLUTE)), Field(le=1), _in_parts(_ABSOLUTE)
]


class Tolerance(Resource):
    """How much worse than the stable version a candidate may be and still count as healthy.

    A candidate is healthy while it keeps within at least one of the two margins. Without any, those of the metric's
    type hold. One that is left out beside the other is 0 in a policy file, and that of the type in a Deployment.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    relative: _Relative | None = Field(
        None, description="Tolerated relative increase of the rate: 0.25 lets 1.0 % become 1.25 %."
    )
    absolute: _Absolute | None = Field(
        None,
        description="Tolerated increase of the rate itself: 0.001 lets 0.3 % become 0.4 %, and 0.01 is one point. "
        "For a Mean it is measured in standard deviations of one value.",
    )

    @property
    def doubts(self) -> Sequence[str]:
        """For what it would be refused, were it written now."""
        margins = (("relative", self.relative, _RELATIVE), ("absolute", self.absolute, _ABSOLUTE))
        return [
            f"tolerance.{name} {refusal.rule.message}"
            for name, margin, refusal in margins
            if margin is not None and not refusal.holds(margin)
        ]
