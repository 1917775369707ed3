"""What a metric selects among the counters of a page, or of a server: PromQL's instant vector selectors.

Who may make a Deployment writes them, so their regular expressions are matched in linear time and in little memory, and
so few are kept that nobody's fill the operator's.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import promql_parser
import re2
from promql_parser import MatchOp

from upright.api.monitoring import Metric, MetricType
from upright.api.serving import OVERLOADED, REQUEST_DURATION, REQUESTS

MOST_CONDITIONS = 8
"""On the labels of one selector."""

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
class Selector:
    """One metric, with conditions on its labels."""

    name: str
    conditions: tuple[tuple[str, Callable[[str], bool]], ...]
    """A label, and what its value must be like; one that is not there has the empty value."""
    text: str
    """As PromQL writes it."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of that name is meant."""
        return all(holds(labels.get(label, "")) for label, holds in self.conditions)

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


@lru_cache(maxsize=128)
def selected(metric: Metric) -> Selected | None:
    """What a metric counts; None when it does not say so, and no pod does by itself. Raises SelectorError."""
    if metric.total is None:
        return _served(metric.type) if metric.type in _SERVED else None
    bad = None if metric.bad is None else _parsed(metric, "bad", metric.bad)
    return Selected(_parsed(metric, "total", metric.total), bad)


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
    parsed = promql_parser.parse(text)
    if not isinstance(parsed, promql_parser.VectorSelector) or parsed.name is None:
        raise ValueError('it must select one metric, such as shop_orders_total or shop_orders_total{plan="basic"}')
    if parsed.offset is not None or parsed.at is not None or parsed.matchers.or_matchers:
        raise ValueError("it must select a metric as it is now, by labels that must all hold")
    matchers = parsed.matchers.matchers
    if len(matchers) > MOST_CONDITIONS:
        raise ValueError(f"it has {len(matchers)} conditions, and may have {MOST_CONDITIONS}")
    conditions = tuple((one.name, _condition(one.op, one.value)) for one in matchers)
    written = [f"{one.name}{_operator(one)}{json.dumps(one.value, ensure_ascii=False)}" for one in matchers]
    return Selector(parsed.name, conditions, f"{parsed.name}{{{', '.join(written)}}}" if written else parsed.name)


_OPERATORS = ((MatchOp.Equal, "="), (MatchOp.NotEqual, "!="), (MatchOp.Re, "=~"), (MatchOp.NotRe, "!~"))
_BOUNDED = re2.Options()
_BOUNDED.log_errors = False
_BOUNDED.max_mem = 64 * 1024  # of each, with what it remembers while it is matched


def _operator(matcher: promql_parser.Matcher) -> str:
    return next(text for op, text in _OPERATORS if op == matcher.op)


def _condition(op: MatchOp, value: str) -> Callable[[str], bool]:
    if op == MatchOp.Equal:
        return value.__eq__
    if op == MatchOp.NotEqual:
        return value.__ne__
    try:
        matching = re2.compile(value, _BOUNDED).fullmatch
    except re2.error as problem:
        raise ValueError(f"regular expression {value!r}: {problem}") from None
    if op == MatchOp.Re:
        return lambda found: matching(found) is not None
    return lambda found: matching(found) is None
