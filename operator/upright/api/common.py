"""Types that the three kinds share: durations, conditions, names, pod pieces."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "upright.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Resource(BaseModel):
    """Base of every piece of a resource: camelCase outside, snake_case inside, immutable.

    Unknown fields are ignored: an object may have been written for a newer version of Upright, and what a user
    mistypes is refused by the API server before it comes here.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: object) -> timedelta:
    """Read a duration written as Go writes it, for instance `1h30m` or `250ms`.

    Raises ValueError for anything else, days included.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(_DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m or 1h30m")
    try:
        return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION.findall(text)))
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than {timedelta.max.days} days") from error


def format_duration(duration: timedelta) -> str:
    """Write a duration in whole units, largest first: `1h30m`; below a second in milliseconds."""
    milliseconds = round(duration / timedelta(milliseconds=1))
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "maxLength": 32}),
]

DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Text = Annotated[str, Field(max_length=1024)]
AnyObject = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
AnyList = Annotated[
    list[dict[str, Any]],
    WithJsonSchema(
        {
            "type": "array",
            "maxItems": 256,
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        }
    ),
]


class Condition(Resource):
    """One condition, as kstatus and `kubectl wait` read it."""

    type: str = Field(description="What the condition is about.", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="One word in CamelCase, for programs.", max_length=64)
    message: str = Field(description="A sentence, for people.", max_length=1024)
    observed_generation: int | None = Field(None, description="The generation of the spec that this is about.")
    last_transition_time: datetime | None = Field(None, description="When the condition's status last changed.")


Conditions = Annotated[
    list[Condition],
    Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class Problem(Resource):
    """What the model is for and what it may not do; copied into the versions."""

    goal: Text = Field("", description="What the model is for, in a sentence.")
    owners: list[Text] = Field([], max_length=16, description="Who answers for it.")
    constraints: list[Text] = Field([], max_length=16, description="What it must not do, or must keep to.")
    risk_tier: Literal["Low", "Medium", "High"] = Field("Low", description="How bad a wrong answer is.")


class Metadata(Resource):
    """The part of an object's metadata that decisions read."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: datetime
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
