"""The counts that a rollout is judged by, of requests for predictions however they come."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from upright.api.serving import (
    ANSWERED,
    FAILED,
    FAILURE_MESSAGES,
    FAILURES,
    IN_PROGRESS,
    MISTAKEN,
    OVERLOADED,
    PREDICTIONS,
    REFUSALS,
    REQUEST_DURATION,
    REQUESTS,
    SEGMENT_REQUESTS,
)
from upright.runtime.batch import Batch
from upright.runtime.groups import Groups
from upright.runtime.segments import Group

BUSY = 503
"""The status of an answer to a request for which there is no room."""

GONE = 499
"""The status of an answer for which no client is left."""

_NOBODYS = (408, GONE)
"""Statuses that say nothing of a version: the client sent too slowly, or went away before its turn."""

_NAMED = 16
"""Features, of those that requests are refused for."""

_REASONS, _MESSAGES = 16, 8
"""Classes of errors, and messages, that are told apart: a model may make up as many as it likes."""

_CLASS = re.compile(r"\w{1,64}", re.ASCII)
_OTHER = "Other"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Measurements:
    """The metrics of one model version, from zero."""

    def __init__(self, model: str, version: str, groups: Groups) -> None:
        labels = {"model": model, "version": version}
        requests = Counter(REQUESTS, "Requests for predictions by status class.", [*labels, "code"])
        self._requests = {
            code: requests.labels(**labels, code=code) for code in (ANSWERED, MISTAKEN, FAILED, OVERLOADED)
        }
        self.groups = groups
        of_segments = Counter(
            SEGMENT_REQUESTS,
            "Requests for predictions that were answered, or failed, by group of users.",
            [*labels, "segment", "value", "outcome"],
        )
        # all from the start: what appears later cannot be compared with what there was
        self._of_segments = {
            code: {group: of_segments.labels(model, version, *group, outcome) for group in groups.all}
            for code, outcome in ((ANSWERED, "answered"), (FAILED, "failed"))
        }
        failures = Counter(FAILURES, "Requests for predictions that failed, by what went wrong.", [*labels, "reason"])
        self._failures = partial(failures.labels, model, version)
        self._reasons = set[str]()
        said = Counter(
            FAILURE_MESSAGES,
            "Requests for predictions that failed, by what the model said, without values.",
            [*labels, "reason", "message", "example"],
        )
        self._said = partial(said.labels, model, version)
        self._messages = dict[tuple[str, str], Counter]()
        refusals = Counter(
            REFUSALS, "Requests for predictions that were refused, by why.", [*labels, "reason", "feature"]
        )
        self._refusals = partial(refusals.labels, model, version)
        self._refused_features = set[str]()
        self._durations = Histogram(
            REQUEST_DURATION, "Seconds until a request for predictions was answered.", [*labels], buckets=_BUCKETS
        ).labels(**labels)
        self.in_progress = Gauge(
            IN_PROGRESS, "Requests for predictions without an answer yet.", [*labels], multiprocess_mode="livesum"
        ).labels(**labels)
        self.predictions = Counter(PREDICTIONS, "Rows that were predicted.", [*labels]).labels(**labels)

    def failed(self, reason: str, message: str = "", example: Callable[[], str] = str) -> None:
        """What is answered with 5xx has gone wrong so. `message`, `example`: as FAILURE_MESSAGES has them; the latter
        is asked for once for each message.
        """
        if _CLASS.fullmatch(reason) and len(self._reasons) < _REASONS:
            self._reasons.add(reason)
        reason = reason if reason in self._reasons else _OTHER
        self._failures(reason).inc()
        known = self._messages.get((reason, message))
        if known is None and message and len(self._messages) < _MESSAGES:
            known = self._messages[reason, message] = self._said(reason, message, example())
        if known is not None:
            known.inc()

    def refused(self, reason: str, feature: str = "") -> None:
        """What is answered with 4xx or BUSY was refused so, for the sake of a feature of the model. Only so many
        features are named: a model may have thousands.
        """
        if len(self._refused_features) < _NAMED:
            self._refused_features.add(feature)
        self._refusals(reason, feature if feature in self._refused_features else "").inc()

    def count(self, status: int, seconds: float, groups: Sequence[Group] = ()) -> None:
        """One request has been answered, with a status as HTTP has it, that has rows of these groups. What was refused
        says nothing of how long the model takes, and counts in no group: it may not have been read.
        """
        if status in _NOBODYS:
            return
        code = OVERLOADED if status == BUSY else FAILED if status >= 500 else MISTAKEN if status >= 400 else ANSWERED
        self._requests[code].inc()
        if code in {ANSWERED, FAILED}:
            self._durations.observe(seconds)
            for group in groups:
                self._of_segments[code][group].inc()


class CountedRequest:
    """One request for predictions: in progress from its last byte to the first of its answer.

    So a client that sends or reads slowly is not taken for a model that does, and one that goes away before the model
    has begun counts nothing, unless its turn did not come in time. One that goes away later counts as it was answered:
    the model's part was done, and an error would make clients' impatience the version's fault.
    """

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._entered: float | None = None
        self._groups: Sequence[Group] = ()
        self._ended = False

    def enter(self) -> None:
        """It is there to its last byte."""
        if self._entered is None and not self._ended:
            self._entered = perf_counter()
            self._measured.in_progress.inc()

    def has(self, rows: Batch) -> None:
        """These rows are asked for."""
        self._groups = self._measured.groups.of(rows)

    def answered(self, status: int) -> None:
        """The answer begins."""
        if self._ended:
            return
        seconds = 0.0 if self._entered is None else perf_counter() - self._entered
        self.end()
        self._measured.count(status, seconds, self._groups)

    def end(self) -> None:
        """Nothing more will come of it, answered or not."""
        if self._entered is not None and not self._ended:
            self._measured.in_progress.dec()
        self._ended = True
