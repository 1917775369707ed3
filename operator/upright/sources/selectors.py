"""What a metric selects among the counters of a page, or of a server: PromQL's instant vector selectors.

Who may make a Deployment writes them, and the labels that they are matched with. So a regular expression has few states
and looks at short values only: what one takes, in time and in memory, is bounded by the product of both.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import promql_parser
import re2

from upright.api.by_segment import GroupMetric
from upright.api.monitoring import Metric, MetricType
from upright.api.selector import without_operators
from upright.api.serving import OVERLOADED, REQUEST_DURATION, REQUESTS

MOST_CONDITIONS = 8
"""On the labels of one selector."""
LONGEST_VALUE = 256
"""Bytes of a label's value at which a regular expression looks; it matches no longer one."""
MOST_STATES = 640
"""Of all regular expressions of one selector."""

_SERVED: Mapping[MetricType, tuple[str, str | None]] = {
    MetricType.ERROR_RATE: (f'{REQUESTS}{{code=~"[25].."}}', f'{REQUESTS}{{code=~"5.."}}'),
    MetricType.REFUSAL_RATE: (
        f'{REQUESTS}{{code=~"[245]..|{OVERLOADED}"}}',
        f'{REQUESTS}{{code=~"4..|{OVERLOADED}"}}',
    ),
    MetricType.LATENCY: (f"{REQUEST_DURATION}_bucket", None),
}
"""All events and the bad ones, of the pods that Upright serves: by the class of a status, or a status at a time, as
`upright.sources.page` reads them."""


class SelectorError(ValueError):
    """What is written selects no metric; the text says which field of which metric, and why."""


@dataclass(frozen=True)
class Condition:
    """What the value of a label must be like; one that is not there has the empty value."""

    label: str
    operator: str
    value: str
    holds: Callable[[str], bool] = field(compare=False)
    states: int = field(compare=False)
    """How many times as long as a comparison it takes for each byte of a value."""

    def costs(self, value: str) -> int:
        """How long it takes for a value, in steps of about 2 ns."""
        return 500 + self.states * min(len(value), LONGEST_VALUE)


@dataclass(frozen=True)
class Selector:
    """One metric, with conditions on its labels."""

    name: str
    conditions: tuple[Condition, ...]
    text: str
    """As PromQL writes it."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of that name is meant."""
        return all(condition.holds(labels.get(condition.label, "")) for condition in self.conditions)

    def within(self, conditions: Iterable[tuple[str, str, str]]) -> "Selector":
        """It with more conditions, each a label, an operator, = or !=, and a value."""
        more = (_condition(*one) for one in conditions)
        return _written(self.name, (*self.conditions, *more))

    def also(self, matchers: str) -> str:
        """It with more conditions, such as `version="v2"`, as PromQL writes it."""
        name, _, within = self.text.partition("{")
        return f"{name}{{{', '.join(part for part in (within.removesuffix('}'), matchers) if part)}}}"


@dataclass(frozen=True)
class Selected:
    """What a metric counts."""

    total: Selector
    """All events; where there is no `bad`, the buckets of a histogram of them."""
    bad: Selector | None
    edges: tuple[float, ...] | None = None
    """Of the buckets, those that are compared; None: any that all pods have."""


def selected(metric: Metric) -> Selected | None:
    """What a metric counts; None when it does not say so, and no pod does by itself. Raises SelectorError."""
    if metric.total is None:
        served = _served(metric.type) if metric.type in _SERVED else None
        return replace(served, edges=metric.buckets) if served else None
    total = _parsed(metric, "total", metric.total)
    bad = None if metric.bad is None else _parsed(metric, "bad", metric.bad)
    if isinstance(metric, GroupMetric):
        return Selected(total.within(metric.within), bad and bad.within(metric.within))
    return Selected(total, bad, metric.buckets)


@cache
def _served(type: MetricType) -> Selected:
    total, bad = _SERVED[type]
    return Selected(_selector(total), _selector(bad) if bad else None)


def _parsed(metric: Metric, field: str, text: str) -> Selector:
    try:
        return _selector(text)
    except ValueError as problem:
        raise SelectorError(f"{field} of metric {metric.name}, {text!r}, cannot be read: {problem}") from None


def _selector(text: str) -> Selector:
    """Raises ValueError."""
    plain, operators = without_operators(text)
    parsed = promql_parser.parse(plain)
    if not isinstance(parsed, promql_parser.VectorSelector) or parsed.name is None:
        raise ValueError('it must select one metric, such as shop_orders_total or shop_orders_total{plan="basic"}')
    if parsed.offset is not None or parsed.at is not None or parsed.matchers.or_matchers:
        raise ValueError("it must select a metric as it is now, by labels that must all hold")
    matchers = parsed.matchers.matchers
    if len(matchers) > MOST_CONDITIONS:
        raise ValueError(f"it has {len(matchers)} conditions, and may have {MOST_CONDITIONS}")
    found = ((one.name, operator, one.value) for one, operator in zip(matchers, operators, strict=True))
    return _written(parsed.name, tuple(_conditions(found)))


def _written(name: str, conditions: tuple[Condition, ...]) -> Selector:
    written = [f"{one.label}{one.operator}{json.dumps(one.value, ensure_ascii=False)}" for one in conditions]
    return Selector(name, conditions, f"{name}{{{', '.join(written)}}}" if written else name)


_BOUNDED = re2.Options()
_BOUNDED.log_errors = False
_BOUNDED.never_capture = True
_BOUNDED.max_mem = 8 * 1024  # of each, with what it remembers while it is matched: some 600 states
_TOO_LARGE = b"pattern too large"


def _conditions(written: Iterable[tuple[str, str, str]]) -> Iterator[Condition]:
    """Raises ValueError."""
    states = 0
    for one in written:
        condition = _condition(*one)
        states += condition.states
        if states > MOST_STATES:
            raise ValueError(
                "its regular expressions are too large together: write them shorter, or let them repeat less"
            )
        yield condition


def _condition(label: str, operator: str, value: str) -> Condition:
    """Raises ValueError."""
    if operator == "=":
        return Condition(label, operator, value, value.__eq__, 0)
    if operator == "!=":
        return Condition(label, operator, value, value.__ne__, 0)
    try:
        expression = re2.compile(value, _BOUNDED)
    except re2.error as problem:
        why = problem.args[0]
        large = " is too large: write it shorter, or let it repeat less"
        said = large if why.startswith(_TOO_LARGE) else f": {why.decode(errors='replace')}"
        raise ValueError(f"regular expression {value!r}{said}") from None

    def matches(found: str) -> bool:
        encoded = found.encode()
        return len(encoded) <= LONGEST_VALUE and expression.fullmatch(encoded) is not None

    holds = matches if operator == "=~" else lambda found: not matches(found)
    return Condition(label, operator, value, holds, expression.programsize)
