"""What the operator may expect of a serving pod: header, routes that count, names of metrics."""

GRPC_PORT = 9000
"""On which a pod listens for gRPC where `serving.grpc` says so."""

CONNECTION_SECONDS = 10.0
"""After so long, give or take a tenth, a client is told to make a new connection. A Service spreads connections, not
requests: without an end a client that keeps one asks one version for good, whatever weight the other one has. A new one
costs a millisecond."""

GRPC_DRAIN_SECONDS = round(1.1 * CONNECTION_SECONDS) + 1
"""For so long after the signal to stop a pod with gRPC goes on answering: by then each connection has ended, and the
client's next one goes elsewhere."""

VERSION_HEADER = "upright-model-version"
"""Response header, or trailing metadata of gRPC, that names the ModelVersion that answered."""

REQUESTS = "upright_requests_total"
"""Counter {model, version, code}: requests for predictions by status class, not probes, metadata or unknown paths."""

FAILURES = "upright_failures_total"
"""Counter {model, version, reason}: requests that failed, by the class of the error that the model raised, or
`Timeout`."""

FAILURE_MESSAGES = "upright_failure_messages_total"
"""Counter {model, version, reason, message, example}: those of them of which the model has said why, by what it said,
with HIDDEN in the place of each value (a MESSAGE), and by what one such request asked, without its values (an EXAMPLE).
Only the first few messages of each process are counted, so that their sum may be less than FAILURES."""

HIDDEN = "…"
_TOLD = r"[\w ,.;:!?'()\[\]{}=+%…-]"
MESSAGE, EXAMPLE = f"{_TOLD}{{1,300}}", f"{_TOLD}{{1,75}}"
"""All that they may consist of: it is told to people, and comes from whatever runs in a pod. So nothing in it
colours or moves what is shown, leads to another page, or calls somebody.
"""

REFUSALS = "upright_refusals_total"
"""Counter {model, version, reason, feature}: requests that were refused, by the kind of mistake, and by the feature of
the model that it was about, if it was one. None of it is a client's text."""

SEGMENT_REQUESTS = "upright_segment_requests_total"
"""Counter {model, version, segment, value, outcome}: requests that were "answered" or that "failed", by segment and
group of users; a request counts once in each group of which it has a row."""

OTHER = "other"
"""The group of what is in none of a segment's values."""

IN_PROGRESS = "upright_requests_in_progress"
"""Gauge {model, version}: requests for predictions that are there to their last byte and have no answer yet."""

REQUEST_DURATION = "upright_request_duration_seconds"
"""Histogram {model, version}: seconds from a request's last byte to its answer, of those that ended in 2xx or 5xx."""

PREDICTIONS = "upright_predictions_total"
"""Counter {model, version}: rows that were predicted."""

ANSWERED, MISTAKEN, FAILED, OVERLOADED = "2xx", "4xx", "5xx", "overload"
"""Values of the label `code`. FAILED includes what was not answered in time. MISTAKEN is a client's mistake, unless one
version makes clients' requests mistaken that are none for another. OVERLOADED was answered 503 for want of room: more
came than a pod can do, unless another version can do more."""
