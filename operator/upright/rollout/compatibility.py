"""Could clients of one version use the other, and could its pods count by segment? Their signatures, compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from upright.api.deployment import DeploymentSpec
from upright.api.model_version import ModelVersion
from upright.api.segments import Segment


def incompatible(stable: ModelVersion, candidate: ModelVersion) -> Sequence[str]:
    """What could break a client of the stable version, in words; nothing where it is not known what
    either one takes or gives.
    """
    before, after = stable.spec.signature, candidate.spec.signature
    if before is None or after is None:
        return ()
    return (
        *_inputs(_by_name(before.inputs), _by_name(after.inputs)),
        *(_outputs(_by_name(before.outputs), _by_name(after.outputs)) if after.outputs else ()),
    )


def not_split_by(version: ModelVersion, spec: DeploymentSpec) -> Segment | None:
    """The first segment by a feature that a version does not have; None where its pods can count by all. An image of
    one's own may know more features than the version says.
    """
    signature = version.spec.signature
    if signature is None or spec.serving.image:
        return None
    by_feature = (segment for segment in spec.monitoring.segments if segment.feature is not None)
    return next((segment for segment in by_feature if segment.feature not in _by_name(signature.inputs)), None)


def _inputs(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    found = [f"it takes no input {name!r} any more" for name in before if name not in after]
    for name, tensor in after.items():
        if name not in before:
            if not tensor.get("missing"):
                found.append(f"it requires a new input {name!r}")
            continue
        changes = _changes(before[name], tensor)
        # Whether a column has whole numbers is an accident of the data, and a client may send either.
        if _is_number(before[name]) and _is_number(tensor):
            changes = [change for change in changes if "type" not in change]
        if before[name].get("missing") and not tensor.get("missing"):
            changes = [*changes, "may be left out no more"]
        found += [f"its input {name!r} {change}" for change in changes]
    return found


def _outputs(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    found = [f"it gives no output {name!r} any more" for name in before if name not in after]
    for name, tensor in before.items():
        found += [
            f"its output {name!r} {change}" for change in (_changes(tensor, after[name]) if name in after else ())
        ]
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"has the {field} {after[field]} instead of {before[field]}"
        for field in ("type", "shape")
        if before.get(field) and after.get(field) and before[field] != after[field]
    ]


def _is_number(tensor: Mapping[str, Any]) -> bool:
    return str(tensor.get("type", "")).startswith(("INT", "UINT", "FP"))


def _by_name(tensors: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    return {str(tensor.get("name")): tensor for tensor in tensors}
