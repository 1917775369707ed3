"""A small API server in memory, that fails as told."""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from upright.contract import Manifest, ResourceType
from upright.kube.client import path_of
from upright.kube.objects import meta, name_of, namespace_of

DEEP = "goes out as what nests as deep as an API server takes"
Fault = Callable[[web.Request], web.StreamResponse | None]


@dataclass
class ApiServer:
    """Objects, and what has happened to them. `fault` answers a request in its place, or lets it pass."""

    types: tuple[ResourceType, ...]
    fault: Fault = lambda _: None
    hangs: Callable[[web.Request], bool] = lambda _: False
    drops: set[str] = field(default_factory=set)
    """Fields of a status that the CustomResourceDefinitions lack."""
    failing: dict[ResourceType, int] = field(default_factory=dict)
    token: str = ""
    prefix: str = ""
    """What stands before each path, as behind a proxy that serves several clusters."""
    tls: ssl.SSLContext | None = None
    """Whose certificate it shows."""
    authority: Path | None = None
    """The file that tells its clients whom to trust."""
    asked: list[web.Request] = field(default_factory=list)
    logins: int = 0
    port: int = 0
    _objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _events: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(10))
    _streams: set[web.StreamResponse] = field(default_factory=set)
    _oldest: int = 0

    async def login(self) -> Configuration:
        self.logins += 1
        scheme = "https" if self.tls else "http"
        configuration = Configuration(host=f"{scheme}://127.0.0.1:{self.port}{self.prefix}")
        configuration.ssl_ca_cert = str(self.authority) if self.authority else None
        configuration.api_key = {"BearerToken": f"Bearer {self.token}"}
        return configuration

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest:
        return self._objects.get((str(type), f"{namespace}/{name}"), {})

    def put(self, type: ResourceType, manifest: Manifest) -> None:
        """As if somebody had written it."""
        key = (str(type), f"{namespace_of(manifest)}/{name_of(manifest)}")
        event = "MODIFIED" if key in self._objects else "ADDED"
        version = next(self._versions)
        metadata = {"uid": f"uid-{name_of(manifest)}", **meta(manifest), "resourceVersion": str(version)}
        self._objects[key] = {"apiVersion": type.api_version, "kind": type.kind, **manifest, "metadata": metadata}
        self._events.append((version, event, str(type), self._objects[key]))

    def delete(self, type: ResourceType, namespace: str, name: str, *, told: bool = True) -> None:
        """As if somebody had deleted it; nobody is `told` when that has been forgotten before anybody watched."""
        gone = self._objects.pop((str(type), f"{namespace}/{name}"))
        version = next(self._versions)
        if told:
            metadata = {**meta(gone), "resourceVersion": str(version)}
            self._events.append((version, "DELETED", str(type), {**gone, "metadata": metadata}))

    def forget(self) -> None:
        """Earlier versions are too old to go on from, and the connections of all watches are cut."""
        self._oldest = next(self._versions)
        self.cut()

    def cut(self) -> None:
        for stream in self._streams:
            if stream._req is not None and stream._req.transport is not None:
                stream._req.transport.abort()

    def watches(self) -> int:
        return len(self._streams)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ApiServer"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = int(runner.addresses[0][1])
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        while self.hangs(request):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if (failed := self.fault(request)) is not None:
            return failed
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return refused(401, "Unauthorized")
        assert request.path.startswith(f"{self.prefix}/api")
        path = request.path.removeprefix(self.prefix)
        if (described := self._discovery(path)) is not None:
            return web.json_response(described)
        parts = path.split("/")
        asked = next(each for each in self.types if each.plural in parts)
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        name, *subresource = [*parts[parts.index(asked.plural) + 1 :], ""]
        assert path == path_of(asked, namespace, name, "/".join(filter(None, subresource)))
        if request.method != "GET":
            return self._write(asked, namespace, name, request.method, await request.json())
        if name:
            found = self._objects.get((str(asked), f"{namespace}/{name}"))
            return refused(404, f"{name} not found") if found is None else web.json_response(found)
        if "watch" in request.query:
            return await self._watch(request, asked, namespace)
        name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        items = [
            one
            for (kind, _), one in self._objects.items()
            if kind == str(asked) and _in(one, namespace) and name in ("", name_of(one))
        ]
        return web.json_response({"metadata": {"resourceVersion": str(next(self._versions))}, "items": items})

    def _write(self, type: ResourceType, namespace: str, name: str, method: str, body: Any) -> web.Response:
        """As much of writing as the operator needs; an apply replaces the whole object."""
        key = (str(type), f"{namespace}/{name or name_of(body)}")
        old = self._objects.get(key)
        if method == "POST" and old is not None:
            return refused(409, "it exists")
        if method in ("PUT", "DELETE") and old is None:
            return refused(404, "not found")
        if method == "DELETE":
            self.delete(type, namespace, name)
            return web.json_response({"kind": "Status", "status": "Success"})
        if isinstance(body, list):  # the patch of a status
            if old is None or body[0]["value"] != meta(old)["resourceVersion"]:
                return refused(409, "the object has been modified")
            body = {**old, "status": {key: value for key, value in body[1]["value"].items() if key not in self.drops}}
        elif method == "PUT" and old is not None and meta(old)["resourceVersion"] != meta(body)["resourceVersion"]:
            return refused(409, "the object has been modified")
        self.put(type, body)
        return web.json_response(self._objects[key])

    async def _watch(self, request: web.Request, type: ResourceType, namespace: str) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        since = int(request.query["resourceVersion"])
        self._streams.add(stream)
        try:
            if code := self.failing.get(type):
                await _send(stream, "ERROR", {"kind": "Status", "code": code, "message": "etcd: no leader"})
                return stream
            if since < self._oldest:
                await _send(stream, "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
                return stream
            while request.transport is not None and not request.transport.is_closing():
                for version, event, kind, manifest in self._events:
                    if version > since and kind == str(type) and _in(manifest, namespace):
                        await _send(stream, event, manifest)
                        since = version
                await asyncio.sleep(0.01)
            return stream
        finally:
            self._streams.discard(stream)

    def _discovery(self, path: str) -> dict[str, Any] | None:
        groups = {each.group: each.version for each in self.types if each.group}
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            versions = [(group, {"version": version}) for group, version in groups.items()]
            return {"groups": [{"name": g, "preferredVersion": v, "versions": [v]} for g, v in versions]}
        found = [each for each in self.types if path == path_of(each, "").rsplit("/", 1)[0]]
        if not found and path != "/api/v1":
            return None
        named = [(each.plural, each.kind) for each in found] + (
            [("namespaces", "Namespace")] if path == "/api/v1" else []
        )
        return {
            "resources": [
                {"name": plural, "kind": kind, "singularName": kind.lower(), "namespaced": kind != "Namespace"}
                | {"verbs": ["list", "watch", "patch"]}
                for plural, kind in named
            ]
        }


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "message": message}, status=status, headers=headers)


async def _send(stream: web.StreamResponse, event: str, manifest: Manifest) -> None:
    text = json.dumps({"type": event, "object": manifest})
    await stream.write(text.replace(json.dumps(DEEP), "[" * 10_000 + "]" * 10_000).encode() + b"\n")


def _in(manifest: Manifest, namespace: str) -> bool:
    return namespace in ("", namespace_of(manifest))
