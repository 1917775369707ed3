"""Runs in a pod: a server that fails a given share of its requests, and counts as a served model does.

The share follows from the version that it serves: `fallible.py good=0.01 bad=0.2` fails 20 % as `bad-7`.
Each connection gets one answer.
"""

import asyncio
import os
import random
import signal
import sys

VERSION = os.environ.get("UPRIGHT_MODEL_VERSION", "")
PORT = int(os.environ.get("UPRIGHT_PORT", "3000"))


async def main() -> None:
    shares = dict(argument.split("=") for argument in sys.argv[1:])
    share = float(shares[VERSION.split("-")[0]])
    counts = {"2xx": 0, "5xx": 0}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
            await reader.readexactly(length)
            writer.write(respond(lines[0]))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a probe, which only connects
        finally:
            writer.close()

    def respond(request: str) -> bytes:
        if request.startswith("GET /metrics "):
            lines = [f'upright_requests_total{{version="{VERSION}",code="{code}"}} {n}' for code, n in counts.items()]
            return page("200 OK", "# TYPE upright_requests_total counter\n" + "\n".join(lines) + "\n")
        failed = random.random() < share
        counts["5xx" if failed else "2xx"] += 1
        return page("500 Internal Server Error", "{}") if failed else page("200 OK", "{}")

    server = await asyncio.start_server(answer, "0.0.0.0", PORT, backlog=1024)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    try:
        await server.serve_forever()
    except asyncio.CancelledError:
        await server.wait_closed()


def page(status: str, text: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nupright-model-version: {VERSION}\r\nconnection: close\r\n"
    return f"{head}content-length: {len(text)}\r\n\r\n{text}".encode()


if __name__ == "__main__":
    asyncio.run(main())
