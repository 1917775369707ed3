"""The routes of one model as OpenAPI 3.1 describes them, with its columns, outputs and an example."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from upright.api.artifact import Tensor
from upright.api.serving import VERSION_HEADER
from upright.runtime.artifact import ServedModel
from upright.runtime.batch import is_date, is_matrix, width_of
from upright.runtime.predictor import FURTHER

Schema = Mapping[str, Any]

ERRORS: Mapping[int, str] = {
    400: "The request is not what the model takes: the sentence names the field, what was expected and what was found.",
    404: "This pod serves another model or version.",
    408: "The body has not come within a minute.",
    413: "The body is larger than 8 MiB, as it is sent or decompressed: send fewer rows at once.",
    415: "The body is compressed otherwise than by gzip or deflate.",
    500: "The model failed on this request.",
    503: "More waits already than may: try again after as many seconds as Retry-After says.",
    504: "The model has not answered in time.",
}
"""What the statuses of refusals and errors mean."""

TIME = "a date or time in ISO 8601"

_JSON_TYPES = {"BOOL": "boolean", "BYTES": "string"}
_ENUMERATED = 100


def document(served: ServedModel) -> dict[str, Any]:
    """Of the model that a pod serves."""
    v1, v2 = f"/v1/models/{served.model}", f"/v2/models/{served.model}"
    versioned = f"{v2}/versions/{served.version}"
    infer = _asked(
        "Predictions for tensors (Open Inference Protocol V2)", "InferRequest", infer_example(served), "InferAnswer"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": served.model,
            "version": served.version,
            "description": f"A model of {served.platform}. Every answer names the version in the header "
            f"{VERSION_HEADER}. Bodies may be compressed by gzip or deflate.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            f"{v1}:predict": {
                "post": _asked(
                    "Predictions for rows (KServe V1)", "PredictRequest", predict_example(served), "PredictAnswer"
                )
            },
            f"{v2}/infer": {"post": infer},
            f"{versioned}/infer": {"post": infer},
            "/v1/models": {"get": _told("The models of this pod")},
            v1: {"get": _told("Whether the model is ready")},
            "/v2": {"get": _told("The server and the extensions of the protocol that it has")},
            **{path: {"get": _told("Inputs and outputs of the model")} for path in (v2, versioned)},
            **{f"{path}/ready": {"get": _told("Whether the model is ready")} for path in (v2, versioned)},
            "/v2/repository/index": {
                verb: _told("The model with its state, READY or UNAVAILABLE") for verb in ("get", "post")
            },
            "/v2/health/live": {"get": _told("Whether this process is of any use")},
            "/v2/health/ready": {"get": _told("Whether requests should be sent here")},
        },
        "components": {
            "schemas": {
                "Row": _row(served),
                "PredictRequest": _predict_request(served),
                "PredictAnswer": _predict_answer(served),
                "InferRequest": _infer_request(served),
                "InferAnswer": _infer_answer(served),
                "Error": _object({"error": {"type": "string"}}),
            },
            "responses": {f"E{status}": _refusal(status) for status in ERRORS},
        },
    }


def predict_example(served: ServedModel) -> Mapping[str, Any] | None:
    """The body of a V1 request that the model was seen to answer; None where none is known."""
    if served.example is None:
        return None
    if is_matrix(served.predictor.signature):
        return {"instances": [list(served.example)]}
    names = [tensor.name for tensor in served.predictor.signature.inputs]
    return {"instances": [dict(zip(names, served.example, strict=True))]}


def infer_example(served: ServedModel) -> Mapping[str, Any] | None:
    """The same as a V2 request."""
    signature, example = served.predictor.signature, served.example
    if example is None:
        return None
    if is_matrix(signature):
        tensor = signature.inputs[0]
        return {"inputs": [_given(tensor, [1, len(example)], example)]}
    return {
        "inputs": [_given(tensor, [1], [value]) for tensor, value in zip(signature.inputs, example, strict=True)],
    }


def value_of(tensor: Tensor) -> Schema:
    """One value of an input or output."""
    types = [_JSON_TYPES.get(tensor.type, "number")] if tensor.type else ["boolean", "number", "string"]
    if tensor.missing:
        types.append("null")
    told = {"description": TIME} if is_date(tensor) else {}
    return {"type": types[0] if len(types) == 1 else types, **told}


def _given(tensor: Tensor, shape: Sequence[int], values: Sequence[Any]) -> Mapping[str, Any]:
    kinds = {bool: "BOOL", str: "BYTES"}
    datatype = tensor.type or kinds.get(type(values[0]), "FP64")
    return {"name": tensor.name, "shape": list(shape), "datatype": datatype, "data": list(values)}


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None, **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        **more,
    }


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _row(served: ServedModel) -> Schema:
    signature = served.predictor.signature
    width = width_of(signature)
    if is_matrix(signature):
        return _array(value_of(signature.inputs[0]), minItems=width, maxItems=width)
    columns = {tensor.name: value_of(tensor) for tensor in signature.inputs}
    required = [tensor.name for tensor in signature.inputs if not tensor.missing]
    return {
        "oneOf": [
            _object(columns, required, additionalProperties=False),
            {"type": "array", "prefixItems": list(columns.values()), "minItems": width, "maxItems": width},
        ]
    }


def _predict_request(served: ServedModel) -> Schema:
    methods = [output if output in FURTHER else "predict" for output in served.outputs]
    instances = _array({"$ref": "#/components/schemas/Row"}, minItems=1)
    return _object({"instances": instances, "method": {"enum": methods, "default": methods[0]}}, ["instances"])


def _predict_answer(served: ServedModel) -> Schema:
    answers = [_array(_answer(tensor, served)) for tensor in _outputs(served)]
    return _object({"predictions": answers[0] if len(answers) == 1 else {"anyOf": answers}})


def _infer_request(served: ServedModel) -> Schema:
    signature = served.predictor.signature
    shape = _array({"type": "integer", "minimum": 1})
    tensor = _object(
        {
            "name": {"enum": [one.name for one in signature.inputs]},
            "shape": shape,
            "datatype": {"type": "string"},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
        ["name", "shape", "datatype"],
    )
    wanted = _object({"name": {"enum": list(served.outputs)}, "parameters": {"type": "object"}}, ["name"])
    return _object(
        {
            "id": {"type": "string"},
            "inputs": _array(tensor, minItems=1),
            "outputs": _array(wanted),
            "parameters": {"type": "object"},
        },
        ["inputs"],
    )


def _infer_answer(served: ServedModel) -> Schema:
    outputs = [
        _object(
            {
                "name": {"const": tensor.name},
                "shape": _array({"type": "integer"}),
                "datatype": {"const": tensor.type} if tensor.type else {"type": "string"},
                "data": _array({**value_of(tensor)}),
            },
            ["name", "shape", "datatype"],
        )
        for tensor in _outputs(served)
    ]
    return _object(
        {
            "model_name": {"const": served.model},
            "model_version": {"const": served.version},
            "id": {"type": "string"},
            "outputs": _array({"anyOf": outputs}),
        },
        ["model_name", "model_version", "outputs"],
    )


def _answer(tensor: Tensor, served: ServedModel) -> Schema:
    """What the model answers to a row."""
    classes = served.predictor.classes
    value = value_of(tensor)
    if tensor.name not in FURTHER and classes and tensor.shape == (-1,) and len(classes) <= _ENUMERATED:
        value = {"enum": classes}
    if len(tensor.shape) == 1:
        return value
    width = prod(tensor.shape[1:])
    ordered = served.predictor.classes_of(tensor.name)
    of = {"description": f"Of the classes {ordered}, in this order"[:4096]} if ordered else {}
    return _array(value, minItems=width, maxItems=width, **of)


def _outputs(served: ServedModel) -> Sequence[Tensor]:
    return served.predictor.signature.outputs or [Tensor(name=name) for name in served.outputs]


def _asked(summary: str, body: str, example: Mapping[str, Any] | None, answer: str) -> Mapping[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{body}"}, **({"example": example} if example else {})}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {
                "description": "The model's answer",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}},
            },
            **{str(status): {"$ref": f"#/components/responses/E{status}"} for status in ERRORS},
        },
    }


def _told(summary: str) -> Mapping[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": {}}}}
    return {"summary": summary, "responses": {"200": answer}}


def _refusal(status: int) -> Mapping[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": ERRORS[status], "content": content}
