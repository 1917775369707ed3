"""What users must not write: the API server refuses it in CEL, and whoever reads a file with the same sentence.

A refusal may be younger than its field, and objects that have what it refuses are stored. The API server keeps them and
lets all else in them be changed, so they are read as they always were: a young refusal is for what is written now.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationInfo
from pydantic_core import ErrorDetails

from upright.api.schema import Rule

WRITTEN: Mapping[str, bool] = {"written": True}
"""The context in which pydantic validates what somebody writes now. Without it, it is what is stored."""


class Refusal(NamedTuple):
    """What is refused: for the API server, and for whoever reads a file."""

    rule: Rule
    holds: Callable[[Any], bool]
    """Whether a value is as it must be."""
    young: bool = False
    """Whether values that it refuses may be stored, and can be reckoned with."""


def check(refusals: Sequence[Refusal], value: Any, info: ValidationInfo, of: str = "") -> None:
    """Raises ValueError with the sentence of the first that refuses the value. `of`: what the sentence begins with."""
    for refusal in refusals:
        if not refusal.holds(value) and (info.context == WRITTEN or not refusal.young):
            raise ValueError(f"{of}{refusal.rule.message}")


def sentence(problem: ErrorDetails) -> str:
    """What pydantic found, without the word that it puts before the sentences of others."""
    return problem["msg"].removeprefix("Value error, ")
