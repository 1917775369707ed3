"""The command `serve`."""

from collections.abc import Mapping


def serve(environment: Mapping[str, str]) -> None:
    """Serve."""
    raise NotImplementedError
