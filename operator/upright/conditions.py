"""The conditions of a status, as kstatus reads them.

Three words for what is wrong: a *finding* is what a condition says; an *obstacle* is a finding because of which nothing
goes on with an object; a *hindrance* is what keeps one pod from starting, in a sentence that a finding may quote.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from upright.api.common import Condition
from upright.contract import Event

NEWS = timedelta(minutes=10)
"""For so long something that has happened is planned to be told, in case that nobody has."""
_UNPRINTABLE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # ECMA-48: control sequences, such as colours,
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"  # its strings, such as links,
    r"|\x1b[ -/]*[0-~]|[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"  # other escapes and controls;
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # and those of Unicode's bidirectional algorithm
)
_LONGEST = 1000
_SOME = 10
"""So many things of a kind are named in a sentence."""


@dataclass(frozen=True)
class Finding:
    """What is said of an object: one word for programs, a sentence for people, and what they can do about it."""

    reason: str
    message: str
    remedy: str = ""
    passing: bool = False
    """It goes away by itself, in a moment or when what is waited for is there, so nobody need be called."""
    waits: bool = False
    """Somebody wanted it so, and need not be told."""
    about: str = ""
    """The name, in its message, of what it is found of: of another one the same finding is news."""


def conditions(
    generation: int,
    ready: Literal["True", "False", "Unknown"],
    finding: Finding,
    *,
    reconciling: bool = False,
    stalled: Finding | None = None,
) -> list[Condition]:
    """Ready always; Reconciling and Stalled only when they hold, as kstatus asks. The remedy stands with Stalled."""
    found = [condition("Ready", ready, finding, generation)]
    if reconciling:
        found.append(condition("Reconciling", "True", finding, generation))
    if stalled:
        told = replace(stalled, message=f"{stalled.message} {stalled.remedy}")
        found.append(condition("Stalled", "True", told, generation))
    return found


def condition(type: str, status: Literal["True", "False", "Unknown"], finding: Finding, generation: int) -> Condition:
    return Condition(
        type=type,
        status=status,
        reason=finding.reason,
        message=cut(finding.message),
        observed_generation=generation,
        about=finding.about or None,
    )


def told(finding: Finding, type: str, recorded: Sequence[Condition], now: datetime, action: str) -> Sequence[Event]:
    """The event of a finding and its remedy, that the condition `type` tells of, by the moment since when the recorded
    status does for this reason and about the same: no end of a process can lose it, and no other wording tells it
    twice. None while it is not recorded: this plan does that, and the next one tells.
    """
    what = (type, finding.reason, finding.about or None)
    before = next((one for one in recorded if (one.type, one.reason, one.about) == what), None)
    if before is None or before.since is None or now - before.since >= NEWS:
        return ()
    return (Event("Warning", finding.reason, action, cut(f"{finding.message} {finding.remedy}"), before.since),)


def said_since(recorded: Sequence[Condition], reason: str) -> datetime | None:
    """Since when this reason has been recorded, in any condition; None where it is not. No one condition tells: another
    finding, or the shell, may have its place.
    """
    return min((one.since for one in recorded if one.reason == reason and one.since), default=None)


def plain(text: str) -> str:
    """What strangers have written, as it is told: whoever prints it does as it says, and neither colours nor moves
    anything, nor shows it in another order. Line ends and tabs stay.
    """
    return _UNPRINTABLE.sub("", text)


def cut(message: str, longest: int = _LONGEST, first: float = 0.5) -> str:
    """A text that fits a status field: a long one loses its middle, whole words of it if there are, since the cause
    often stands at the end. `first`: the share of what is kept that comes before.
    """
    message = " ".join(message.split())
    if len(message) <= longest:
        return message
    before, after = int(first * (longest - 5)), len(message) - int((1 - first) * (longest - 5))
    begins = message[: message.rfind(" ", 0, before + 1)] if " " in message[: before + 1] else message[:before]
    ends = message[message.find(" ", after - 1) + 1 :] if " " in message[after - 1 :] else message[after:]
    return f"{begins} ... {ends}"


def some(all_: Iterable[str], many: int) -> Sequence[str]:
    """What a sentence names of `many` things: the first few, and how many there are beside. The others are not read."""
    return [*islice(all_, _SOME), *([f"and {many - _SOME} more"] if many > _SOME else ())]
