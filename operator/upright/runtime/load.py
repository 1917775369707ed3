"""How much a serving process takes on, as its environment says."""

from collections.abc import Mapping
from dataclasses import dataclass

from upright.runtime.environment import number_of, seconds_of


@dataclass(frozen=True)
class Load:
    """Limits of one process."""

    timeout: float = 30.0
    """Seconds within which a request for predictions is answered, if not by the model then by an error."""
    waiting: int = 64
    """Requests that may wait for the model. More are answered 503 at once."""
    batch_rows: int | None = None
    """Requests are answered together, up to so many rows; None: each by itself."""
    batch_wait: float = 0.002
    """Seconds for which a request waits for others to be answered with."""


def load_of(environment: Mapping[str, str]) -> Load:
    """Raises RefusedError."""
    return Load(
        timeout=seconds_of(environment, "UPRIGHT_TIMEOUT", Load.timeout),
        waiting=number_of(environment, "UPRIGHT_QUEUE", Load.waiting),
        batch_rows=number_of(environment, "UPRIGHT_BATCH_ROWS", 1) if "UPRIGHT_BATCH_ROWS" in environment else None,
        batch_wait=seconds_of(environment, "UPRIGHT_BATCH_WAIT", Load.batch_wait),
    )
