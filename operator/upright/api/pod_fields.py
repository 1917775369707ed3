"""What users add to the containers and pods that Upright makes, and what of them is reserved.

These fields are Kubernetes' own and grow with it, so unknown ones are kept. Only what guards the platform has a type
here: without one, no rule could see it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema

from upright.api.quantities import EMPTY_DIR, POD_QUANTITIES, QUANTITIES, RESOURCES

RESERVED_VARIABLES = "UPRIGHT_"
"""Environment variables with this prefix are what containers are told by the operator."""

_Schema = dict[str, Any]
_PRESERVED: _Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _rule(rule: str, message: str) -> _Schema:
    return {"rule": rule, "message": message}


_VARIABLES: _Schema = {
    "type": "array",
    "maxItems": 256,
    "items": {
        **_PRESERVED,
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string",
                "description": "The variable. Names that start with UPRIGHT_ are reserved.",
                "maxLength": 1024,
                "x-kubernetes-validations": [
                    _rule(
                        f"!self.startsWith('{RESERVED_VARIABLES}')",
                        f"variables that start with {RESERVED_VARIABLES} are set by Upright: choose another name",
                    )
                ],
            }
        },
    },
}

CREDENTIALS = ("serviceAccountToken", "podCertificate")
"""Sources of a projected volume by which a pod gets what `automountServiceAccountToken` would give it: the token of any
ServiceAccount of the namespace, or a certificate in the pod's own name."""
_PROJECTED: _Schema = {
    **_PRESERVED,
    "nullable": True,
    "description": "As in core/v1 ProjectedVolumeSource. Reserved: "
    f"{' and '.join(CREDENTIALS)}, the credentials of a ServiceAccount.",
    "properties": {
        "sources": {
            "type": "array",
            "description": "What is projected.",
            "nullable": True,
            "maxItems": 64,
            "items": {
                **_PRESERVED,
                "properties": {
                    source: {
                        **_PRESERVED,
                        "nullable": True,
                        "description": "Reserved: a model has no business with the API server.",
                    }
                    for source in CREDENTIALS
                },
                "x-kubernetes-validations": [
                    _rule(
                        " && ".join(f"!has(self.{source})" for source in CREDENTIALS),
                        "pods of Upright get no credentials of a ServiceAccount: "
                        f"remove {' and '.join(CREDENTIALS)}, or give what is needed in a Secret",
                    )
                ],
            },
        }
    },
}

Environment = Annotated[list[dict[str, Any]], WithJsonSchema(_VARIABLES)]
"""Environment variables of a container (core/v1 EnvVar) but for those with RESERVED_VARIABLES."""


def _pod(volumes: str, containers: _Schema) -> _Schema:
    """The schema of a pod's further fields. `volumes`: a pattern of the names of our own."""
    host = {
        field: {
            "type": "boolean",
            "description": "Reserved: the pod is not the node.",
            "x-kubernetes-validations": [_rule("!self", f"{field} is not for pods of Upright: remove it")],
        }
        for field in ("hostNetwork", "hostPID", "hostIPC")
    }
    return {
        **_PRESERVED,
        "properties": {
            **host,
            "automountServiceAccountToken": {
                "type": "boolean",
                "description": "Reserved: a model has no business with the API server.",
                "x-kubernetes-validations": [
                    _rule("!self", "pods of Upright get no credentials of the API server: remove it")
                ],
            },
            "volumes": {
                "type": "array",
                "description": "Further volumes (core/v1 Volume). The names of Upright's own are reserved.",
                "maxItems": 256,
                "items": {
                    **_PRESERVED,
                    "required": ["name"],
                    "properties": {
                        "name": {
                            "type": "string",
                            "description": "The volume.",
                            "maxLength": 63,
                            "x-kubernetes-validations": [
                                _rule(
                                    f"!self.matches('{volumes}')", "a volume of Upright's has this name: choose another"
                                )
                            ],
                        },
                        "emptyDir": {**EMPTY_DIR, "description": "As in core/v1 EmptyDirVolumeSource."},
                        "projected": _PROJECTED,
                    },
                },
            },
            "resources": {**RESOURCES, "nullable": True, "description": "Requests and limits of the whole pod."},
            "overhead": {**QUANTITIES, "description": "As in core/v1 PodSpec: what the pod costs beside containers."},
            "containers": {
                "description": "Further containers (core/v1 Container), or more of Upright's own.",
                **containers,
            },
            "initContainers": {
                "description": "Further init containers (core/v1 Container), which run before Upright's own; "
                "or more of these.",
                **containers,
            },
        },
    }


def _containers(*rules: _Schema) -> _Schema:
    """The schema of a list of containers, with rules for those that are ours."""
    objects: _Schema = {"type": "array", "maxItems": 256, "items": _PRESERVED}
    words: _Schema = {"type": "array", "maxItems": 256, "items": {"type": "string", "maxLength": 65536}}
    fields: dict[str, _Schema] = {
        "image": {"type": "string", "maxLength": 512},
        "command": words,
        "args": words,
        "env": _VARIABLES,
        "envFrom": objects,
        "volumeMounts": objects,
        "securityContext": _PRESERVED,
        "resources": {**RESOURCES, "nullable": True},
        "restartPolicy": {"type": "string", "maxLength": 63},
        "restartPolicyRules": objects,
    }
    return {
        "type": "array",
        "maxItems": 32,
        "items": {
            **_PRESERVED,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": "The container.", "maxLength": 63},
                **{
                    name: {**field, "description": f"As in core/v1 Container: {name}."}
                    for name, field in fields.items()
                },
            },
            "x-kubernetes-validations": list(rules),
        },
    }


def _not_its_security(container: str) -> _Schema:
    return _rule(
        f"self.name != '{container}' || !has(self.securityContext)",
        f"the securityContext of container {container} is Upright's: remove it, or set what is meant for the whole pod",
    )


def _none_of(fields: Sequence[str]) -> str:
    return f"!({' || '.join(f'has(self.{field})' for field in fields)})"


PodOverrides = Annotated[
    dict[str, Any], POD_QUANTITIES, WithJsonSchema(_pod("^(tmp|store)$", _containers(_not_its_security("serve"))))
]
"""Further fields of a serving pod's spec (core/v1 PodSpec)."""

_IN_PLACE = ("restartPolicy", "restartPolicyRules")
_CLOSED = ("image", "command", "args", "env", "envFrom", "volumeMounts", "securityContext", *_IN_PLACE)

TrainingPodOverrides = Annotated[
    dict[str, Any],
    POD_QUANTITIES,
    WithJsonSchema(
        _pod(
            "^(tmp|work|output|parameters|store|code|data-[0-9]+)$",
            _containers(
                _not_its_security("train"),
                _rule(
                    f"self.name != 'train' || {_none_of(_IN_PLACE)}",
                    "restartPolicy and restartPolicyRules of container train are Upright's: each attempt is a pod of "
                    "its own, as many as spec.retries allows; remove them",
                ),
                *(
                    _rule(
                        f"self.name != '{container}' || {_none_of(_CLOSED)}",
                        f"of container {container} only the resources can be set: it is Upright's own",
                    )
                    for container in ("data", "publish")
                ),
            ),
        )
    ),
]
"""Further fields of a training pod's spec (core/v1 PodSpec)."""
