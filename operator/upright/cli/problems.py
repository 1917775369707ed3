"""What a user can put right: said in a sentence, never as a traceback."""

from pydantic import ValidationError

from upright.api.refusals import sentence

UNUSABLE = 2
"""Exit status for input that cannot be used."""

_EXPECTED = {"tuple_type": "expected a list", "model_type": "expected fields with values"}


class Unusable(Exception):  # noqa: N818 - it is the input that is unusable, not the program that is in error
    """Input that cannot be used; the text says where, what was expected and what was found."""


def sentences(problem: ValidationError) -> str:
    """Each problem that pydantic found, with the field's path and what stood there."""
    parts = []
    errors = problem.errors(include_url=False)
    for error in errors:
        if any(other["loc"][: len(error["loc"])] == error["loc"] != other["loc"] for other in errors):
            continue  # a list lacks what was refused in it
        where = ".".join(str(part) for part in error["loc"])
        said = _EXPECTED.get(error["type"], sentence(error))
        found = "" if isinstance(error["input"], dict) else f", found {error['input']!r}"
        parts.append(f"{where + ': ' if where else ''}{said}{found}")
    return "; ".join(parts)
