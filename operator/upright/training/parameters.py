"""A run's parameters as a file and as environment variables."""

import json
import re
from collections.abc import Mapping
from typing import Any

PREFIX = "UPRIGHT_PARAM_"
NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""Of a parameter. The chart has a policy for that, since a schema cannot say it of an object of anything."""
MAX_BYTES = 64 * 1024
"""Of all parameters as JSON: an environment variable cannot hold more than 128 KiB, an annotation not more than 256."""


class InvalidParametersError(ValueError):
    """The parameters cannot be an environment. The message says which and why."""


def as_environment(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Each parameter as `UPRIGHT_PARAM_<NAME>`: text as it is, anything else as JSON.

    Raises InvalidParametersError for a name that is no variable's, two names that differ only in case, a text with a
    NUL character, or more than 64 KiB in all.
    """
    variables: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in parameters.items():
        if not re.fullmatch(NAME, name):
            raise InvalidParametersError(
                f"spec.parameters has the name {name!r}, which cannot be an environment variable: "
                "use letters, digits and underscores, not starting with a digit"
            )
        variable = PREFIX + name.upper()
        if variable in variables:
            raise InvalidParametersError(
                f"spec.parameters has both {names[variable]!r} and {name!r}, which would both be {variable}: rename one"
            )
        text = value if isinstance(value, str) else as_json(value)
        if "\0" in text:
            raise InvalidParametersError(f"spec.parameters.{name} contains a NUL character: remove it")
        names[variable], variables[variable] = name, text
    size = len(as_json(parameters).encode())
    if size > MAX_BYTES:
        raise InvalidParametersError(
            f"spec.parameters has {size} bytes as JSON, more than the {MAX_BYTES} that a run's environment can hold: "
            "put large values into a file in spec.data"
        )
    return variables


def as_json(value: Any) -> str:
    """JSON as it stands in files and variables: one line, names in order."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
