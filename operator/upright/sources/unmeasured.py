"""Why what pods count cannot be compared, in sentences for people."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from upright.analysis.counters import STRANGE
from upright.pods.reading import Pod
from upright.sources.page import Counters
from upright.sources.pods import Unread

TORN = Unread(
    "its counters went backwards, and its container was not started anew",
    "So look several processes of a container that answer GET /metrics in turn, each with counters of its own. Let one "
    'page count for all of them; see "An image of your own" in docs/analysis.md.',
)
IN_PARTS = Unread(
    "it counts requests in parts, where monitoring.metrics has boundary: Exact, which needs whole numbers",
    "Let it count each request as one, as nothing does that scales up a sample of them; or write boundary: Mixture.",
)


def unreadable(pods: Sequence[Pod], found: Mapping[str, Counters | Unread], port: int | None) -> str:
    """The first pod, why it cannot be read, and what to do."""
    pod = min((pod for pod in pods if pod.name in found), key=lambda pod: pod.name)
    page = found[pod.name]
    why, remedy = (page.why, page.remedy) if isinstance(page, Unread) else (STRANGE, "")
    others = (
        f" Nor can the {len(found) - 1} others." if len(found) > 2 else " Nor can the other." if len(found) == 2 else ""
    )
    address = f"[{pod.address}]" if ":" in pod.address else pod.address
    said = f"Pod {pod.name} ({address}:{port or pod.port}) cannot be measured: {why}.{others}"
    return f"{said} {remedy}".strip()


def stuck(inside: float, read: Mapping[str, Counters], since: timedelta) -> str:
    """How many requests are in which pods for how long, and where to look."""
    names = sorted(name for name, page in read.items() if page.in_progress and page.in_progress > 0)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{inside:.0f} requests are in pod {names[0]}{more}, and none has been answered for "
        f"{since.total_seconds():g}s. See what the model waits for: the pod's log says what it does."
    )


def unrecorded(looks: int) -> str:
    """That nothing more is compared, since nothing that was is recorded."""
    return (
        f"{looks} looks wait to be recorded, and no more are compared. See why the Comparison of this name cannot be "
        "written: a quota, a webhook, or the rights of the operator."
    )
