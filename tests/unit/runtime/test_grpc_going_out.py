"""A pod that stops and another that takes over, as a gRPC client sees it that keeps its connection."""

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2 as protocol

from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.server import a_free_port, a_store_with, serving
from tests.unit.runtime.test_serve import refused

REQUEST = protocol.ModelInferRequest(
    model_name="churn",
    inputs=[{"name": "x", "datatype": "FP64", "shape": [1, 4], "contents": {"fp64_contents": [6, 2, 1, 1]}}],
)


class Service:
    """Leads connections to a port, as a Service does: those that are there stay where they are."""

    def __init__(self, leads_to: int) -> None:
        self.leads_to = leads_to
        self.connections = 0
        self.carried = 0
        """Bytes, both ways."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._connect, "127.0.0.1") as server:
            yield "{}:{}".format(*server.sockets[0].getsockname())

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        with suppress(asyncio.CancelledError):  # by the end of the session, where one is still open
            await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while content := await reader.read(65536):
                self.carried += len(content)
                writer.write(content)
                await writer.drain()
        writer.close()


async def test_no_call_is_lost_when_another_pod_takes_over(tmp_path: Path) -> None:
    (of_old := tmp_path / "old").mkdir()
    (of_new := tmp_path / "new").mkdir()
    old_pod, new_pod = a_pod(of_old), a_pod(of_new)
    old_port, new_port = a_free_port(), a_free_port()
    environment = a_store_with(old_pod, a_matrix_model())
    with (
        serving(old_pod, {**environment, "UPRIGHT_GRPC_PORT": str(old_port)}) as old,
        serving(
            new_pod, {**environment, "UPRIGHT_GRPC_PORT": str(new_port), "UPRIGHT_MODEL_VERSION": "churn-8"}
        ) as new,
    ):
        service, answers, under_way, over = Service(old_port), Counter[str](), asyncio.Event(), asyncio.Event()
        async with service.listening() as address, grpc.aio.insecure_channel(address) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer", protocol.ModelInferRequest.SerializeToString
            )

            async def ask() -> None:
                while not over.is_set():
                    call = infer(REQUEST)
                    answers[str(await call.code())] += 1
                    for key, value in await call.trailing_metadata():
                        answers[value] += key == "upright-model-version"
                    if answers["churn-7"] >= 100:
                        under_way.set()

            asking = [asyncio.create_task(ask()) for _ in range(32)]
            await under_way.wait()
            service.leads_to = new_port
            old.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(old.process.wait, 60)
            seen = answers["churn-8"]
            over.set()
            await asyncio.gather(*asking)

        assert set(answers) == {"StatusCode.OK", "churn-7", "churn-8"}
        assert seen > 0, "they had come over before the old pod ended"
        assert service.connections == 2
        assert new.metric("upright_requests_total", code="2xx") == answers["churn-8"]


def test_several_workers_share_the_port_and_count_together(tmp_path: Path) -> None:
    pod, port = a_pod(tmp_path), a_free_port()
    environment = {**a_store_with(pod, a_matrix_model()), "UPRIGHT_GRPC_PORT": str(port), "UPRIGHT_WORKERS": "2"}
    with serving(pod, environment) as server:
        for _ in range(20):
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(REQUEST.SerializeToString())

        assert server.metric("upright_requests_total", code="2xx") == 20


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    pod, port = a_pod(tmp_path), a_free_port()
    environment = {**a_store_with(pod, a_matrix_model()), "UPRIGHT_PORT": str(port), "UPRIGHT_GRPC_PORT": str(port)}

    status, message = refused(pod, environment)

    assert (status, message["reason"]) == (3, "InvalidEnvironment")
    assert message["message"] == f"UPRIGHT_GRPC_PORT must be another port than UPRIGHT_PORT; both are {port}"
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment["UPRIGHT_GRPC_PORT"] = str(port := other.getsockname()[1])
        status, message = refused(pod, environment)
    assert (status, message["reason"]) == (1, "CannotListen")
    assert f"cannot listen on port {port}" in message["message"]


@pytest.mark.parametrize("port", ["0", "grpc", ""])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    pod = a_pod(tmp_path)

    status, message = refused(pod, {**a_store_with(pod, a_matrix_model()), "UPRIGHT_GRPC_PORT": port})

    assert (status, message["reason"]) == (3, "InvalidEnvironment")


def test_nothing_of_grpc_is_there_where_nobody_asks_for_it(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    with serving(pod, a_store_with(pod, a_matrix_model())) as server:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()

    assert "cygrpc" not in maps
    assert "protobuf" not in maps
