"""A line of a page of metrics: one sample, its labels and its value, from left to right."""

import re
from collections.abc import Mapping

_ESCAPED = re.compile(r"\\(.)")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t]*(?:,[ \t]*|(?=\}))')
_REST = re.compile(r"[ \t]*([^ \t_#]+)(?:[ \t]+-?[0-9.][0-9.eE+-]*)?(?:[ \t]+#.*)?")
"""The value, a time, and an exemplar."""


class PageError(ValueError):
    """A page cannot be used; the text says why, as what is said of a pod: "its page of metrics ..."."""


def parsed(text: str, name: str) -> tuple[Mapping[str, str], float]:
    """The labels and the value of a sample of that name. Raises PageError."""
    place, found = len(name), dict[str, str]()
    start = len(text) - len(text[place:].lstrip(" \t"))
    if text[start : start + 1] == "{":
        place = start + 1
        while label := _LABEL.match(text, place):
            if label[1] in found:
                raise wrong(name)
            found[label[1]] = label[2] if "\\" not in label[2] else _ESCAPED.sub(_unescaped, label[2])
            place = label.end()
        place = _closed(text, place, name)
    rest = _REST.fullmatch(text, place)
    if rest is None:
        raise wrong(name)
    try:
        return found, float(rest[1])
    except ValueError:
        raise wrong(name) from None


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]


def _closed(text: str, place: int, name: str) -> int:
    """The place after the brace that ends the labels."""
    after = len(text) - len(text[place:].lstrip(" \t"))
    if text[after : after + 1] != "}":
        raise wrong(name)
    return after + 1


def wrong(name: str) -> PageError:
    """That a line of such samples makes no sense."""
    return PageError(f"its page of metrics has a line of {name} that is not of Prometheus' text format")
