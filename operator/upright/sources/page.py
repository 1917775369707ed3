"""What a page of metrics (Prometheus' text format, or OpenMetrics) says of our counters and of those that a user
selects, read line by line as it arrives.

A page is whatever a tenant's pod sends. Only the lines of the metrics asked for are looked at, each once and from left
to right, and no more than a line is kept: the time is linear in the bytes, and both are bounded. The parsers of
prometheus_client take time that grows with the square of a line's labels.
"""

import math
import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Generator, Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from heapq import nlargest
from itertools import chain
from operator import itemgetter
from typing import NamedTuple, TypeVar

from upright.api.serving import (
    ANSWERED,
    EXAMPLE,
    FAILED,
    FAILURE_MESSAGES,
    FAILURES,
    IN_PROGRESS,
    MESSAGE,
    MISTAKEN,
    OVERLOADED,
    REFUSALS,
    REQUESTS,
)
from upright.sources.duplicates import Duplicates
from upright.sources.families import Families
from upright.sources.sample import PageError, parsed
from upright.sources.selectors import Condition, Selected
from upright.sources.tally import Counting, Part, Sum, Tally

MAX_BYTES = 4 * 1024 * 1024
MAX_LINES = 80_000
MOST_REASONS = 32
"""Also messages, and kinds of refusals."""
MOST_BUCKETS = 1024
"""Of all histograms that are compared."""
MAX_LINE = 16 * 1024
"""Bytes of one line."""
MOST_STEPS = 500_000_000
"""That it may take to compare a page with all conditions: about a second."""
_A_TURN = 150_000
_OF_A_LINE, _OF_A_BYTE, _OF_A_SUM = 3000, 20, 400
"""Steps: before others have their turn; and what it takes to read a line of so many bytes, and to add up a sample."""

_BASE = REQUESTS.removesuffix("_total")
_OTHERWISE = re.compile(rf"{_BASE}(?:_total)?(?:_total|_bucket|_count)?")
"""Of what is declared so a sample with another name: other libraries leave `_total` out, or count something else."""
_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_DECLARATION = re.compile(r"#[ \t]+(HELP|TYPE)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]+([a-z]{1,20})[ \t]*$|[ \t]|$)")
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
"""A reason: it is told to people, and whatever a pod says is not."""
_CLASS = re.compile(r"([1-5])(?:xx|[0-9]{2})")
"""Of a status: as it stands, or as a status that is counted by itself."""
_FEATURE = re.compile(r"\w[\w .:/\[\]-]{0,63}")
"""The name of a feature, likewise."""
_SAID = re.compile(f"(?:{MESSAGE})?"), re.compile(f"(?:{EXAMPLE})?")
"""What a model has failed with, and what it was asked, likewise."""


class NoCountersError(PageError):
    """A page does not say how the requests were answered."""


class Said(NamedTuple):
    """Of requests that failed: with what, what the model said, and what one of them asked, without values."""

    reason: str
    message: str
    example: str


@dataclass(frozen=True)
class Counters:
    """Requests for predictions of one pod since its process began; NaN where a part of a sum is no count. Of a page
    that does not count them, and need not, as many were `answered` as any of its metrics counts.
    """

    answered: float
    refused: float
    """For a client's mistake (4xx), or for want of room (503)."""
    failed: float
    in_progress: float | None = None
    """Those that have come in and have not been answered yet; None when the page does not say."""
    reasons: Mapping[str, float] = field(default_factory=dict)
    """Those that failed, by what went wrong, as far as the page says: the MOST_REASONS most frequent words."""
    messages: Mapping[Said, float] = field(default_factory=dict)
    """Those of them of which it says more, likewise."""
    refusals: Mapping[str, float] = field(default_factory=dict)
    """Those that were refused, by why, likewise: a word, and of which feature."""
    tallies: Mapping[str, Tally | str] = field(default_factory=dict)
    """By metric that was asked for, what the page counts of it, or why that cannot be said."""
    counts_requests: bool = True
    """The page does so itself."""

    @property
    def total(self) -> float:
        """All that came to an end."""
        return self.answered + self.refused + self.failed


class Scan:
    """A page that is being read: `feed` it as it arrives, and ask for its `counters` at its end.

    Args:
        wanted: metrics to count beside the requests, by name.
        requests: whether the page must count these.
    """

    def __init__(self, wanted: Mapping[str, Selected] | None = None, *, requests: bool = True) -> None:
        self._must_count_requests = requests
        self._bytes = self._lines = 0
        self._rest = b""
        self._known = self._declared = False
        self._otherwise = ""
        self._by_code = {code: Sum() for code in (ANSWERED, MISTAKEN, FAILED, OVERLOADED)}
        self._in_progress: float | None = None
        self._reasons: dict[str, float] = {}
        self._messages: dict[Said, float] = {}
        self._refusals: dict[str, float] = {}
        self._countings = {metric: Counting(selected) for metric, selected in (wanted or {}).items()}
        self._parts = {metric: counting.parts for metric, counting in self._countings.items()}
        self._of_name: dict[str, list[tuple[Part, list[tuple[int, Condition]]]]] = defaultdict(list)
        """Those that are made up of samples of a name, with their conditions, numbered: the same have one number."""
        numbers: dict[Condition, int] = {}
        for part in chain.from_iterable(self._parts.values()):
            conditions = [(numbers.setdefault(one, len(numbers)), one) for one in part.selector.conditions]
            self._of_name[part.selector.name].append((part, conditions))
        self._steps = self._turn = 0
        """What reading took, and had taken when others last had their turn, in steps of about 2 ns."""
        self._families = Families(self._of_name)
        self._duplicates = Duplicates()
        self._beginnings = (*_TOLD, *(name.encode() for name in (_BASE, *_OURS, *self._families.bases)))
        """Of the lines that are looked at."""

    def feed(self, part: bytes) -> None:
        """Take in the next part. Raises PageError when the page is too large, or a line that is wanted makes no sense,
        and NoCountersError when one counts requests and not how they were answered.
        """
        for _ in self.pieces(part):
            pass

    def pieces(self, part: bytes) -> Iterator[None]:
        """The same piece by piece: after each others may have their turn. None takes longer than about a millisecond,
        whatever the page and the selectors are.
        """
        self._bytes += len(part)
        if self._bytes > MAX_BYTES:
            raise PageError(f"its page of metrics has more than {MAX_BYTES // 1024} KiB")
        *lines, self._rest = (self._rest + part).split(b"\n")
        self._lines += len(lines)
        if self._lines > MAX_LINES:
            raise PageError(f"its page of metrics has more than {MAX_LINES} lines")
        if len(self._rest) > MAX_LINE or max(map(len, lines), default=0) > MAX_LINE:
            raise PageError(f"its page of metrics has a line of more than {MAX_LINE // 1024} KiB")
        for line in lines:
            if line.startswith(self._beginnings):
                yield from self._read(line)

    def _is_of_interest(self, cut: bytes) -> bool:
        """Whether a line that does not end may be one that is looked at."""
        return cut not in {b"", b"# EOF"} and any(
            one.startswith(cut) or cut.startswith(one) for one in self._beginnings
        )

    def counters(self) -> Counters:
        """What the whole page says. Raises NoCountersError when it says nothing of ours, PageError as `feed` does, and
        where its last line does not end.
        """
        if self._is_of_interest(self._rest.strip()):  # what was cut off reads as a smaller number
            raise PageError("its page of metrics ends within a line")
        self.feed(b"\n")
        twice = self._duplicates.twice()
        tallies = _few_enough({metric: self._tally(metric, twice) for metric in self._countings})
        if self._must_count_requests and REQUESTS in twice:
            raise PageError(_twice(REQUESTS))
        if REQUESTS in twice or (not self._known and (self._otherwise or not self._declared)):
            if not self._must_count_requests:
                return Counters(_most_counted(tallies), 0.0, 0.0, tallies=tallies, counts_requests=False)
            besides = f", but counts {self._otherwise}" if self._otherwise else ""
            raise NoCountersError(f"its page of metrics has no {REQUESTS}{besides}")
        by_code = {code: counted.value for code, counted in self._by_code.items()}
        return Counters(
            by_code[ANSWERED],
            by_code[MISTAKEN] + by_code[OVERLOADED],
            by_code[FAILED],
            self._in_progress,
            most(self._reasons),
            most(self._messages),
            most(self._refusals),
            tallies,
        )

    def _tally(self, metric: str, twice: Set[Hashable]) -> Tally | str:
        families, (total, *_), parts = self._families, self._parts[metric], self._parts[metric]
        for part in parts:
            if why := families.no_counter(part.selector.name):
                return why
        if why := families.missing(total.selector):
            return why
        for part in parts:
            if part in twice:
                return _twice(part.selector.name)
        return self._countings[metric].tally(
            has_series=families.samples(total.selector.name),
            knows_bad=all(families.has(part.selector.name) for part in parts),
        )

    def _read(self, line: bytes) -> Iterator[None]:
        line = line.strip(b" \t\r").removeprefix(BOM_UTF8)
        if line.startswith(b"#"):
            self._declare(line.decode(errors="replace"))
            return
        found = _NAME.match(line)
        if found is None or line[found.end() : found.end() + 1] not in _AFTER_NAME:
            return
        name = found[0].decode()
        self._families.sample(name)
        if not self._known and name != REQUESTS and _OTHERWISE.fullmatch(name):
            self._otherwise = name
        if name not in _OURS and name not in self._of_name:
            return
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise PageError(f"its page of metrics has a line of {name} that is no UTF-8") from None
        yield from self._sample(name, text)

    def _declare(self, text: str) -> None:
        """A comment, which may tell of a metric; a counter that has not counted yet has no samples."""
        told = _DECLARATION.match(text)
        if told is None:
            return
        self._declared = self._declared or told[2] in (REQUESTS, _BASE)
        if told[1] == "TYPE" and told[3]:
            self._families.declare(told[2], told[3])

    def _sample(self, name: str, text: str) -> Iterator[None]:
        labels, value = parsed(text, name)
        self._steps += _OF_A_LINE + _OF_A_BYTE * len(text)
        parts = yield from self._selecting(name, labels)
        for part in parts:
            part.take(labels, value)
        if parts or name == REQUESTS:
            self._duplicates.add(name, labels, [*parts, *({REQUESTS} & {name})])
        if name == REQUESTS:
            try:
                code = _class(labels.get("code", ""))
            except NoCountersError:
                if self._must_count_requests:
                    raise
                return
            self._known = True
            if code in self._by_code:  # no other class is an answer to a request for predictions
                self._by_code[code].add(value)
        elif name == IN_PROGRESS:
            self._in_progress = (self._in_progress or 0.0) + value
        elif name == FAILURES:
            _add(self._reasons, labels.get("reason", ""), value)
        elif name == FAILURE_MESSAGES:
            said = Said(*(labels.get(field, "") for field in Said._fields))
            if 0 < value < math.inf and _is_told(said):
                self._messages[said] = self._messages.get(said, 0.0) + value
        elif name == REFUSALS:
            _add(self._refusals, labels.get("reason", ""), value, labels.get("feature", ""))

    def _selecting(self, name: str, labels: Mapping[str, str]) -> Generator[None, None, list[Part]]:
        """What a series counts for. Each condition is looked at once."""
        holds, selecting = dict[int, bool](), list[Part]()
        for part, conditions in self._of_name.get(name, ()):
            for number, condition in conditions:
                if number not in holds:
                    value = labels.get(condition.label, "")
                    holds[number] = condition.holds(value)
                    self._steps += condition.costs(value)
                    if self._is_due():
                        yield
                if not holds[number]:
                    break
            else:
                selecting.append(part)
                self._steps += _OF_A_SUM
        if self._is_due():
            yield
        return selecting

    def _is_due(self) -> bool:
        """Whether it is others' turn. Raises PageError when the page has taken too long."""
        if self._steps > MOST_STEPS:
            raise PageError(
                "its page of metrics has more series than can be compared with so many conditions of monitoring.metrics"
            )
        due = self._steps - self._turn > _A_TURN
        self._turn = self._steps if due else self._turn
        return due


_OURS = frozenset({REQUESTS, IN_PROGRESS, FAILURES, FAILURE_MESSAGES, REFUSALS})
_AFTER_NAME = {b"{", b" ", b"\t"}
_TOLD = (b"# HELP", b"# TYPE", b"#\t", b"#  ", b" ", b"\t", BOM_UTF8)
"""How lines begin that may be of any metric."""


_TOO_MANY = f"its page of metrics has more than {MOST_BUCKETS} buckets of all metrics together; name those to compare"


def _few_enough(tallies: Mapping[str, Tally | str]) -> Mapping[str, Tally | str]:
    """The tallies, as long as they have no more than MOST_BUCKETS together; of further ones why they are not kept."""
    kept, buckets = dict[str, Tally | str](), 0
    for metric, tally in tallies.items():
        buckets += len(tally.upto or ()) if isinstance(tally, Tally) else 0
        kept[metric] = tally if buckets <= MOST_BUCKETS else _TOO_MANY
    return kept


def _most_counted(tallies: Mapping[str, Tally | str]) -> float:
    return max((tally.total for tally in tallies.values() if isinstance(tally, Tally)), default=0.0)


def _add(counted: dict[str, float], reason: str, count: float, feature: str = "") -> None:
    """Count what may be told."""
    told = f"{reason} of {feature}" if _FEATURE.fullmatch(feature) else reason
    if 0 < count < math.inf and _WORD.fullmatch(reason):
        counted[told] = counted.get(told, 0.0) + count


def _is_told(said: Said) -> bool:
    """Whether all of it may be."""
    parts = zip((_WORD, *_SAID), said, strict=True)
    return all(part.fullmatch(text) for part, text in parts)


K = TypeVar("K", str, Said)


def most(counted: Mapping[K, float]) -> Mapping[K, float]:
    """The most frequent, as many as are kept."""
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


def _twice(name: str) -> str:
    return f"its page of metrics has a series of {name} twice"
