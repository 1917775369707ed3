"""What a page of metrics (Prometheus' text format) says of the counters of ours, read line by line as it arrives.

A page is whatever a tenant's pod sends. Only the lines of the metrics asked for are looked at, each once and from left
to right, and no more than a line is kept: the time is linear in the bytes, and both are bounded. The parsers of
prometheus_client take time that grows with the square of a line's labels.
"""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from operator import itemgetter

from upright.api.serving import ANSWERED, FAILED, FAILURES, IN_PROGRESS, MISTAKEN, OVERLOADED, REFUSALS, REQUESTS

MAX_BYTES = 1024 * 1024
MAX_LINES = 20_000
MOST_REASONS = 32
MAX_LINE = 16 * 1024
"""Bytes of one line."""

_NAMES = {name: name.encode() for name in (REQUESTS, IN_PROGRESS, FAILURES, REFUSALS)}
_FAMILY = f"{REQUESTS.removesuffix('_total')}(?:_total)?"
_DECLARED = re.compile(rf"#[ \t]+(?:HELP|TYPE)[ \t]+{_FAMILY}(?:[ \t]|$)".encode())
_OTHERWISE = re.compile(rf"({_FAMILY}(?:_total|_bucket|_count)?)[ \t{{]".encode())
"""Of what is declared so a sample with another name: other libraries leave `_total` out, or count something else."""
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t]*(?:,[ \t]*|(?=\}))')
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
"""A reason: it is told to people, and whatever a pod says is not."""
_CLASS = re.compile(r"([1-5])(?:xx|[0-9]{2})")
"""Of a status: as it stands, or as a status that is counted by itself."""
_FEATURE = re.compile(r"\w[\w .:/\[\]-]{0,63}")
"""The name of a feature, likewise."""
_REST = re.compile(r"[ \t]*([^ \t_#]+)(?:[ \t]+-?[0-9.][0-9.eE+-]*)?(?:[ \t]+#.*)?")
"""The value, a time, and an exemplar."""


class PageError(ValueError):
    """A page cannot be used; the text says why, as what is said of a pod: "its page of metrics ..."."""


class NoCountersError(PageError):
    """A page does not say how the requests were answered."""


@dataclass(frozen=True)
class Counters:
    """Requests for predictions of one pod since its process began; NaN where a part of a sum is no count."""

    answered: float
    refused: float
    """For a client's mistake (4xx), or for want of room (503)."""
    failed: float
    in_progress: float | None = None
    """Those that have come in and have not been answered yet; None when the page does not say."""
    reasons: Mapping[str, float] = field(default_factory=dict)
    """Those that failed, by what went wrong, as far as the page says: the MOST_REASONS most frequent words."""
    refusals: Mapping[str, float] = field(default_factory=dict)
    """Those that were refused, by why, likewise: a word, and of which feature."""

    @property
    def total(self) -> float:
        """All that came to an end."""
        return self.answered + self.refused + self.failed


class Scan:
    """A page that is being read: `feed` it as it arrives, and ask for its `counters` at its end."""

    def __init__(self) -> None:
        self._bytes = self._lines = 0
        self._rest = b""
        self._known = self._declared = False
        self._otherwise = ""
        self._by_code = dict.fromkeys((ANSWERED, MISTAKEN, FAILED, OVERLOADED), 0.0)
        self._in_progress: float | None = None
        self._reasons: dict[str, float] = {}
        self._refusals: dict[str, float] = {}

    def feed(self, part: bytes) -> None:
        """Take in the next part. Raises PageError when the page is too large, or a line of ours makes no sense, and
        NoCountersError when one counts requests and not how they were answered.
        """
        self._bytes += len(part)
        if self._bytes > MAX_BYTES:
            raise PageError(f"its page of metrics has more than {MAX_BYTES // 1024} KiB")
        *lines, self._rest = (self._rest + part).split(b"\n")
        self._lines += len(lines)
        if self._lines > MAX_LINES:
            raise PageError(f"its page of metrics has more than {MAX_LINES} lines")
        if len(self._rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise PageError(f"its page of metrics has a line of more than {MAX_LINE // 1024} KiB")
        for line in lines:
            self._read(line)

    def counters(self) -> Counters:
        """What the whole page says. Raises NoCountersError when it says nothing of ours, PageError as `feed` does."""
        self.feed(b"\n")
        if not self._known and (self._otherwise or not self._declared):
            besides = f", but counts {self._otherwise}" if self._otherwise else ""
            raise NoCountersError(f"its page of metrics has no {REQUESTS}{besides}")
        by_code = self._by_code
        refused = by_code[MISTAKEN] + by_code[OVERLOADED]
        reasons, refusals = _most(self._reasons), _most(self._refusals)
        return Counters(by_code[ANSWERED], refused, by_code[FAILED], self._in_progress, reasons, refusals)

    def _read(self, line: bytes) -> None:
        line = line.strip(b" \t\r").removeprefix(BOM_UTF8)
        if line.startswith(_NAMES[REQUESTS]):
            sample = _sample(line, REQUESTS, "code")
            if sample is not None:
                (status,), value = sample
                code = _class(status)
                self._known = True
                if code in self._by_code:  # no other class is an answer to a request for predictions
                    # a negative part must be seen even where the sum is not negative
                    self._by_code[code] += value if value >= 0 else math.nan
        elif line.startswith(_NAMES[IN_PROGRESS]):
            sample = _sample(line, IN_PROGRESS)
            if sample is not None:
                self._in_progress = (self._in_progress or 0.0) + sample[1]
        elif line.startswith(_NAMES[FAILURES]):
            sample = _sample(line, FAILURES, "reason")
            if sample is not None:
                (reason,), value = sample
                _add(self._reasons, reason, value)
        elif line.startswith(_NAMES[REFUSALS]):
            sample = _sample(line, REFUSALS, "reason", "feature")
            if sample is not None:
                (reason, feature), value = sample
                _add(self._refusals, reason, value, feature)
        elif line.startswith(b"#") and _DECLARED.match(line):
            self._declared = True  # a counter that has not counted yet has no samples
        if not self._known and (otherwise := _OTHERWISE.match(line)):
            self._otherwise = otherwise[1].decode()


def _add(counted: dict[str, float], reason: str, count: float, feature: str = "") -> None:
    """Count what may be told."""
    told = f"{reason} of {feature}" if _FEATURE.fullmatch(feature) else reason
    if count > 0 and _WORD.fullmatch(reason):
        counted[told] = counted.get(told, 0.0) + count


def _most(counted: Mapping[str, float]) -> Mapping[str, float]:
    return dict(nlargest(MOST_REASONS, counted.items(), key=itemgetter(1)))


def counters(page: bytes) -> Counters:
    """What a whole page says. Raises PageError when it cannot be used, NoCountersError when it says nothing of ours."""
    scan = Scan()
    scan.feed(page)
    return scan.counters()


def _class(code: str) -> str:
    """By which the requests of a `code` count: of pods of ours itself, and of most libraries a status. Raises
    NoCountersError when it is neither, lest what was counted be taken for nothing.
    """
    if code == OVERLOADED:
        return code
    if (status := _CLASS.fullmatch(code)) is None:
        word = f'with code="{code}"' if _WORD.fullmatch(code) else "with a code that is no word"
        found = word if code else "without code"
        raise NoCountersError(f"its page of metrics has {REQUESTS} {found}, where 2xx, 4xx or 5xx was expected")
    return f"{status[1]}xx"


def _sample(line: bytes, name: str, *wanted: str) -> tuple[Sequence[str], float] | None:
    """The wanted labels, each empty when it is not there, and the value of a sample; None when it is one of another
    metric with a longer name.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise PageError(f"its page of metrics has a line of {name} that is no UTF-8") from None
    place = len(name)
    if text[place : place + 1] not in ("{", " ", "\t"):
        return None
    found: dict[str, str] = {}
    start = len(text) - len(text[place:].lstrip(" \t"))
    if text[start : start + 1] == "{":
        place = start + 1
        while label := _LABEL.match(text, place):
            if label[1] in wanted:
                if label[1] in found:
                    raise _wrong(name)
                found[label[1]] = label[2]
            place = label.end()
        place = _closed(text, place, name)
    rest = _REST.fullmatch(text, place)
    if rest is None:
        raise _wrong(name)
    try:
        return [found.get(label, "") for label in wanted], float(rest[1])
    except ValueError:
        raise _wrong(name) from None


def _closed(text: str, place: int, name: str) -> int:
    """The place after the brace that ends the labels."""
    after = len(text) - len(text[place:].lstrip(" \t"))
    if text[after : after + 1] != "}":
        raise _wrong(name)
    return after + 1


def _wrong(name: str) -> PageError:
    return PageError(f"its page of metrics has a line of {name} that is not of Prometheus' text format")
