"""From pydantic models to CustomResourceDefinitions.

Kubernetes wants a structural schema: no references, every node with a type, defaults in place, and the rules that a
schema cannot say as CEL. Pydantic writes JSON Schema 2020-12. The distance between the two is this module; no
maintained library keeps both defaults and CEL rules.

The API server compares a whole number with a fractional bound as if the bound were whole, too, so that 0 is taken for
at least 0.1, and 1 "should be at most 0" for 0.2: such a bound is said in CEL. So are those of a duration, which is a
string in a schema.

A model may have a class attribute `rules`: CEL rules over one object of it (`self`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

Schema = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A condition in CEL that the API server checks, and the sentence it answers with when it does not hold."""

    rule: str
    message: str
    field: str | None = None
    """The field to blame, as a path below the object."""
    unless_kept: Sequence[str] = ()
    """Fields as paths below the object: while they are as they were stored, it holds. The API server lets stored
    objects break a new rule, but only while the whole object that it stands on is unchanged: one that stands on `spec`
    would keep an autoscaler from writing `spec.replicas`.
    """

    def manifest(self) -> Schema:
        blamed = {"fieldPath": f".{self.field}"} if self.field else {}
        if not self.unless_kept:
            return {"rule": self.rule, "message": self.message, **blamed}
        before = "oldSelf.value()"
        kept = [f"{_has(before, field)} && {_has('self', field)}" for field in self.unless_kept]
        kept += [f"{before}.{field} == self.{field}" for field in self.unless_kept]
        rule = f"({self.rule}) || ({' && '.join(['oldSelf.hasValue()', *kept])})"
        return {"rule": rule, "message": self.message, **blamed, "optionalOldSelf": True}


def _has(whole: str, path: str) -> str:
    """In CEL: all of the path is there."""
    parts = path.split(".")
    return " && ".join(f"has({'.'.join([whole, *parts[: depth + 1]])})" for depth in range(len(parts)))


def in_cel(text: str) -> str:
    """The text as CEL writes one."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
"""Of a duration. Said in CEL alone, in words: a pattern in the schema would be one more answer to the same mistake."""
_IS_DURATION = f"self.matches({in_cel(DURATION)})"
LONGEST = "87600h"
"""Ten years: the longest duration that anybody may write. Longer ones do not fit everywhere where Kubernetes counts
seconds, and CEL cannot even read those of more than 292 years."""
TOO_LONG = (
    "self.matches('([1-9][0-9]{5,}(\\\\.[0-9]+)?h|[1-9][0-9]{7,}(\\\\.[0-9]+)?m([^s]|$)"
    "|[1-9][0-9]{9,}(\\\\.[0-9]+)?s|[1-9][0-9]{12,}(\\\\.[0-9]+)?ms)')"
)
"""In CEL: a part of the duration `self` alone is longer than that. All others can be read, and be added up."""


def readable(path: str) -> str:
    """In CEL: what stands at a path below `self` is a duration that can be read."""
    return f"({_IS_DURATION} && !{TOO_LONG})".replace("self.", f"{path}.")


DURATION_RULES = (
    Rule(_IS_DURATION, "must be a duration such as 90s, 10m or 1h30m"),
    Rule(
        f"!{_IS_DURATION} || (!{TOO_LONG} && duration(self) <= duration('{LONGEST}'))",
        f"must be at most {LONGEST} (ten years)",
    ),
)
"""One answer to one mistake: what is no duration is not also said to be too long, nor is CEL asked to read it."""


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "date"] = "string"
    priority: int = 0

    def manifest(self) -> Schema:
        priority = {"priority": self.priority} if self.priority else {}
        return {"name": self.name, "type": self.type, "jsonPath": self.path, **priority}


@dataclass(frozen=True)
class Definition:
    """All that a CustomResourceDefinition says, but the schema's form."""

    kind: str
    plural: str
    short_names: Sequence[str]
    spec: type[BaseModel]
    status: type[BaseModel] | None
    """None: of what is one's own to write there is nothing to say beside."""
    description: str
    columns: Sequence[Column]
    scale: Mapping[str, str] | None = None
    """The paths of the scale subresource."""
    categories: Sequence[str] = ("mlops",)
    """By which `kubectl get` finds it among others."""
    name_rule: Rule = Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
        "metadata.name must be a DNS label: at most 63 lower-case letters, digits and '-', starting with a letter",
    )


def custom_resource_definition(definition: Definition, group: str, version: str) -> Schema:
    """The CustomResourceDefinition, as JSON."""
    subresources: Schema = {"status": {}} if definition.status else {}
    if definition.scale:
        subresources["scale"] = dict(definition.scale)
    parts = {"spec": definition.spec, "status": definition.status}
    found_by = {"shortNames": list(definition.short_names), "categories": list(definition.categories)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                **{name: words for name, words in found_by.items() if words},
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    **({"subresources": subresources} if subresources else {}),
                    "additionalPrinterColumns": [column.manifest() for column in definition.columns],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": definition.description,
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                **{name: structural_schema(part) for name, part in parts.items() if part},
                            },
                            "x-kubernetes-validations": [definition.name_rule.manifest()],
                        }
                    },
                }
            ],
        },
    }


def structural_schema(model: type[BaseModel]) -> Schema:
    """A model as a structural schema.

    Raises ValueError when the model has a type that a structural schema cannot express.
    """
    properties: Schema = {}
    required = []
    for name, field in model.model_fields.items():
        properties[field.alias or name] = _property(model, name, field)
        if field.is_required():
            required.append(field.alias or name)
    schema: Schema = {"type": "object"}
    if model.__doc__:
        schema["description"] = " ".join(model.__doc__.split())
    schema["properties"] = properties
    if required:
        schema["required"] = required
    rules: Sequence[Rule] = getattr(model, "rules", ())
    if rules:
        schema["x-kubernetes-validations"] = [rule.manifest() for rule in rules]
    return schema


def unknown_fields(schema: Schema, given: Any, place: str) -> Iterator[str]:
    """In sentences what the API server refuses when it reads strictly, as for `kubectl apply`: fields that a structural
    schema does not have. `place`: where what is given stands.
    """
    if isinstance(given, list):
        for number, one in enumerate(given):
            yield from unknown_fields(schema.get("items", {}), one, f"{place}.{number}")
    elif isinstance(given, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        unknown = given.keys() - known.keys()
        if unknown and known and others is None and "x-kubernetes-preserve-unknown-fields" not in schema:
            yield no_such_field(place, unknown, known)
        for name, value in given.items():
            yield from unknown_fields(known.get(name, others or {}), value, f"{place}.{name}")


def no_such_field(what: str, unknown: Iterable[Any], known: Iterable[str]) -> str:
    """The sentence about fields that something does not have."""
    return (
        f"{what} has no field {', '.join(sorted(repr(str(one)) for one in unknown))}; its fields are "
        f"{', '.join(sorted(known))}. Remove the field or correct its name."
    )


def _property(model: type[BaseModel], name: str, field: FieldInfo) -> Schema:
    whole = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    schema = _structural(whole["properties"][field.alias or name], whole.get("$defs", {}))
    if shortest := _shortest(field):
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", ()), shortest.manifest()]
    if not field.is_required() and field.default is not None:
        schema["default"] = {} if isinstance(field.default, BaseModel) else _written(model, name, field)
    return schema


def _shortest(field: FieldInfo) -> Rule | None:
    """The lower bound of a duration. How long one may be at most is part of the type."""
    for bound in field.metadata:
        for name, sign, said in (("ge", ">=", "at least"), ("gt", ">", "longer than")):
            least = getattr(bound, name, None)
            if isinstance(least, timedelta):
                seconds = f"{_decimal(least.total_seconds())}s"
                rule = f"!{_IS_DURATION} || {TOO_LONG} || duration(self) {sign} duration('{seconds}')"
                return Rule(rule, f"{field.alias} must be {said} {seconds}")
    return None


def _written(model: type[BaseModel], name: str, field: FieldInfo) -> Any:
    """The default as a user would write it: a duration as `10m`, a nested model with its own defaults left out."""
    sample = model.model_construct(**{name: field.default})
    written = sample.model_dump(mode="json", by_alias=True, include={name}, exclude_none=True, warnings=False)
    return written[field.alias or name]


class _Generator(GenerateJsonSchema):
    """Keeps the model's class in its schema's place, so that nested models are converted with their rules."""

    def model_schema(self, schema: Any) -> Schema:
        return super().model_schema(schema) | {"x-model": schema["cls"]}


_BOUNDS = {
    "minimum": (">=", "at least"),
    "exclusiveMinimum": (">", "greater than"),
    "maximum": ("<=", "at most"),
    "exclusiveMaximum": ("<", "less than"),
}
_KEPT = frozenset({
    "type", "description", "enum", "pattern", "format", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "required", "nullable", "x-kubernetes-validations",
})  # fmt: skip
_DROPPED = frozenset({"title", "default", "additionalProperties", "items", "properties", "x-model"})


def _structural(node: Schema, definitions: Schema) -> Schema:
    """One node of JSON Schema, references resolved, as a node of a structural schema."""
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _structural({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    if "anyOf" in node:  # only X | None is meant: absent stands for None
        [variant] = [option for option in node["anyOf"] if option.get("type") != "null"]
        return _structural({**variant, **{key: value for key, value in node.items() if key != "anyOf"}}, definitions)
    if "x-model" in node:
        schema = structural_schema(node["x-model"])
        return schema | ({"description": node["description"]} if "description" in node else {})
    if "const" in node:
        node = {"type": "string", "enum": [node["const"]], **{k: v for k, v in node.items() if k != "const"}}
    schema = {key: value for key, value in node.items() if key in _KEPT}
    schema |= _bounds(node)
    unknown = node.keys() - _KEPT - _DROPPED - _BOUNDS.keys()
    if unknown or not node.keys() & {"type", "x-kubernetes-preserve-unknown-fields"}:
        raise ValueError(f"no structural schema for {node}: {sorted(unknown) or 'no type'}")
    if "properties" in node:
        schema["properties"] = {name: _structural(each, definitions) for name, each in node["properties"].items()}
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict) and "x-kubernetes-preserve-unknown-fields" not in node:
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    return schema


def _bounds(node: Schema) -> Schema:
    """The bounds of a number."""
    bounds: Schema = {}
    rules = list(node.get("x-kubernetes-validations", ()))
    for name, (sign, said) in _BOUNDS.items():
        if name not in node:
            continue
        limit, bound = node[name], name.replace("exclusiveM", "m")
        if limit != int(limit):
            rules.append(Rule(f"self {sign} {_decimal(limit)}", f"must be {said} {_decimal(limit)}").manifest())
            continue
        bounds[bound] = limit
        if bound != name:  # a number in JSON Schema, a flag beside the bound in OpenAPI 3.0
            bounds[name] = True
    return bounds | ({"x-kubernetes-validations": rules} if rules else {})


def _decimal(number: float) -> str:
    """As people write it: neither 1e-06 nor 60.0."""
    written = format(Decimal(repr(number)), "f")
    return written.removesuffix(".0")
