"""A run's parameters as a file and as environment variables."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from upright.conditions import some

PREFIX = "UPRIGHT_PARAM_"
NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""Of a parameter. The chart has a policy for that, since a schema cannot say it of an object of anything."""
MAX_BYTES = 64 * 1024
"""Of all parameters as JSON: an environment variable cannot hold more than 128 KiB, an annotation not more than 256."""


class InvalidParametersError(ValueError):
    """The parameters cannot be an environment. The message says which and why."""


def as_environment(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Each parameter as `UPRIGHT_PARAM_<NAME>`: text as it is, anything else as JSON.

    Raises InvalidParametersError for more than 64 KiB in all, of which nothing else is looked at, for names that are no
    variable's, names that differ only in case and texts with a NUL character: it says all that is wrong, so that one
    correction is enough.
    """
    size = len(as_json(parameters).encode())
    if size > MAX_BYTES:
        raise InvalidParametersError(
            f"spec.parameters has {size} bytes as JSON, more than the {MAX_BYTES} that a run's environment can hold: "
            "put large values into a file in spec.data"
        )
    variables: dict[str, str] = {}
    by_variable: defaultdict[str, list[str]] = defaultdict(list)
    wrong: list[str] = []
    faults: list[str] = []
    for name, value in parameters.items():
        text = value if isinstance(value, str) else as_json(value)
        if not re.fullmatch(NAME, name):
            wrong.append(name)
        elif "\0" in text:
            faults.append(f"spec.parameters.{name} contains a NUL character: remove it")
        variables[PREFIX + name.upper()] = text
        by_variable[PREFIX + name.upper()].append(name)
    if wrong:
        faults.insert(
            0,
            f"spec.parameters has {_quoted(wrong)}, which cannot be environment variables: use letters, digits and "
            "underscores, not starting with a digit",
        )
    faults += [
        f"spec.parameters has {_quoted(alike)}, which would all be {variable}: rename all but one"
        for variable, alike in by_variable.items()
        if len(alike) > 1
    ]
    if faults:
        raise InvalidParametersError("; ".join(some(faults, len(faults))))
    return variables


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(some((f'"{name}"' for name in names), len(names)))


def as_json(value: Any) -> str:
    """JSON as it stands in files and variables: one line, names in order."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
