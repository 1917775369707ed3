"""Types that the three kinds share: durations, conditions, names, pod pieces."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from upright.api.schema import DURATION, DURATION_RULES, LONGEST, Rule, in_cel

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
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: object) -> timedelta:
    """Read a duration written as Go writes it, for instance `1h30m` or `250ms`.

    One that is longer than the schema takes counts as the longest: it was stored before there was one.

    Raises ValueError for anything else, days included.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(DURATION, text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m or 1h30m")
    return timedelta(seconds=min(_seconds(text), _seconds(LONGEST)))


def format_duration(duration: timedelta) -> str:
    """Write a duration in whole units, largest first: `1h30m`; below a second in milliseconds. None is negative."""
    milliseconds = max(0, round(duration / timedelta(milliseconds=1)))
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _seconds(text: str) -> float:
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION.findall(text))


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [rule.manifest() for rule in DURATION_RULES],
        }
    ),
]

DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Text = Annotated[str, Field(max_length=1024)]
ASKED = 1024
Asked = Annotated[str, AfterValidator(lambda value: value[:ASKED])]
"""As much as a status keeps of an annotation by which somebody asks for something: it may have 256 KiB."""
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
    reason_since: datetime | None = Field(
        None, description="Since when it has held for this reason, and been about the same."
    )
    about: str | None = Field(None, description="The name of what it is about, if the reason leaves that open.")

    @property
    def since(self) -> datetime | None:
        """Since when it says what it does; an older operator has recorded no more than when its status changed."""
        return self.reason_since or self.last_transition_time


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


Labels = Annotated[
    dict[str, str],
    WithJsonSchema(
        {"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 63}}
    ),
]
Annotations = Annotated[
    dict[str, str],
    WithJsonSchema(
        {"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 4096}}
    ),
]


_PART = "([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
_NAME = f"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_PART}$"
"""Of labels and annotations, as the API server has them."""


class AddedMetadata(Resource):
    """Labels and annotations on what Upright makes: queues, meshes, autoscalers and cost reports act on them."""

    labels: Labels = Field(
        {},
        description="Labels. Reserved: upright.dev/*, app.kubernetes.io/managed-by and part-of, and those by which "
        "Kubernetes' own controllers know their pods.",
    )
    annotations: Annotations = Field({}, description="Annotations. Reserved: upright.dev/*.")

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "!has(self.labels) || self.labels.all(label, !label.startsWith('upright.dev/') && "
            "!label.startsWith('batch.kubernetes.io/') && !(label in ['app.kubernetes.io/managed-by', "
            "'app.kubernetes.io/part-of', 'job-name', 'controller-uid', 'pod-template-hash']))",
            "labels has one that is set by Upright or by Kubernetes: upright.dev/*, batch.kubernetes.io/*, "
            "app.kubernetes.io/managed-by, app.kubernetes.io/part-of, job-name, controller-uid or pod-template-hash. "
            "Remove it",
            field="labels",
        ),
        Rule(
            "!has(self.annotations) || self.annotations.all(annotation, !annotation.startsWith('upright.dev/'))",
            "annotations has one of upright.dev/, which are set by Upright: remove it",
            field="annotations",
        ),
        Rule(
            f"!has(self.labels) || self.labels.all(label, label.matches({in_cel(_NAME)}) && "
            f"self.labels[label].matches({in_cel(f'^({_PART})?$')}))",
            "labels has one that no object can have: a name is letters, digits, '-', '_' and '.', perhaps after a "
            "domain and '/', and so is a value, of at most 63 characters",
            field="labels",
        ),
        Rule(
            "!has(self.annotations) || "
            f"self.annotations.all(annotation, annotation.lowerAscii().matches({in_cel(_NAME)}))",
            "annotations has one that no object can have: a name is letters, digits, '-', '_' and '.', perhaps after a "
            "domain and '/'",
            field="annotations",
        ),
    )


class Metadata(Resource):
    """The part of an object's metadata that decisions read."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: datetime
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}

    def asks(self, annotation: str) -> str | None:
        """What an annotation asks for: as much of its value as a status keeps."""
        value = self.annotations.get(annotation)
        return None if value is None else value[:ASKED]
