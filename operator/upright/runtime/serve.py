"""The command `serve`: a server for the model that the environment names, of HTTP and, if it says so, of gRPC."""

import errno
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from upright.api.serving import GRPC_DRAIN_SECONDS
from upright.runtime.environment import number_of
from upright.runtime.load import load_of
from upright.runtime.outcome import FailedError, RefusedError

if TYPE_CHECKING:
    from upright.runtime.answering import Answering
    from upright.runtime.service import Beside
    from upright.runtime.traffic import Traffic

_PORT = 3000

_TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers of a pod keep their counts, so that each can tell the sum."""


def serve(environment: Mapping[str, str]) -> None:
    """Serve until told to stop. Raises RefusedError or FailedError when the artifact cannot be served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    port, workers = number_of(environment, "UPRIGHT_PORT", _PORT), number_of(environment, "UPRIGHT_WORKERS", 1)
    load = load_of(environment)
    if (grpc_port := _grpc_port(environment)) is not None:
        if grpc_port == port:
            raise RefusedError(
                "InvalidEnvironment", f"UPRIGHT_GRPC_PORT must be another port than UPRIGHT_PORT; both are {port}"
            )
        bound(grpc_port).close()  # while it can be said: its server binds it when all else is up
    with tempfile.TemporaryDirectory(prefix="upright-serve-") as scratch:
        if workers > 1:  # they count together, in files; read when the package is imported
            os.environ[_TOGETHER] = scratch
        import uvicorn
        from uvicorn.supervisors import Multiprocess

        from upright.runtime.connection import Connection

        config = uvicorn.Config(
            application() if workers == 1 else "upright.runtime.serve:application",
            factory=workers > 1,
            workers=workers,
            http=Connection,
            loop="asyncio",
            ws="none",
            timeout_keep_alive=75,  # longer than proxies do: who ends a connection knows that nothing is coming
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ceil(load.timeout) + 1,  # by then each request has its answer
        )
        with bound(port) as listener, suppress(KeyboardInterrupt):
            if workers == 1:
                uvicorn.Server(config).run(sockets=[listener])
            else:
                listener.set_inheritable(True)
                Multiprocess(config, sockets=[listener]).run()


def application() -> "Traffic":
    """What one worker serves; each verifies the artifact for itself."""
    _import_pandas_alone()
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from upright.runtime.answering import answering
    from upright.runtime.artifact import load_artifact
    from upright.runtime.service import application

    registry = REGISTRY
    if together := os.environ.get(_TOGETHER):
        _forget_ended_workers(Path(together))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    answers = answering(load_artifact(os.environ), load_of(os.environ))
    return application(answers, registry, _beside(answers))


def _beside(answers: "Answering") -> "Beside | None":
    if (port := _grpc_port(os.environ)) is None:
        return None
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # or what strangers send wrong fills the log; read on import
    from upright.runtime.grpc.server import listening
    from upright.runtime.service import Beside

    return Beside(listening(answers, port), GRPC_DRAIN_SECONDS)


def _grpc_port(environment: Mapping[str, str]) -> int | None:
    name = "UPRIGHT_GRPC_PORT"
    return number_of(environment, name, 0) if name in environment else None


def _import_pandas_alone() -> None:
    """Without pyarrow, which it takes where it finds it: 33 MB and half a second that no prediction needs."""
    sys.modules["pyarrow"] = None  # type: ignore[assignment] # as the import system has it
    import pandas as pd  # noqa: F401

    del sys.modules["pyarrow"]


def bound(port: int) -> socket.socket:
    """A socket for the port at all of the pod's addresses, of both families: a cluster may have IPv6 alone, or none.

    It does not listen yet, so that nobody waits for a server that is not there. Raises FailedError.
    """
    try:
        return _bound(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise _cannot_listen(port, error) from error
    try:
        return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - a pod is reached at its own address
    except OSError as error:
        raise _cannot_listen(port, error) from error


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # With the protocol named, asyncio sends what is written at once; without, each answer waits 40 ms for a receipt.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _cannot_listen(port: int, error: OSError) -> FailedError:
    return FailedError(
        "CannotListen", f"The server cannot listen on port {port}: {error.strerror}; choose another port"
    )


def _forget_ended_workers(metrics: Path) -> None:
    """A worker that was killed with requests in progress leaves its gauges behind: its successor removes them."""
    from prometheus_client.multiprocess import mark_process_dead

    for gauges in metrics.glob("gauge_live*.db"):
        worker = int(gauges.stem.rpartition("_")[2])
        if not Path(f"/proc/{worker}").exists():
            mark_process_dead(worker, str(metrics))  # type: ignore[no-untyped-call]
