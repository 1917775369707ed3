"""The repository index of the Open Inference Protocol's model repository extension, as Triton answers it."""

from collections.abc import Sequence
from typing import Any

from upright.runtime.batch import BadInputError, described
from upright.runtime.protocol import json_object

_MOST = 4096
"""Bytes of what is asked; it is read in the loop."""


def index(body: bytes, model: str, version: str, hindrance: str) -> Sequence[dict[str, Any]]:
    """The one model that a pod has, or none where only those are asked for that are ready and it is not.

    `body` is nothing, or `{"ready": true}`; `hindrance` says why the model is not ready, and is empty when it is.
    Raises BadInputError for another body.
    """
    if len(body) > _MOST:
        raise BadInputError(f'the body must be empty or {{"ready": true}}; it has {len(body)} bytes')
    asked = json_object(body) if body.strip() else {}
    ready = asked.get("ready", False)
    if type(ready) is not bool:
        raise BadInputError(f"ready must be true or false; it is {described(ready)}")
    if ready and hindrance:
        return []
    state = "UNAVAILABLE" if hindrance else "READY"
    return [{"name": model, "version": version, "state": state, "reason": hindrance}]
