"""How much worse than the stable version is still healthy: two margins, in parts and not in percent.

A margin that can hardly be crossed switches its metric off without a word, and is what somebody writes who means
percent: `absolute: 1` for a point, `relative: 25` for a quarter. Both are refused, with what was meant.
"""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from upright.api.common import Resource
from upright.api.schema import Rule

_ABSOLUTE = Rule("self < 1.0", "must be less than 1, which is 100 points of a rate: 0.01 is one point")
_RELATIVE = Rule("self < 10.0", "must be less than 10, which is eleven times as much: 0.25 is 25 %")


def _absolute(margin: float) -> float:
    if margin >= 1:
        raise ValueError(_ABSOLUTE.message)
    return margin


def _relative(margin: float) -> float:
    if margin >= 10:
        raise ValueError(_RELATIVE.message)
    return margin


def _in_parts(rule: Rule) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "minimum": 0, "x-kubernetes-validations": [rule.manifest()]})


class Tolerance(Resource):
    """How much worse than the stable version a candidate may be and still count as healthy.

    A candidate is healthy while it keeps within at least one of the two margins. Without any, those of the metric's
    type hold. One that is left out beside the other is 0 in a policy file, and that of the type in a Deployment.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    relative: Annotated[float, Field(ge=0), AfterValidator(_relative), _in_parts(_RELATIVE)] | None = Field(
        None, description="Tolerated relative increase of the rate: 0.25 lets 1.0 % become 1.25 %."
    )
    absolute: Annotated[float, Field(ge=0), AfterValidator(_absolute), _in_parts(_ABSOLUTE)] | None = Field(
        None,
        description="Tolerated increase of the rate itself: 0.001 lets 0.3 % become 0.4 %, and 0.01 is one point. "
        "For a Mean it is measured in standard deviations of one value.",
    )
