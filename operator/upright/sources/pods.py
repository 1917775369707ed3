"""The counters of serving pods, from the pods themselves: GET /metrics, of pods that may not be what they seem.

Who may make a Deployment decides what answers at its pods' addresses. So only a pod's own address is asked, at the port
that it names or its Deployment; no redirect is followed, nothing is sent that others should not have, and what comes
back is bounded in bytes, from the first one on, and in time, and never unpacked.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from upright.api.serving import REQUESTS
from upright.conditions import some
from upright.contract import Key
from upright.pods.reading import Pod
from upright.rollout.measuring import LONGEST, Asked
from upright.sources.answers import AnswerError, LargeAnswerError, Reader, body, head
from upright.sources.page import MAX_BYTES, Counters, NoCountersError, Scan
from upright.sources.places import Places
from upright.sources.requests import are_counted
from upright.sources.sample import PageError
from upright.sources.wanted import Wanted, wanted

PATIENCE = timedelta(seconds=2)
"""How long a pod may take, from the first packet to the last byte of its page."""
CONNECTIONS, EACH = 64, 16
"""How many may be open at once over all Deployments, and for one."""

_MOST_SENT = 2 * MAX_BYTES
"""Bytes that a page may take in all, with what its chunks are framed in."""
_HEADERS = (
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nUser-Agent: upright\r\nConnection: close\r\n"
)

Address = IPv4Address | IPv6Address

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unread:
    """Why a pod's counters are not known."""

    why: str
    """What is to be said of the pod, for instance "it does not answer within 2s"."""
    remedy: str = ""
    """What to do, in sentences."""


class _UnreachableError(OSError):
    """There is no connection."""


def is_of_a_pod(address: Address) -> bool:
    """Whether a pod of its own network can have the address; that of a node or of the metadata service is none."""
    known = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    return not (known.is_loopback or known.is_link_local or known.is_multicast or known.is_unspecified)


class PodPages:
    """Reads the pages of metrics of pods, many at once, and no Deployment at the cost of others."""

    def __init__(
        self,
        may_ask: Callable[[Address], bool] = is_of_a_pod,
        patience: timedelta = PATIENCE,
        longest: timedelta = LONGEST,
    ) -> None:
        self._may_ask = may_ask
        self._patience = patience
        self._longest = longest
        self._places = Places(CONNECTIONS, EACH)

    async def read(self, key: Key, pods: Sequence[Pod], asked: Asked) -> Mapping[str, Counters | Unread]:
        """What each pod of a Deployment counts, by its name. They are asked in their order."""
        found: dict[str, Counters | Unread] = {}
        left, want = iter(pods), wanted(asked)

        async def some() -> None:
            for pod in left:
                found[pod.name] = await self._counters(key, pod, asked, want)

        try:
            async with asyncio.timeout(self._longest.total_seconds()), asyncio.TaskGroup() as group:
                for _ in range(min(EACH, len(pods))):
                    group.create_task(some())
        except TimeoutError:
            logger.debug("%s: not all pods were read within %s", key, self._longest)
        return {pod.name: found.get(pod.name) or _NOT_IN_TIME for pod in pods}

    async def _counters(self, key: Key, pod: Pod, asked: Asked, want: Wanted) -> Counters | Unread:
        port, named = (asked.port, "monitoring.pods.port") if asked.port else (pod.port, "serving.port")
        if pod.host_network:
            return Unread(
                "it uses its node's network, so that its address is not its own",
                "Remove hostNetwork from the pod: the operator asks no node.",
            )
        address = _parsed(pod.address)
        if address is None:
            return Unread("it has no address" if not pod.address else "its address is no IP address")
        if not self._may_ask(address):
            return Unread("its address is not one of a pod")
        async with self._places.one(key):
            try:
                async with asyncio.timeout(self._patience.total_seconds()):
                    return await _page(address, port, asked.path, want)
            except TimeoutError:
                return Unread(f"it does not answer within {self._patience.total_seconds():g}s", _reach(port))
            except NoCountersError as error:
                return Unread(str(error), _count(asked, pod))
            except (PageError, LargeAnswerError) as error:
                return Unread(
                    str(error), "Let the container serve a whole and smaller page of metrics in Prometheus' format."
                )
            except ConnectionRefusedError:
                return Unread("it refuses connections", f"Its container must listen on port {port} ({named}).")
            except _UnreachableError:
                return Unread("it cannot be reached", _reach(port))
            except (AnswerError, OSError) as error:
                logger.debug("%s of pod %s cannot be read: %r", asked.path, pod.name, error)
                return Unread("it does not answer as an HTTP server does", _reach(port))
            except Exception:
                logger.exception("%s of pod %s cannot be read by a mistake of Upright's own", asked.path, pod.name)
                return Unread(
                    "its page of metrics cannot be read by a mistake of Upright's own",
                    "Please report it, with the traceback in the operator's log.",
                )


_NOT_IN_TIME = Unread(
    "the time for reading all pods was over before it was read",
    "Too many pods do not answer: see to those first.",
)


def _reach(port: int) -> str:
    return (
        f"The operator must reach port {port} of the pods: a NetworkPolicy, if there is one, must let its namespace in."
    )


def _count(asked: Asked, pod: Pod) -> str:
    """What to do about a page that does not count requests: a sidecar's need not, and the pod's own may well."""
    if asked.counts_itself(pod):
        return (
            f'An image of one\'s own must count its answers in {REQUESTS}; see "An image of your own" in '
            "docs/analysis.md."
        )
    names = [metric.name for metric in asked.policy.metrics if are_counted(metric)]
    return (
        f"All metrics are read from one page, at monitoring.pods.port. Give {', '.join(some(names, len(names)))} "
        "selectors of counters that it has, or list monitoring.metrics without; or remove the port, to read that of "
        f"port {pod.port}."
    )


def _parsed(address: str) -> Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None


async def _page(address: Address, port: int, path: str, want: Wanted) -> Counters | Unread:
    """What a pod counts. Raises PageError for a page that cannot be used, AnswerError for an answer that is none of
    HTTP, and OSError: _UnreachableError or ConnectionRefusedError when there is no connection.
    """
    reader, loop = Reader(), asyncio.get_running_loop()
    try:
        connection, _ = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), str(address), port)
    except ConnectionRefusedError:
        raise
    except OSError as error:
        raise _UnreachableError(*error.args) from error
    try:
        host = f"[{address}]" if address.version == 6 else str(address)
        connection.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{_HEADERS}\r\n".encode())
        return await _read(reader, port, path, want)
    finally:
        connection.abort()


async def _read(reader: asyncio.StreamReader, port: int, path: str, want: Wanted) -> Counters | Unread:
    status, headers = await head(reader)
    if status != 200:
        redirects = ", which is followed nowhere" if 300 <= status < 400 else ""
        return Unread(
            f"it answers GET {path} with status {status}{redirects}",
            f"Its container must serve its metrics at {path} (monitoring.pods.path) of port {port}.",
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        return Unread(
            "its page of metrics is compressed although it was asked not to be",
            "Let the container answer as Accept-Encoding asks.",
        )
    scan = Scan(want.selected, requests=want.requests)
    await body(reader, headers, _MOST_SENT, scan.pieces)
    if {"content-length", "transfer-encoding"} & headers.keys():  # all of it is there: its last line need not end
        for _ in scan.pieces(b"\n"):
            await asyncio.sleep(0)
    return scan.counters()
