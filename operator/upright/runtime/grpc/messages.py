"""The messages of the Open Inference Protocol over gRPC, by name: `MESSAGES["ModelInferRequest"]`.

Defined here in a pool of their own: a client library of KServe's or Triton's, which a model's own code may import,
defines messages of the same names, and two definitions in one pool are an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
"""Each takes a message METHODRequest and gives a METHODResponse."""

_Field = tuple[str, int, str]
"""Name, number, type: a scalar type of protobuf, or a message's name; `*` before it: any number of them; `map`: of
parameters by name."""

_MODEL: Sequence[_Field] = (("name", 1, "string"), ("version", 2, "string"))
_TENSOR: Sequence[_Field] = (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "*int64"))
_VALUES: Sequence[_Field] = (*_TENSOR, ("parameters", 4, "map"), ("contents", 5, "InferTensorContents"))
_INFER: Sequence[_Field] = (
    ("model_name", 1, "string"),
    ("model_version", 2, "string"),
    ("id", 3, "string"),
    ("parameters", 4, "map"),
)

_FIELDS: Mapping[str, Sequence[_Field]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (*_MODEL, ("extensions", 3, "*string")),
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "*string"),
        ("platform", 3, "string"),
        ("inputs", 4, "*ModelMetadataResponse.TensorMetadata"),
        ("outputs", 5, "*ModelMetadataResponse.TensorMetadata"),
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": (
        *_INFER,
        ("inputs", 5, "*ModelInferRequest.InferInputTensor"),
        ("outputs", 6, "*ModelInferRequest.InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "*bytes"),
    ),
    "ModelInferRequest.InferInputTensor": _VALUES,
    "ModelInferRequest.InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "map")),
    "ModelInferResponse": (
        *_INFER,
        ("outputs", 5, "*ModelInferResponse.InferOutputTensor"),
        ("raw_output_contents", 6, "*bytes"),
    ),
    "ModelInferResponse.InferOutputTensor": _VALUES,
    "InferParameter": (
        ("bool_param", 1, "bool"),
        ("int64_param", 2, "int64"),
        ("string_param", 3, "string"),
        ("double_param", 4, "double"),
        ("uint64_param", 5, "uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "*bool"),
        ("int_contents", 2, "*int32"),
        ("int64_contents", 3, "*int64"),
        ("uint_contents", 4, "*uint32"),
        ("uint64_contents", 5, "*uint64"),
        ("fp32_contents", 6, "*float"),
        ("fp64_contents", 7, "*double"),
        ("bytes_contents", 8, "*bytes"),
    ),
}
_CHOICES = {"InferParameter": "parameter_choice"}
"""Of messages of which one field at most is given."""


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="upright/open_inference.proto", package=PACKAGE, syntax="proto3")
    described: dict[str, DescriptorProto] = {}
    for name, fields in _FIELDS.items():
        outer, _, own = name.rpartition(".")
        message = described[name] = (described[outer].nested_type if outer else file.message_type).add(name=own)
        if name in _CHOICES:
            message.oneof_decl.add(name=_CHOICES[name])
        for field, number, kind in fields:
            described_field = _field(field, number, _parameters_of(message, name) if kind == "map" else kind)
            if name in _CHOICES:
                described_field.oneof_index = 0
            message.field.append(described_field)
    service = file.service.add(name=SERVICE)
    for method in METHODS:
        takes, gives = f".{PACKAGE}.{method}Request", f".{PACKAGE}.{method}Response"
        service.method.add(name=method, input_type=takes, output_type=gives)
    return file


def _field(name: str, number: int, type: str) -> FieldDescriptorProto:
    scalar = FieldDescriptorProto.Type.DESCRIPTOR.values_by_name.get(f"TYPE_{type.lstrip('*').upper()}")
    return FieldDescriptorProto(
        name=name,
        number=number,
        label="LABEL_REPEATED" if type.startswith("*") else "LABEL_OPTIONAL",
        **(
            {"type": scalar.number}
            if scalar
            else {"type": "TYPE_MESSAGE", "type_name": f".{PACKAGE}.{type.lstrip('*')}"}
        ),
    )


def _parameters_of(message: DescriptorProto, name: str) -> str:
    """What protobuf makes of a map: entries of a message of their own."""
    entry = message.nested_type.add(name="ParametersEntry")
    entry.field.extend((_field("key", 1, "string"), _field("value", 2, "InferParameter")))
    entry.options.map_entry = True
    return f"*{name}.ParametersEntry"


POOL = descriptor_pool.DescriptorPool()
"""What defines them; for reflection."""
POOL.AddSerializedFile(_file().SerializeToString())

MESSAGES: Mapping[str, Any] = {
    name: message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS
}
