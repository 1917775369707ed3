"""Runs in a pod: calls to a served model over a few gRPC channels, and one line of JSON for each answer, as load.py.

A call without an answer fails at once: nothing here tries again, nor waits for a connection.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from itertools import count, cycle
from threading import Thread
from typing import Any

import grpc

from upright.runtime.grpc.messages import MESSAGES, PACKAGE, SERVICE

CHANNELS = 4
PLANS = cycle([b"basic", b"premium", b"prepaid", b"basic", b"flex"])
CONTENTS: Mapping[str, tuple[str, Any]] = {
    "INT64": ("int64_contents", [3]),
    "FP64": ("fp64_contents", [20.0]),
    "BOOL": ("bool_contents", [True]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rate", type=int, required=True)
    chosen = parser.parse_args()
    for _ in range(CHANNELS):
        Thread(target=ask, args=(chosen.address, chosen.model, chosen.rate / CHANNELS)).start()


def ask(address: str, model: str, rate: float) -> None:
    """For good, at a steady rate, over one channel."""
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    metadata, _ = call(channel, "ModelMetadata", name=model)
    begun = time.monotonic()
    for number in count():
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        started = time.time()
        try:
            _, version = call(channel, "ModelInfer", model_name=model, inputs=[row_of(one) for one in metadata.inputs])
            outcome = f"ok {version}"
        except grpc.RpcError as error:
            outcome = f"failed {version_of(error)} {error.code().name}"
        sys.stdout.write(json.dumps([started, time.time(), outcome]) + "\n")  # in one piece: there are other threads
        sys.stdout.flush()


def row_of(tensor: Any) -> Mapping[str, Any]:
    """A customer's value."""
    field, values = CONTENTS.get(tensor.datatype, ("bytes_contents", None))
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": [1],
        "contents": {field: values or [next(PLANS)]},
    }


def call(channel: Any, method: str, **request: Any) -> tuple[Any, str]:
    """The answer, and the version that gave it."""
    made = channel.unary_unary(
        f"/{PACKAGE}.{SERVICE}/{method}",
        MESSAGES[f"{method}Request"].SerializeToString,
        MESSAGES[f"{method}Response"].FromString,
    )
    answer, done = made.with_call(MESSAGES[f"{method}Request"](**request), timeout=10)
    return answer, version_of(done)


def version_of(done: Any) -> str:
    return str(dict(done.trailing_metadata() or ()).get("upright-model-version", "-"))


if __name__ == "__main__":
    main()
