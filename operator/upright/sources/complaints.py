"""With what the requests of an arm failed, and why they were refused, since they are compared."""

from collections.abc import Mapping
from typing import TypeVar

from upright.analysis.counters import fell
from upright.rollout.measuring import Frequent
from upright.sources.page import Counters, Said, most

K = TypeVar("K", str, Said)


class Complaints:
    """Of one arm: fed with what each of its pods showed at two looks."""

    def __init__(self) -> None:
        self._failed = self._refused = 0.0
        self._reasons: Mapping[str, float] = {}
        self._messages: Mapping[Said, float] = {}
        self._refusals: Mapping[str, float] = {}

    def add(self, before: Counters, now: Counters) -> None:
        """Count what a pod has added. Whatever pods say, no more is kept than of one of them."""
        self._failed += since(before.failed, now.failed)
        self._refused += since(before.refused, now.refused)
        self._reasons = _added(self._reasons, before.reasons, now.reasons)
        self._messages = _added(self._messages, before.messages, now.messages)
        self._refusals = _added(self._refusals, before.refusals, now.refusals)

    @property
    def failing(self) -> Frequent | None:
        """The most frequent error: a message, or a word where more requests failed with that of which no more is said.

        Another worker of a pod has another example for the same message: one is taken.
        """
        found: dict[tuple[str, str], float] = {(reason, ""): count for reason, count in self._reasons.items()}
        examples = dict[tuple[str, str], str]()
        for (reason, message, example), count in self._messages.items():
            found[reason, message] = found.get((reason, message), 0.0) + count
            found[reason, ""] = found.get((reason, ""), 0.0) - count
            examples.setdefault((reason, message), example)
        if not found:
            return None
        reason, message = most_frequent = max(found, key=lambda one: (found[one], one))
        count = found[most_frequent]
        return Frequent(reason, count, max(self._failed, count), message, examples.get(most_frequent, ""))

    @property
    def refusing(self) -> Frequent | None:
        """The most frequent reason of refusals."""
        if not self._refusals:
            return None
        count, why = max((count, why) for why, count in self._refusals.items())
        return Frequent(why, count, max(self._refused, count))


def since(before: float, now: float) -> float:
    """What has come to a counter; all of it where it began anew."""
    return now if fell(before, now) else max(now - before, 0.0)


def _added(counted: Mapping[K, float], before: Mapping[K, float], now: Mapping[K, float]) -> Mapping[K, float]:
    added = {what: since(before.get(what, 0.0), count) for what, count in now.items()}
    if not any(added.values()):
        return counted
    return most({what: counted.get(what, 0.0) + added.get(what, 0.0) for what in {**counted, **added}})
