"""What a run is made from: which fields of the spec decide its outcome, and what the sources hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upright.api import names
from upright.api.training_job import TrainingJob, TrainingJobSpec
from upright.contract import Index, Manifest
from upright.locations import is_counted

_SOURCE = {"name", "uri", "digest"}
_PROGRAM = {"image", "command", "args", "env", "env_from"}
_SIZES = (("resources",), ("emptyDir", "sizeLimit"), ("ephemeral", "volumeClaimTemplate", "spec", "resources"))
"""Where an init container or a volume of `train.pod` says how much it may have."""


@dataclass(frozen=True)
class Inputs:
    """What a run that starts now would be made from."""

    spec: str
    """Hash of the fields that decide the outcome, as the user wrote them: a new field of ours changes no hash."""
    older: Sequence[str]
    """The same as earlier operators computed it, so that their runs are recognised."""
    settings: str
    """Hash of the fields that decide how a run goes, and not what comes of it: a change of these alone starts none."""
    sources: Mapping[str, str]
    """The digest of what each source that the operator can read holds, by URI."""


def inputs_of(resource: TrainingJob, sources: Mapping[str, str]) -> Inputs:
    """The inputs, from the spec and the digests of its sources."""
    pod, before = _decisive(resource.spec), _before(resource.spec)
    spec = _hash(resource, pod)
    older = (spec if before == pod else _hash(resource, before), _hash_until_0_1(resource.spec))
    return Inputs(spec, older, _settings(resource.spec), sources)


def uris_of(spec: TrainingJobSpec) -> Mapping[str, str]:
    """What a run reads, by the field that names it."""
    uris = {f"spec.data {source.name!r}": source.uri for source in spec.data}
    return uris | ({"spec.code": spec.code.uri} if spec.code else {})


def _hash(resource: TrainingJob, pod: Mapping[str, Any]) -> str:
    """Not over resources, nor where and under what labels the pod runs, retries or deadline: they decide how a run
    goes, not what comes of it. Of the pod, what runs before the program and what is mounted.
    """
    written = resource.spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        include={
            "data": {"__all__": _SOURCE},
            "code": _SOURCE,
            "parameters": True,
            "train": _PROGRAM,
            "output": {"store", "format"},
        },
    )
    return names.short_hash({"model": resource.model, **written, **({"pod": pod} if pod else {})})


def _decisive(spec: TrainingJobSpec) -> Mapping[str, Any]:
    """What of a pod decides the outcome. An init container of which that is only the name is one of ours."""
    found = {field: [_without(item, *_SIZES) for item in items] for field, items in _parts(spec)}
    told = [
        item for item in found.get("initContainers", ()) if not (isinstance(item, Mapping) and item.keys() == {"name"})
    ]
    return {field: items for field, items in {**found, "initContainers": told}.items() if items}


def _before(spec: TrainingJobSpec) -> Mapping[str, Any]:
    """The same as it was before sizes of volumes, and containers of which nothing else is said, were left out."""
    return {field: [_without(item, ("resources",)) for item in items] for field, items in _parts(spec)}


def _parts(spec: TrainingJobSpec) -> Iterable[tuple[str, Sequence[Any]]]:
    return [(field, items) for field in ("initContainers", "volumes") if (items := spec.train.pod.get(field))]


def _without(item: Any, *paths: Sequence[str]) -> Any:
    for first, *rest in paths:
        if isinstance(item, Mapping) and first in item:
            left = {name: value for name, value in item.items() if name != first}
            item = {**left, first: _without(item[first], rest)} if rest else left
    return item


def _settings(spec: TrainingJobSpec) -> str:
    """What is in neither hash has no part in how a run goes: what it is for, and what is kept of it."""
    return names.short_hash(
        spec.model_dump(
            mode="json",
            by_alias=True,
            exclude_defaults=True,
            include={"train": {"resources", "pod", "metadata"}, "retries": True, "deadline": True},
        )
    )


def _hash_until_0_1(spec: TrainingJobSpec) -> str:
    return names.short_hash(
        spec.model_dump(
            mode="json",
            by_alias=True,
            include={
                "model": True,
                "data": {"__all__": _SOURCE},
                "code": _SOURCE,
                "parameters": True,
                "train": {*_PROGRAM, "resources", "pod"},
                "output": {"store"},
            },
        )
    )


def _used(training_job: Manifest) -> Iterable[str]:
    """What a TrainingJob reads and writes, as it lies in the store: `SCHEME://NAME`, and DEFAULT_STORE."""
    store = _object(_object(training_job.get("spec")).get("output")).get("store") or DEFAULT_STORE
    return {place_of(uri) for uri in (*_read(training_job), store) if isinstance(uri, str)}


def _read(training_job: Manifest) -> Sequence[str]:
    """The URIs of what a TrainingJob reads, as it lies in the store."""
    spec = _object(training_job.get("spec"))
    data = spec.get("data")
    uris = [_object(one).get("uri") for one in (*(data if isinstance(data, list) else ()), spec.get("code"))]
    return [uri for uri in uris if isinstance(uri, str)]


def place_of(uri: str) -> str:
    """`SCHEME://NAME`, whatever the path."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


DEFAULT_STORE = "default://"
"""Where a TrainingJob is found that names no store."""

USERS = Index(names.TRAINING_JOBS, "by what they use", _used, reads=_read)
"""The TrainingJobs that use a claim or a ConfigMap; of each, the URIs of all that it reads."""


def _job_of(version: Manifest) -> Iterable[str]:
    name = _object(_object(version.get("metadata")).get("labels")).get(names.TRAINING_JOB)
    return [name] if isinstance(name, str) else []


def _made_from(version: Manifest) -> Iterable[str]:
    made = _object(_lineage(version).get("trainingJob")).get("inputs")
    if not isinstance(made, str) or not can_be_served(version):
        return []
    return [made_from(name, made, one) for name in _job_of(version) for one in ("", *_sources(version))]


def made_from(training_job: str, inputs: str, source: str) -> str:
    """Under what a version is found that a run of a TrainingJob has made from inputs of this hash, and, unless that is
    empty, from a source that held just what its hash says.
    """
    return f"{training_job} {inputs} {source}"


def hashes(sources: Mapping[str, str]) -> frozenset[str]:
    """A hash for each source, over its URI and what it holds."""
    return frozenset(names.short_hash(source) for source in sources.items())


def _lineage(version: Manifest) -> Mapping[str, Any]:
    return _object(_object(version.get("spec")).get("lineage"))


def _sources(version: Manifest) -> frozenset[str]:
    data, code = (_lineage(version).get(field) for field in ("data", "code"))
    read = [_object(each) for each in (*(data if isinstance(data, list) else ()), code)]
    found = {str(each.get("uri")): str(each.get("digest")) for each in read}
    return hashes({uri: digest for uri, digest in found.items() if is_counted(uri)})


def can_be_served(version: Manifest) -> bool:
    """As soon as its claim is there again, if only that is missing: no run would mend it."""
    status = _object(version.get("status"))
    found = _object(status.get("inspection")).get("outcome")
    return status.get("phase") != "Corrupt" and found not in ("Corrupt", "Missing") and not names.is_going(version)


MOST_RUNS = 10**12
"""Of a TrainingJob: whoever may make a ModelVersion writes its number, and the API server takes none beyond 64 bits."""


def number_of(version: Manifest) -> int:
    """The number of a version as it lies in the store; 0 of one that no run has."""
    number = _object(version.get("spec")).get("number")
    return number if isinstance(number, int) and number < MOST_RUNS else 0


@dataclass(frozen=True, slots=True)
class Made:
    """A version that a run has made."""

    name: str
    number: int
    tells: bool
    """Whether it says of which run it is: the label alone does not."""
    can_be_served: bool


def _made(version: Manifest) -> Made:
    tells = isinstance(_lineage(version).get("trainingJob"), Mapping)
    return Made(version["metadata"]["name"], number_of(version), tells, can_be_served(version))


VERSIONS = Index(names.MODEL_VERSIONS, "by training job", _job_of, order=number_of, reads=_made)
"""The versions that runs of a TrainingJob have made, and those of an earlier one of its name; the newest last."""
VERSIONS_BY_INPUTS = Index(
    names.MODEL_VERSIONS,
    "by training job and inputs",
    _made_from,
    order=number_of,
    reads=lambda version: (version["metadata"]["name"], _sources(version)),
)
"""Those of them that can be served, by their inputs, and by these and each source: the name, and the hashes of all
sources that the operator can read.
"""
