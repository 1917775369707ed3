"""What a look at many pods costs: `python -m tests.bench.pages`; prints figures.

Forty pods show 5,000 lines each, of which those of two families are asked for; then the worst pages that a tenant may
send: all of whose lines are looked at by sixteen metrics with as many conditions as they may have, and with labels and
regular expressions that are as slow as they may be, of one pod and of sixteen at once. Pods answer from another
process, and what is measured is the time of the operator's processor, so that the figures are its alone.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

from aiohttp import web

from tests.unit.analysis.builders import a_metric, a_policy
from tests.unit.builders import a_pod
from upright.contract import Key
from upright.pods.reading import read
from upright.rollout.measuring import Asked
from upright.sources.page import MAX_BYTES, Counters
from upright.sources.pods import PodPages
from upright.sources.selectors import MOST_CONDITIONS
from upright.sources.wanted import wanted

PODS, LINES = 40, 5000
ORDERS = a_metric("Ratio", "refunds", bad='shop_refunds_total{kind="full"}', total="shop_orders_total")
USUAL = "".join(
    f'http_server_requests_seconds_bucket{{route="/v1/items/{line % 97}",le="{line % 13}",status="200"}} {line}\n'
    for line in range(LINES - 104)
) + "".join(
    [
        *(
            f'upright_requests_total{{code="{code}",model="churn"}} 1000\n'
            for code in ("2xx", "4xx", "5xx", "overload")
        ),
        *(f'shop_orders_total{{shop="{shop}"}} 100\n' for shop in range(50)),
        *(f'shop_refunds_total{{kind="full",shop="{shop}"}} 1\n' for shop in range(50)),
    ]
)
CONDITIONS = ",".join(f'l{label}=~".*(a|b).*"' for label in range(MOST_CONDITIONS))
WORST = [a_metric("Ratio", f"m{n}", bad=f"a{{{CONDITIONS}}}", total=f"a{{{CONDITIONS}}}") for n in range(16)]
SLOW = [
    a_metric("Ratio", f"m{n}", bad=f'a{{b!~"[ab]*a[ab]{{{500 + n}}}"}}', total=f'a{{b!~"[ab]*a[ab]{{{520 + n}}}"}}')
    for n in range(16)
]
LINE = "a{" + ",".join(f'l{label}="xxxxxxxxa{{0}}"' for label in range(MOST_CONDITIONS)).replace("{0}", "%d") + "} 1\n"


def main() -> None:
    """Print the table."""
    largest = "".join(LINE % ((line,) * MOST_CONDITIONS) for line in range(MAX_BYTES // (len(LINE) + 32)))
    slow = "".join(f'a{{b="{"ab" * 125}{line:05}"}} 1\n' for line in range(10_000))
    for name, pods, page, metrics in (
        (f"{PODS} pods of {LINES} lines", PODS, USUAL, [a_metric(), ORDERS]),
        ("one pod with the worst page", 1, largest, WORST),
        ("one pod with slow labels", 1, slow, SLOW),
        ("16 pods with slow labels", 16, slow, SLOW),
    ):
        seconds, held, counted = asyncio.run(look(pods, page, metrics))
        print(f"{name}: {1000 * seconds:.0f} ms of CPU, the loop held for {1000 * held:.0f} ms at most; {counted} read")


async def look(pods: int, page: str, metrics: list[dict[str, object]]) -> tuple[float, float, int]:
    """CPU time of a look in seconds, the longest time for which nothing else had its turn, and how many were read."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(page, theirs), daemon=True)
    server.start()
    spec = {"containers": [{"ports": [{"name": "http", "containerPort": ours.recv()}]}]}
    asked = Asked("a-b", a_policy(*metrics), {}, None)
    there = [read({**a_pod(f"pod-{number}", podIP="127.0.0.1"), "spec": spec}) for number in range(pods)]
    pages, key, longest = PodPages(may_ask=lambda _: True), Key("shop", "churn"), 0.0
    kept = wanted(asked)  # as a comparison does

    async def tick() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    await pages.read(key, there, asked)  # what is compiled once is compiled now
    begun = time.process_time()
    found = await pages.read(key, there, asked)
    seconds = time.process_time() - begun
    ticking = asyncio.create_task(tick())
    await pages.read(key, there, asked)
    ticking.cancel()
    server.kill()
    del kept
    return seconds, longest, sum(isinstance(one, Counters) for one in found.values())


def serve(page: str, channel: Connection) -> None:
    """Answer with the page, at a port that the channel tells."""

    async def forever() -> None:
        app = web.Application()
        app.router.add_get("/metrics", lambda _: answer())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        channel.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    async def answer() -> web.Response:
        return web.Response(text=page)

    asyncio.run(forever())


if __name__ == "__main__":
    main()
