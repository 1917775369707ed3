"""The state of an analysis as plain JSON: what a restart needs to go on with a bit-equal verdict.

Arrays of one live rollout become text (shape and base64 of little-endian 64-bit floats: exact, and a third of the size
of decimal numbers). Arrays over the runs of a simulation stay arrays, so such a state is not JSON.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upright.api.monitoring import Policy

# A JSON object; pass it through json.dumps and json.loads as you like.
State: TypeAlias = dict[str, Any]


def fingerprint(policy: Policy) -> str:
    """Names the part of a policy that a state depends on."""
    text = policy.model_dump_json(exclude={"on_inconclusive"})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode(array: NDArray[Any]) -> Any:
    """The array as text when it has one run, else the array itself."""
    if array.shape[0] != 1:
        return array
    content = base64.b64encode(array.astype("<f8").tobytes()).decode("ascii")
    return f"{'x'.join(str(length) for length in array.shape)}:{content}"


def decode(stored: Any) -> NDArray[np.float64]:
    """The array that `encode` was given, as floats."""
    if not isinstance(stored, str):
        return np.asarray(stored, dtype=np.float64)
    shape, _, content = stored.partition(":")
    flat = np.frombuffer(base64.b64decode(content), dtype="<f8")
    return flat.reshape([int(length) for length in shape.split("x")])


def checked(state: Mapping[str, Any], policy: Policy) -> Mapping[str, Any]:
    """The state, when it belongs to this policy.

    Raises:
        ValueError: the state was begun with another policy, or is not a state.
    """
    found = state.get("policy") if isinstance(state, Mapping) else None
    if found != fingerprint(policy):
        raise ValueError(
            f"the state belongs to policy {found!r}, not to this one ({fingerprint(policy)!r}): "
            "metrics, tolerances, interval or horizon were changed. Call begin(policy) and analyse the looks again."
        )
    return state
