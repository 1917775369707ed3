"""The gRPC server beside the HTTP server: same process, same loop, same model, same limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from upright.api.serving import CONNECTION_SECONDS, GRPC_DRAIN_SECONDS
from upright.runtime.answering import Answering
from upright.runtime.body import BODY_LIMIT
from upright.runtime.grpc.health import Health
from upright.runtime.grpc.messages import PACKAGE, POOL, SERVICE
from upright.runtime.grpc.methods import Methods
from upright.runtime.grpc.reading import CALLS, PATIENCE, BoundedReading

_OPTIONS = {
    "grpc.max_receive_message_length": BODY_LIMIT,
    "grpc.max_send_message_length": -1,  # an answer is bounded by its number of values
    # Each connection has ended by itself by when a pod takes no call any more: one that has come when the server stops,
    # and has not begun, is lost, and nothing else tells a client sooner.
    "grpc.max_connection_age_ms": round(1000 * CONNECTION_SECONDS),  # give or take a tenth
    "grpc.max_concurrent_streams": 128,
    "grpc.max_allowed_incoming_connections": 1024,
    "grpc.server_handshake_timeout_ms": round(1000 * PATIENCE),
    "grpc.max_metadata_size": 16 * 1024,
    "grpc.absolute_max_metadata_size": 16 * 1024,
    "grpc.http2.bdp_probe": 0,  # or a client may send up to 8 MiB of each message before it is read
    "grpc.compression_enabled_algorithms_bitset": 1,  # none: 8 MiB that are compressed may become gigabytes
}


@asynccontextmanager
async def listening(answering: Answering, port: int) -> AsyncIterator[None]:
    """A server at all of the pod's addresses, while the context lasts; calls that it has begun it finishes."""
    grace = answering.timeout + 1  # by then each call has its answer
    options = {**_OPTIONS, "grpc.max_connection_age_grace_ms": round(1000 * grace)}
    server = grpc.aio.server(
        interceptors=[BoundedReading(answering.served.version)],
        options=list(options.items()),
        maximum_concurrent_rpcs=CALLS,
    )
    server.add_generic_rpc_handlers((Methods(answering).handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(Health(answering), server)
    _reflect(server)
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    stopping = asyncio.create_task(_stop(server, answering, grace))
    try:
        yield
    finally:
        if not answering.draining:
            stopping.cancel()
            await server.stop(grace)
        else:
            await stopping


async def _stop(server: grpc.aio.Server, answering: Answering, grace: float) -> None:
    """While HTTP's server does, and not when that is done: both may take as long as a request does."""
    await answering.stopping.wait()
    await asyncio.sleep(GRPC_DRAIN_SECONDS)
    await server.stop(grace)


def _reflect(server: grpc.aio.Server) -> None:
    """Tell clients without a definition of the protocol what there is."""
    services = []
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        POOL.AddSerializedFile(file.serialized_pb)
        services += [service.full_name for service in file.services_by_name.values()]
    reflection.enable_server_reflection((f"{PACKAGE}.{SERVICE}", *services), server, pool=POOL)
