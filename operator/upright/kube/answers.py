"""Reading what the API server answers, or whoever stands between it and us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from upright.contract import Manifest, ResourceType
from upright.kube.errors import TooLargeError, UnreachableError
from upright.kube.nesting import parsed
from upright.kube.objects import meta

LONGEST_SAID = 1024
"""Characters of a text of an Event. That is how long a good one may be."""
IDENTITY = ("namespace", "name", "uid", "resourceVersion", "deletionTimestamp")


async def read(response: aiohttp.ClientResponse, most: float, what: str) -> bytes:
    """The text of an answer. Raises TooLargeError for one that weighs more than `most`: a byte 1, and a list or an
    object 16 more, since these take 80 bytes in memory, and their time.
    """
    chunks, weight = list[bytes](), 0
    async for chunk in response.content.iter_chunked(2**16):
        chunks.append(chunk)
        weight += len(chunk) + 16 * (chunk.count(b"[") + chunk.count(b"{"))
        if weight > most:
            response.close()
            raise TooLargeError(f"the answer about {what} is too large to be read")
    return b"".join(chunks)


@dataclass(frozen=True)
class Page:
    """A part of a list."""

    items: Sequence[Manifest]
    unread: Sequence[Manifest]
    """Objects that are too large to be read: which these are, and no more."""
    version: int
    """The resourceVersion that the whole list is as of."""
    following: str | None
    """Where the next page goes on; None when this is the last."""


def page_of(type: ResourceType, answer: Mapping[str, Any], *, whole: bool, unread: bool) -> Page:
    """`whole`: it has the objects and not only their metadata; `unread`: because they are too large."""
    try:
        items = [{**kind_of(type), **item} if whole else identity(type, item) for item in answer.get("items") or ()]
        following, version = meta(answer).get("continue") or None, int(meta(answer)["resourceVersion"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreachableError(f"cannot list {type}: somebody else answered: {str(answer)[:200]}") from error
    return Page((), items, version, following) if unread else Page(items, (), version, following)


def kind_of(type: ResourceType) -> dict[str, Any]:
    return {"apiVersion": type.api_version, "kind": type.kind}


def identity(type: ResourceType, item: Manifest) -> dict[str, Any]:
    """Which object it is, in which version; nothing of what is in it."""
    return {**kind_of(type), "metadata": {name: meta(item)[name] for name in IDENTITY if name in meta(item)}}


def told_by(event: Manifest) -> Manifest:
    """What an Event says: about what, why and when. Whatever else is on it is for strangers to size, and so are its
    texts, which the API server does not bound.
    """
    said = {name: str(event[name])[:LONGEST_SAID] for name in ("reason", "message") if event.get(name)}
    at = event.get("lastTimestamp") or meta(event).get("creationTimestamp")
    return {"involvedObject": {"uid": event["involvedObject"].get("uid")}, **said, "lastTimestamp": str(at)}


def event_of(line: bytes) -> tuple[str, dict[str, Any]]:
    """A line of a watch."""
    event = json_of(line)
    if not isinstance(event.get("object"), dict):
        raise UnreachableError(f"what answers a watch is no API server: {event}")
    return str(event.get("type")), event["object"]


def json_of(text: bytes) -> dict[str, Any]:
    """The answer as JSON; a proxy between us and the API server may say something else."""
    try:
        answer = parsed(text)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": text[:200].decode(errors="replace")}
