"""The command `serve`: a server for the model that the environment names, of HTTP and, if it says so, of gRPC."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from upright.api.serving import GRPC_DRAIN_SECONDS
from upright.runtime.environment import folder_of, limits_of, number_of
from upright.runtime.load import Load, load_of
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.scratch import prefix_of
from upright.runtime.segments import Segment, segments_of

if TYPE_CHECKING:
    import uvicorn

    from upright.runtime.answering import Answering
    from upright.runtime.service import Beside
    from upright.runtime.traffic import Traffic

_PORT = 3000

_TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers of a pod keep their counts, so that each can tell the sum."""

_EACH = "UPRIGHT_LOADED_BY_EACH"
"""Set where loading the model has started threads: those are missing in a fork, which would wait for them for ever."""

_WITHOUT_ARROW = frozenset({"builtins", "collections", "lightgbm", "numpy", "scipy", "sklearn", "xgboost"})
"""Packages whose types may be trusted and ask nothing of pandas that needs pyarrow."""


def serve(environment: Mapping[str, str]) -> None:
    """Serve until told to stop. Raises RefusedError or FailedError when the artifact cannot be served."""
    # Process 1 of a container sees only what it has a handler for. What is imported then may catch what is raised.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file; some runtimes begin with 1,024
    port, workers = number_of(environment, "UPRIGHT_PORT", _PORT), number_of(environment, "UPRIGHT_WORKERS", 1)
    load, segments = load_of(environment), segments_of(environment)
    if (grpc_port := _grpc_port(environment)) is not None:
        if grpc_port == port:
            raise RefusedError(
                "InvalidEnvironment", f"UPRIGHT_GRPC_PORT must be another port than UPRIGHT_PORT; both are {port}"
            )
        bound(grpc_port).close()  # while it can be said: its server binds it when all else is up
    with bound(port) as listener, suppress(KeyboardInterrupt):
        if workers == 1:
            _serve_alone(environment, load, segments, listener)
        elif not _serve_together(environment, load, segments, listener, workers):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, _EACH: "true"})  # noqa: S606


def _serve_alone(
    environment: Mapping[str, str], load: Load, segments: Sequence[Segment], listener: socket.socket
) -> None:
    _import_pandas(environment)
    from prometheus_client import REGISTRY

    from upright.runtime.answering import answering
    from upright.runtime.artifact import load_artifact
    from upright.runtime.service import application

    answers = answering(load_artifact(environment), load, segments=segments)
    server(application(answers, REGISTRY, _beside(environment, answers)), load).run(sockets=[listener])


def _serve_together(
    environment: Mapping[str, str], load: Load, segments: Sequence[Segment], listener: socket.socket, workers: int
) -> bool:
    """The model is loaded once, and its memory shared, unless loading it starts threads: then returns False, and is to
    be called again in a process that has none.
    """
    with tempfile.TemporaryDirectory(prefix=prefix_of("serve")) as counts:
        os.environ[_TOGETHER] = counts  # read when the package is imported
        _import_pandas(environment)
        import skops.io  # noqa: F401 - starts threads, which OpenBLAS starts anew in a fork
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        from upright.runtime.answering import answering
        from upright.runtime.artifact import load_artifact
        from upright.runtime.board import Board, Place
        from upright.runtime.service import DRAIN_SECONDS, application
        from upright.runtime.workers import serve_given, serve_together

        before, loaded = _threads(), None if _EACH in environment else load_artifact(environment)
        if _threads() > before:
            return False
        registry, board = CollectorRegistry(), Board(workers)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]

        def work(number: int, channel: socket.socket) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            served = loaded or load_artifact(environment)
            answers = answering(served, load, Place(board, number), segments)
            serving = server(application(answers, registry, _beside(environment, answers)), load)
            asyncio.run(serve_given(serving, channel))

        gc.collect()
        gc.freeze()  # or each worker copies what it looks at for garbage
        drain = DRAIN_SECONDS if _grpc_port(environment) is None else GRPC_DRAIN_SECONDS
        serve_together(work, board, listener, workers, drain, ceil(load.timeout) + 2)
    return True


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def server(serves: "Traffic", load: Load) -> "uvicorn.Server":
    """What serves an application in this process, at the sockets that it is run with."""
    import uvicorn

    from upright.runtime.connection import Connection

    return uvicorn.Server(
        uvicorn.Config(
            serves,
            http=partial(Connection, version=serves.version),  # type: ignore[arg-type] # whatever makes one
            loop="asyncio",
            ws="none",
            timeout_keep_alive=620,  # longer than balancers do: who ends a connection knows that nothing is coming
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            timeout_graceful_shutdown=ceil(load.timeout) + 1,  # by then each request has its answer
        )
    )


def _beside(environment: Mapping[str, str], answers: "Answering") -> "Beside | None":
    if (port := _grpc_port(environment)) is None:
        return None
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # or what strangers send wrong fills the log; read on import
    from upright.runtime.grpc.server import listening
    from upright.runtime.service import Beside

    return Beside(listening(answers, port), GRPC_DRAIN_SECONDS)


def _grpc_port(environment: Mapping[str, str]) -> int | None:
    name = "UPRIGHT_GRPC_PORT"
    return number_of(environment, name, 0) if name in environment else None


def _import_pandas(environment: Mapping[str, str]) -> None:
    """Without pyarrow, which it takes where it finds it: 33 MB and half a second that no prediction needs. But what a
    pickle keeps of pandas' own, such as the names of columns, was made with it and cannot be read without, and modules
    of the user's own and types of the platform's were tried with it.
    """
    from upright.runtime.formats.joblib import JOBLIB

    folder = folder_of(environment, "UPRIGHT_ARTIFACT")
    if any(os.access(folder / file, os.F_OK) for file in JOBLIB.files) or any(folder.glob("*.py")):
        return
    if {name.partition(".")[0] for name in limits_of(environment).trusted_types} - _WITHOUT_ARROW:
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment] # as the import system has it
    import pandas as pd  # noqa: F401

    del sys.modules["pyarrow"]


def bound(port: int) -> socket.socket:
    """A socket for the port at all of the pod's addresses, of both families: a cluster may have IPv6 alone, or none.

    It does not listen yet, so that nobody waits for a server that is not there. Raises FailedError.
    """
    try:
        return bound_at(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise _cannot_listen(port, error) from error
    try:
        return bound_at(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - a pod is reached at its own address
    except OSError as error:
        raise _cannot_listen(port, error) from error


def bound_at(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """A socket for the port at an address, which does not listen yet. Raises OSError."""
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
