"""What can go wrong between the operator and the API server, in sentences that say what to do."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from upright.contract import ResourceType

_POD_OF_ALL = "spec.template.spec."
_ASKED_IN = {"Job": "spec.train.pod", "Deployment": "spec.serving.pod"}
"""Where a user says what we write there, by the kind that has it."""
_NOT_ALLOWED = re.compile(r'User "[^"]{1,1024}" cannot [a-z]{1,64} resource "')
"""What Kubernetes says of whom nothing allows a request, whoever that is. Quotas and policies answer 403, too."""


class ApiError(Exception):
    """The API server, or the way to it, did not do what was asked: not a fault of this program."""

    reason = "ApiError"
    lasting = False
    """Whether it stays so until somebody does something about it: worth a condition and an event on the object."""


class UnreachableError(ApiError):
    """No answer in time, or no connection."""

    reason = "Unreachable"


class RefusedError(ApiError):
    """An answer other than success. `status` is the HTTP status, `message` what the API server said."""

    reason = "RequestRefused"

    def __init__(self, verb: str, target: str, status: int, message: str) -> None:
        super().__init__(f"cannot {verb} {target}: {message} (HTTP {status})")
        self.status = status
        self.lasting = 400 <= status < 500 and status not in (401, 404, 408, 409, 410, 429)


class NotFoundError(RefusedError):
    """There is no such object."""

    reason = "NotFound"


class UnknownError(RefusedError):
    """What answers knows no such resource: its CustomResourceDefinition is missing, for this one of several API servers
    as yet, or it is a proxy. That says nothing of any object.
    """

    reason = "UnknownResource"


class ConflictError(RefusedError):
    """The object has changed since it was read, or belongs to somebody else, or exists already."""

    reason = "Conflict"


class ExpiredError(RefusedError):
    """The version to go on from is too old: list again."""

    reason = "Expired"


class TooLargeError(ApiError):
    """An answer, or a line of a watch, is larger than what is taken in at once."""

    reason = "TooLarge"


class ForbiddenError(RefusedError):
    """RBAC does not allow it."""

    reason = "Forbidden"

    def __init__(self, verb: str, type: ResourceType, namespace: str, message: str) -> None:
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        super().__init__(verb, f"{type} {where}", 403, message)
        self._sentence = (
            f"the operator's ServiceAccount may not {verb} {type} {where}: grant the verb {verb!r} on {str(type)!r} "
            f"in its Role or ClusterRole (the chart's has it; `helm upgrade` restores it). "
            f"The API server said: {message}"
        )

    def __str__(self) -> str:
        return self._sentence


class TerminatingError(RefusedError):
    """The namespace is being deleted, and with it all that is in it: nothing can be made there, or need be."""

    reason = "NamespaceTerminating"

    def __init__(self, verb: str, target: str, status: int, message: str) -> None:
        super().__init__(verb, target, status, message)
        self.lasting = False  # the object that it would be told of goes, too


class NameTakenError(ApiError):
    """An object of the wanted name exists and is not ours. It is left as it is."""

    reason = "NameTaken"
    lasting = True

    def __init__(self, type: ResourceType, namespace: str, name: str, holder: str) -> None:
        super().__init__(
            f"{type.kind} {namespace}/{name} exists already and belongs to {holder}: it is left untouched. "
            f"Delete or rename it, or give this object another name."
        )


class LeavingError(ApiError):
    """An object of the wanted name is on its way out, and will be made again when it is gone: no fault of anybody's."""

    reason = "WaitingForDeletion"

    def __init__(self, type: ResourceType, namespace: str, name: str, finalizers: Sequence[str]) -> None:
        held = (
            f"held by {', '.join(finalizers)}: whoever set that must take it off"
            if finalizers
            else "the garbage collector takes it when all that it owns is gone: if that lasts, look for a pod with a "
            f"deletionTimestamp, by `kubectl get pods --namespace={namespace} --output=yaml`: take off its finalizer, "
            "or, if its node is gone for good, delete it with --force"
        )
        super().__init__(f"{type.kind} {namespace}/{name} is being deleted ({held}); it is made again when it is gone.")


class ContestedError(ApiError):
    """Somebody changes what we put back, again and again."""

    reason = "Contested"
    lasting = True

    def __init__(self, type: ResourceType, namespace: str, name: str, changed: str, writer: str) -> None:
        by = f" It was {writer} that wrote to it last." if writer else ""
        super().__init__(
            f"{type.kind} {namespace}/{name} belongs to this object, and somebody changes it again and again: it had "
            f"{changed}.{by} It is put back ever more rarely. Stop what changes it; `kubectl get {type} {name} "
            f"--namespace={namespace} --output=yaml --show-managed-fields` names all who write to it."
        )


class NotLeaderError(ApiError):
    """A write was not sent, because this process no longer holds the Lease."""

    reason = "NotLeader"


def refusal(
    verb: str, type: ResourceType, namespace: str, name: str, subresource: str, status: int, answer: Mapping[str, Any]
) -> RefusedError:
    """What an answer other than success means: `status` is the HTTP status, `answer` the API server's JSON."""
    plural = f"{type.plural}/{subresource}" if subresource else type.plural
    asked = ResourceType(type.group, type.version, plural, type.kind)
    counted = f"{type}/{subresource}" if subresource else str(type)
    target = " ".join(filter(None, (counted, f"{namespace}/{name}".strip("/"))))
    message = str(answer.get("message") or "no reason given")
    if TerminatingError.reason in _causes(answer):
        return TerminatingError(verb, target, status, message)
    if status == 403 and _NOT_ALLOWED.search(message):
        return ForbiddenError(verb, asked, namespace, message)
    if (asked_in := _ASKED_IN.get(type.kind)) and _POD_OF_ALL in message:
        message += f": that comes of {asked_in}, and is tried again by itself when it is corrected there"
    missing = NotFoundError if answer.get("kind") == "Status" else UnknownError
    kind = {404: missing, 409: ConflictError, 410: ExpiredError}.get(status, RefusedError)
    return kind(verb, target, status, message)


def complaint_of(error: Exception) -> str:
    """What tells one complaint from another. The words of a mistake of ours may differ each time."""
    return str(error) if isinstance(error, ApiError) else type(error).__name__


def _causes(answer: Mapping[str, Any]) -> set[str]:
    """The reasons that an answer gives in its details."""
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    listed = causes if isinstance(causes, list) else []
    return {str(cause.get("reason")) for cause in listed if isinstance(cause, dict)}
