"""The API client: JSON in, JSON out, for any resource; bounded in time, fenced by the Lease, and it waits when told."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import Counter

from upright.api import names
from upright.api.common import GROUP
from upright.contract import Manifest, Reference, ResourceType
from upright.kube.answers import Page, event_of, identity, json_of, page_of, read, told_by
from upright.kube.connection import cause, seconds_to_wait
from upright.kube.errors import (
    ConflictError,
    NotFoundError,
    NotLeaderError,
    TooLargeError,
    UnreachableError,
    refusal,
)
from upright.kube.fence import bounded
from upright.kube.objects import meta, name_of, namespace_of, plain, uid_of, yaml_of
from upright.kube.pruning import Pruned

REQUEST_TIMEOUT, WRITE_TIMEOUT, LIST_TIMEOUT = 10.0, 25.0, 60.0
"""A write may wait for two webhooks in a row that are away: Kubernetes passes over each after 10 s, by default."""
PAGE = 200
PAGE_WEIGHT = 4 * 1024**2
"""A page that weighs more is asked for anew with fewer objects: how large they are is for strangers to say."""
ATTEMPTS = 5
"""How often a request is sent that is answered by 429, each time after the wait that the API server asked for."""
WARNINGS = 10_000
"""So many of a namespace are looked through, at most."""
NEWEST = 16
"""So many about one object are kept. What is asked for is among them unless somebody hides it."""
_AT = itemgetter("lastTimestamp")
_OURS = {"fieldManager": names.FIELD_MANAGER}
WATCH_SECONDS = 240
"""After which the API server ends a watch."""
SILENCE = 90.0
"""Seconds without a line after which a watch is taken for dead: a bookmark comes every minute."""

YAML = "application/yaml"
"""JSON is YAML, too. Of YAML the API server keeps free-form content (a ControllerRevision's data) in its own spelling;
of JSON it keeps it as it came, and takes its own spelling for a forbidden change when an owner is changed later."""
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml; charset=utf-8"
"""Without a charset the client library writes the body, as JSON that is no YAML."""

JSON = "application/json"
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Client:
    """Requests to the API server.

    `fence` returns for how many seconds from now a write may still be under way: none are sent when it is not
    positive, and none outlasts it. `longest_wait` bounds, in seconds, for how long the API server can hold it off.
    """

    def __init__(
        self,
        login: Callable[[], Awaitable[Configuration]],
        requests: Counter,
        fence: Callable[[], float] = lambda: math.inf,
        longest_wait: float = math.inf,
    ) -> None:
        self._login = login
        self._requests = requests
        self._fence = fence
        self._longest_wait = longest_wait
        self._session: _Session | None = None
        self._logging_in = asyncio.Lock()
        self.pruned = Pruned()
        self._open_at = 0.0  # loop time before which the API server wants no request of ours

    async def close(self) -> None:
        if self._session is not None:
            await self._session.api.close()  # type: ignore[no-untyped-call]

    async def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._send("get", "GET", type, namespace, name)
        except NotFoundError:
            return None

    async def pages(
        self,
        type: ResourceType,
        namespace: str,
        selector: str = "",
        *,
        fields: str = "",
        metadata: bool = False,
        size: int = PAGE,
    ) -> AsyncIterator[Page]:
        """All objects of a namespace (or of all, if it is empty), at most so many at a time.

        With `metadata`, of each only what says which object it is: namespace, name, UID and version.
        """
        selectors = {"labelSelector": selector, "fieldSelector": fields}
        query = {"limit": str(size)} | {name: value for name, value in selectors.items() if value}
        following: str | None = ""
        now, alone = size, False  # alone: one object that is too large for a page of its own
        while following is not None:
            query["limit"] = str(now)
            whole, most = not (metadata or alone), math.inf if alone else PAGE_WEIGHT
            accept = JSON if whole else METADATA_LIST
            try:
                answer = await self._send(
                    "list", "GET", type, namespace, query=query, limit=LIST_TIMEOUT, accept=accept, most=most
                )
            except TooLargeError:
                now, alone = max(1, now // 8), now == 1
                continue
            page = page_of(type, answer, whole=whole, unread=alone and not metadata)
            del answer
            yield page
            following, alone = page.following, False
            query["continue"] = str(following)
            now = min(size, 2 * now)

    async def watch_metadata(
        self,
        type: ResourceType,
        namespace: str,
        version: int,
        deliver: Callable[[str, Manifest], None],
        begins: Callable[[], object],
    ) -> None:
        """Deliver what changes after a version: ADDED, MODIFIED, DELETED or BOOKMARK, and of which object. `begins` is
        called when the API server has agreed to tell. Ends when that has had enough, every few minutes, or the
        connection breaks. Raises ApiError, and `ExpiredError` when the version is too old to go on from.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": str(version)}
        query["timeoutSeconds"] = str(WATCH_SECONDS)
        status, answer, began = 0, dict[str, Any](), False
        await self._until_open()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT) as patience, self._lent() as session:
                response = await self._ask(session, "GET", path_of(type, namespace), query, accept=METADATA)
                self._requests.labels(verb="watch", resource=str(type), code=str(response.status)).inc()
                async with response:
                    if response.status != 200:
                        status, answer = response.status, json_of(await response.read())
                    else:
                        begins()
                    while status == 0:
                        began = True
                        patience.reschedule(asyncio.get_running_loop().time() + SILENCE)
                        if not (line := await response.content.readline()):
                            break
                        event, item = event_of(line)
                        if event == "ERROR":
                            status, answer = int(item.get("code") or 500), item
                        else:
                            deliver(event, identity(type, item))
        except LineTooLong as error:
            raise TooLargeError(f"an object among {type} is too large for its changes to be watched") from error
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            if began and not isinstance(error, TimeoutError):
                return
            why = cause(error, f"nothing heard for {SILENCE:.0f} s")
            raise UnreachableError(f"cannot watch {f'{type} {namespace}'.strip()}: {why}") from error
        if status == 401:
            await self._log_in(session)
        if status:
            self._is_closed_by(response, answer)
            raise refusal("watch", type, namespace, "", "", status, answer)

    async def warnings(self, namespace: str, uids: Container[str]) -> Sequence[Manifest]:
        """The newest about each object with one of these UIDs, among the first of the namespace that come in time."""
        found, left = dict[str, list[Manifest]](), WARNINGS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                async for page in self.pages(names.EVENTS, namespace, fields="type=Warning"):
                    for event in page.items:
                        if (uid := event["involvedObject"].get("uid")) in uids:
                            found[uid] = sorted([*found.get(uid, ()), told_by(event)], key=_AT)[-NEWEST:]
                    if (left := left - len(page.items)) <= 0:
                        break
        return [event for told in found.values() for event in told]

    async def create(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """Make a new object; `ConflictError` if one of that name exists."""
        # What users add to pods is passed on, and a mistyped field of it would be dropped without a word. Of our own
        # kinds the cluster may know an older version for a while.
        strict = {} if type.group == GROUP else {"fieldValidation": "Strict"}
        query = {"fieldManager": names.FIELD_MANAGER, **strict}
        body, content = (yaml_of(manifest), YAML) if type == names.CONTROLLER_REVISIONS else (manifest, JSON)
        namespace, named = namespace_of(manifest), name_of(manifest)
        return await self._send("create", "POST", type, namespace, query=query, body=body, content=content, named=named)

    async def apply(self, type: ResourceType, manifest: Manifest, *, force: bool) -> Manifest:
        """Server-side apply. With a UID in the manifest, only that very object; `force` takes fields from others."""
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true" if force else "false"}
        where, body = (namespace_of(manifest), name_of(manifest)), yaml_of(manifest)
        return await self._send("patch", "PATCH", type, *where, query=query, body=body, content=APPLY_PATCH)

    async def patch_status(self, type: ResourceType, resource: Manifest, status: Mapping[str, Any]) -> Manifest:
        """Replace the whole status; `ConflictError` if the object is no longer the version `resource`."""
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta(resource)["resourceVersion"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        target = (namespace_of(resource), name_of(resource), "status")
        answer = await self._send("patch", "PATCH", type, *target, query=_OURS, body=patch, content=JSON_PATCH)
        self.pruned.compare(type, plain(status), answer)
        return answer

    async def merge(self, target: Reference, change: Mapping[str, Any]) -> Manifest:
        """Merge a change into an object that exists; `ConflictError` if it is another of that name."""
        body = {**change, "metadata": {**change.get("metadata", {}), "uid": target.uid}}
        where = (target.namespace, target.name)
        return await self._send("patch", "PATCH", target.type, *where, query=_OURS, body=body, content=MERGE_PATCH)

    async def correct(self, target: Reference, parts: Mapping[str, Any]) -> Manifest:
        """Set parts (JSON pointers) of an object that exists to just these values; `ConflictError` as for `merge`."""
        patch = [
            {"op": "replace", "path": "/metadata/uid", "value": target.uid},
            *({"op": "add", "path": path, "value": value} for path, value in parts.items()),
        ]
        where = (target.namespace, target.name)
        return await self._send("patch", "PATCH", target.type, *where, query=_OURS, body=patch, content=JSON_PATCH)

    async def scale(self, target: Reference, replicas: int) -> None:
        """Set the replicas of an object that exists, and of it nothing else: what edits objects as they are written,
        say a template of pods, has no part in it. `ConflictError` or `RefusedError` if it is another of that name.
        """
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": target.uid},
            {"op": "replace", "path": "/spec/replicas", "value": replicas},
        ]
        where = (target.namespace, target.name, "scale")
        await self._send("patch", "PATCH", target.type, *where, query=_OURS, body=patch, content=JSON_PATCH)

    async def replace(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """Write the whole object; `ConflictError` if it is no longer the version that the manifest names."""
        return await self._send("update", "PUT", type, namespace_of(manifest), name_of(manifest), body=manifest)

    async def delete(self, target: Reference) -> Manifest | None:
        """Delete this very object, and in the background what it owns. One that is gone already is fine.

        Returns it if something still holds it, None when it is no more.
        """
        body = {"propagationPolicy": "Background", "preconditions": {"uid": target.uid}}
        try:
            answer = await self._send("delete", "DELETE", target.type, target.namespace, target.name, body=body)
        except NotFoundError:
            return None
        except ConflictError:
            found = await self.get(target.type, target.namespace, target.name)
            if found is not None and uid_of(found) == target.uid:
                raise
            return None
        return None if answer.get("kind") == "Status" else answer

    async def _send(
        self,
        verb: str,
        method: str,
        type: ResourceType,
        namespace: str,
        name: str = "",
        subresource: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = JSON,
        accept: str = JSON,
        limit: float = REQUEST_TIMEOUT,
        most: float = math.inf,
        named: str = "",
    ) -> dict[str, Any]:
        """The answer, of `most` bytes at most. Raises ApiError, in which what only the body names is `named`."""
        path = path_of(type, namespace, name, subresource)
        counted = f"{type}/{subresource}" if subresource else str(type)
        target = " ".join(filter(None, (counted, f"{namespace}/{name or named}".strip("/"))))
        clock = asyncio.get_running_loop().time
        status, answer, logged_in = 0, dict[str, Any](), False
        for _ in range(ATTEMPTS):
            await self._until_open()
            if method != "GET" and self._fence() <= 0:
                raise NotLeaderError(f"did not {verb} {target}: this process no longer holds the Lease")
            bound, began = asyncio.timeout(limit) if method == "GET" else bounded(WRITE_TIMEOUT, self._fence), clock()
            try:
                async with bound, self._lent() as session:
                    response = await self._ask(session, method, path, query, body, content, accept)
                    status, answer = response.status, json_of(await read(response, most, target))
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                self._requests.labels(verb=verb, resource=counted, code="none").inc()
                raise UnreachableError(
                    f"cannot {verb} {target}: {cause(error, f'no answer within {clock() - began:.0f} s')}"
                ) from error
            self._requests.labels(verb=verb, resource=counted, code=str(status)).inc()
            if status == 401 and not logged_in:
                await self._log_in(session)
                logged_in = True
            elif not self._is_closed_by(response, answer):
                break
        if 200 <= status < 300:
            if "metadata" not in answer and answer.get("kind") != "Status":
                raise UnreachableError(f"cannot {verb} {target}: what answers is no API server: {answer}")
            return answer
        raise refusal(verb, type, namespace, name or named, subresource, status, answer)

    async def _ask(
        self,
        session: "_Session",
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any = None,
        content: str = JSON,
        accept: str = JSON,
    ) -> aiohttp.ClientResponse:
        request = await session.api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content},
            body=plain(body),
            auth_settings=["BearerToken"],
        )
        answer = await session.api.call_api(*request, _request_timeout=aiohttp.ClientTimeout(total=None))
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _until_open(self) -> None:
        await asyncio.sleep(max(0.0, self._open_at - asyncio.get_running_loop().time()))

    def _is_closed_by(self, response: aiohttp.ClientResponse, answer: Mapping[str, Any]) -> bool:
        """Whether the API server wants no request of ours for a while: none is sent then.

        What it lets in no further it refuses in plain words. A `Status` comes from behind that door, say from an
        admission webhook, and is about this one request: it fails, and no other waits.
        """
        wait = seconds_to_wait(response.status, response.headers.get("Retry-After"))
        if wait is None or answer.get("kind") == "Status":
            return False
        self._open_at = max(self._open_at, asyncio.get_running_loop().time() + min(wait, self._longest_wait))
        return True

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator["_Session"]:
        """The session to send a request on. It stays open until the request is over, whoever logs in meanwhile."""
        if self._session is None:
            await self._log_in(None)
        session = self._session
        assert session is not None
        session.users += 1
        try:
            yield session
        except aiohttp.ClientConnectorCertificateError:
            await self._log_in(session)  # the cluster may have another CA now: the next request asks with it
            raise
        finally:
            session.users -= 1
            await self._close_unless_used(session)

    async def _log_in(self, refused: "_Session | None") -> None:
        """The first time, and when a token is no longer taken, or the API server no longer trusted: the files of both
        change. A refusal that comes late, when another request has logged in anew already, changes nothing.
        """
        async with self._logging_in:
            if self._session is not refused:
                return
            api = ApiClient(await self._login())
            api.user_agent = "upright"
            self._session = _Session(api)
        if refused is not None:
            await self._close_unless_used(refused)

    async def _close_unless_used(self, session: "_Session") -> None:
        if session is not self._session and session.users == 0:
            await session.api.close()  # type: ignore[no-untyped-call]


@dataclass
class _Session:
    """One login, its connections, and how many requests are under way on them."""

    api: ApiClient
    users: int = 0


def path_of(type: ResourceType, namespace: str, name: str = "", subresource: str = "") -> str:
    root = f"/apis/{type.group}/{type.version}" if type.group else f"/api/{type.version}"
    parts = [root, f"namespaces/{namespace}" if namespace else "", type.plural, name, subresource]
    return "/".join(filter(None, parts))
