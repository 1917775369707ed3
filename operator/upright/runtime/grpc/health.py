"""The standard health service, grpc.health.v1: what readiness says, at every moment."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse

from upright.runtime.answering import Answering
from upright.runtime.grpc.messages import PACKAGE, SERVICE

_LOOKS = 1.0
"""Seconds between looks for those who watch."""

_WATCHES = 64
"""That last at once: each is a call, of which there is room for so many."""

_SERVICES = ("", f"{PACKAGE}.{SERVICE}")


class Health:
    """For grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server. The one that comes with that keeps what it was
    told last, and tells nobody while one who watches does not read.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._watches = 0

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:  # noqa: N802
        """How a service is; NOT_FOUND for one that is not here."""
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:64]!r} here")
        return self._told(request.service)

    async def List(self, _: HealthListRequest, __: Any) -> HealthListResponse:  # noqa: N802
        """How each is."""
        return HealthListResponse(statuses={service: self._told(service) for service in _SERVICES})

    async def Watch(self, request: HealthCheckRequest, context: Any) -> None:  # noqa: N802
        """How it is, and again when that changes, as long as the connection lasts and until the pod stops."""
        if self._watches == _WATCHES:  # by this code a client that looks at the health first goes on without
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{_WATCHES} watch already, as many as may")
        self._watches += 1
        try:
            last = None
            while last is None or not self._answering.draining:
                if (now := self._told(request.service)) != last:
                    await context.write(now)
                    last = now
                await asyncio.sleep(_LOOKS)
            await context.write(self._told(request.service))
        finally:
            self._watches -= 1

    def _told(self, service: str) -> HealthCheckResponse:
        status = HealthCheckResponse.ServingStatus
        if service not in _SERVICES:
            return HealthCheckResponse(status=status.SERVICE_UNKNOWN)
        return HealthCheckResponse(status=status.SERVING if self._answering.ready else status.NOT_SERVING)
