"""The API client: JSON in, JSON out, for any resource; bounded in time, fenced by the Lease, and it waits when told."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import Counter

from upright.api import names
from upright.contract import Manifest, Reference, ResourceType
from upright.kube.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotLeaderError,
    RefusedError,
    TerminatingError,
    UnreachableError,
)
from upright.kube.objects import meta, name_of, namespace_of, plain, uid_of

FIELD_MANAGER = "upright"
REQUEST_TIMEOUT = 10.0
LIST_TIMEOUT = 60.0
PAGE = 500
ATTEMPTS = 5
"""How often a request is sent that is answered by 429, each time after the wait that the API server asked for."""

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Client:
    """Requests to the API server.

    `fence` returns for how many seconds from now a write may still be under way: none are sent when it is not
    positive, and none outlasts it.
    """

    def __init__(
        self,
        login: Callable[[], Awaitable[Configuration]],
        requests: Counter,
        fence: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._login = login
        self._requests = requests
        self._fence = fence
        self._api: ApiClient | None = None
        self._logging_in = asyncio.Lock()
        self._open_at = 0.0  # loop time before which the API server wants no request of ours

    async def close(self) -> None:
        if self._api is not None:
            await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._send("get", "GET", type, namespace, name)
        except NotFoundError:
            return None

    async def list(self, type: ResourceType, namespace: str, selector: str) -> tuple[Sequence[Manifest], int]:
        """All objects of a namespace (or of all, if it is empty) and the resourceVersion that the list is as of."""
        items: list[Manifest] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._send("list", "GET", type, namespace, query=query, limit=LIST_TIMEOUT)
            items.extend({"apiVersion": type.api_version, "kind": type.kind, **item} for item in page["items"])
            if not (following := meta(page).get("continue")):
                return items, int(meta(page)["resourceVersion"])
            query["continue"] = following

    async def warnings(self, of: Reference) -> Sequence[Manifest]:
        """Some of the Warning events of an object, whoever told them."""
        query = {"fieldSelector": f"regarding.uid={of.uid},type=Warning", "limit": str(PAGE)}
        page = await self._send("list", "GET", names.EVENTS, of.namespace, query=query, limit=LIST_TIMEOUT)
        return list(page["items"])

    async def create(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """Make a new object; `ConflictError` if one of that name exists."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self._send("create", "POST", type, namespace_of(manifest), query=query, body=manifest)

    async def apply(self, type: ResourceType, manifest: Manifest, *, force: bool) -> Manifest:
        """Server-side apply. With a UID in the manifest, only that very object; `force` takes fields from others."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        target = (namespace_of(manifest), name_of(manifest))
        return await self._send("patch", "PATCH", type, *target, query=query, body=manifest, content=APPLY_PATCH)

    async def patch_status(self, type: ResourceType, resource: Manifest, status: Mapping[str, Any]) -> Manifest:
        """Replace the whole status; `ConflictError` if the object is no longer the version `resource`."""
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta(resource)["resourceVersion"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        target = (namespace_of(resource), name_of(resource), "status")
        query = {"fieldManager": FIELD_MANAGER}
        return await self._send("patch", "PATCH", type, *target, query=query, body=patch, content=JSON_PATCH)

    async def merge(self, target: Reference, change: Mapping[str, Any]) -> Manifest:
        """Merge a change into an object that exists; `ConflictError` if it is another of that name."""
        body = {**change, "metadata": {**change.get("metadata", {}), "uid": target.uid}}
        query = {"fieldManager": FIELD_MANAGER}
        where = (target.namespace, target.name)
        return await self._send("patch", "PATCH", target.type, *where, query=query, body=body, content=MERGE_PATCH)

    async def replace(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """Write the whole object; `ConflictError` if it is no longer the version that the manifest names."""
        return await self._send("update", "PUT", type, namespace_of(manifest), name_of(manifest), body=manifest)

    async def delete(self, target: Reference) -> None:
        """Delete this very object, and in the background what it owns. One that is gone already is fine."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": target.uid}}
        try:
            await self._send("delete", "DELETE", target.type, target.namespace, target.name, body=body)
        except NotFoundError:
            return
        except ConflictError:
            found = await self.get(target.type, target.namespace, target.name)
            if found is not None and uid_of(found) == target.uid:
                raise

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
        content: str = "application/json",
        limit: float = REQUEST_TIMEOUT,
    ) -> dict[str, Any]:
        path = _path(type, namespace, name, subresource)
        counted = f"{type}/{subresource}" if subresource else str(type)
        target = " ".join(filter(None, (counted, f"{namespace}/{name}".strip("/"))))
        status, answer = 0, dict[str, Any]()
        for _ in range(ATTEMPTS):
            await self._until_open()
            if method != "GET" and (limit := min(limit, self._fence())) <= 0:
                raise NotLeaderError(f"did not {verb} {target}: this process no longer holds the Lease")
            try:
                async with asyncio.timeout(limit):
                    status, answer, wait = await self._exchange(method, path, query, body, content)
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                self._requests.labels(verb=verb, resource=counted, code="none").inc()
                cause = f"no answer within {limit:.0f} s" if isinstance(error, TimeoutError) else str(error)
                raise UnreachableError(f"cannot {verb} {target}: {cause or error!r}") from error
            self._requests.labels(verb=verb, resource=counted, code=str(status)).inc()
            if status == 401:
                await self._log_in_again()
            elif wait:
                self._open_at = max(self._open_at, asyncio.get_running_loop().time() + wait)
            else:
                break
        if 200 <= status < 300:
            return answer
        message = str(answer.get("message") or "no reason given")
        if TerminatingError.reason in _causes(answer):
            raise TerminatingError(verb, target, status, message)
        if status == 403 and "User " in message:  # quotas and policies answer 403 too
            raise ForbiddenError(verb, _with_subresource(type, subresource), namespace, message)
        kind = {404: NotFoundError, 409: ConflictError}.get(status, RefusedError)
        raise kind(verb, target, status, message)

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content: str
    ) -> tuple[int, dict[str, Any], float]:
        """One request and its answer: the HTTP status, the JSON, and for how many seconds to wait before another."""
        if self._api is None:
            await self._log_in_again()
        assert self._api is not None
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=plain(body),
            auth_settings=["BearerToken"],
        )
        response = await self._api.call_api(*request, _request_timeout=aiohttp.ClientTimeout(total=None))
        text = await response.read()  # type: ignore[no-untyped-call]
        wait = 0.0
        if response.status == 429 or (response.status == 503 and "Retry-After" in response.headers):
            wait = _seconds(response.headers.get("Retry-After", ""))
        return response.status, _json(text), wait

    async def _until_open(self) -> None:
        await asyncio.sleep(max(0.0, self._open_at - asyncio.get_running_loop().time()))

    async def _log_in_again(self) -> None:
        """The first time, and whenever a token is no longer taken: tokens are short-lived and their files change."""
        before = self._api
        async with self._logging_in:
            if self._api is before:
                self._api = ApiClient(await self._login())
                self._api.user_agent = "upright"
                if before is not None:
                    await before.close()  # type: ignore[no-untyped-call]


def _path(type: ResourceType, namespace: str, name: str, subresource: str) -> str:
    root = f"/apis/{type.group}/{type.version}" if type.group else f"/api/{type.version}"
    parts = [root, f"namespaces/{namespace}" if namespace else "", type.plural, name, subresource]
    return "/".join(filter(None, parts))


def _with_subresource(type: ResourceType, subresource: str) -> ResourceType:
    if not subresource:
        return type
    return ResourceType(type.group, type.version, f"{type.plural}/{subresource}", type.kind)


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() and retry_after != "0" else 1.0


def _causes(answer: Mapping[str, Any]) -> set[str]:
    """The reasons that an answer gives in its details."""
    details = answer.get("details") or {}
    return {str(cause.get("reason")) for cause in details.get("causes") or []}


def _json(text: bytes) -> dict[str, Any]:
    """The answer as JSON; a proxy between us and the API server may say something else."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": text[:200].decode(errors="replace")}
