"""What a text becomes when a model normalizes it: a stranger chooses it, and nothing else in the process goes on then.

Marks on a letter are sorted in a time that grows with the square of how many there are, some characters become many,
and of what there is then all n-grams are in memory at once (https://unicode.org/reports/tr15/).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

_CHARACTERS = 256 * 1024
_MARKS = 32
_GROWTH = 4
_PLANE = 0x10000
_BEYOND = 0x1FFFF
"""From here on no code point combines or grows."""


def excess(text: str) -> str:
    """What of a text is more than one may have, in words that follow on `has`; empty when nothing is."""
    if len(text) > _CHARACTERS:
        return f"{len(text)} characters, of which a text may have {_CHARACTERS}"
    if len(text) <= _MARKS or text.isascii() or not _table().odd.search(text):
        return ""
    table, codes = _table(), np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = np.minimum(codes, _BEYOND)
    if np.diff(np.flatnonzero(~table.combines[codes]), prepend=-1, append=len(codes)).max() > _MARKS + 1:
        return f"more than {_MARKS} combining marks on one letter"
    grown = int(table.grown[codes].sum(dtype=np.int64))
    if grown > _GROWTH * len(text):
        return f"{len(text)} characters that are {grown} when they are normalized, more than {_GROWTH} times as many"
    return ""


@dataclass(frozen=True)
class _Table:
    """By code point, of NFKD."""

    combines: NDArray[np.bool_]
    """Whether it becomes nothing but marks on the letter before it."""
    grown: NDArray[np.uint8]
    """How many characters it becomes."""
    odd: re.Pattern[str]
    """One that may combine, or become many: most texts have none."""


@cache
def _table() -> _Table:
    forms = [unicodedata.normalize("NFKD", chr(code)) for code in range(_BEYOND + 1)]
    combines = [all(map(unicodedata.combining, form)) for form in forms]
    odd = "".join(chr(code) for code in range(_PLANE) if combines[code] or len(forms[code]) > _GROWTH)
    pattern = f"[{re.escape(odd)}{chr(_PLANE)}-{chr(_BEYOND)}]"  # the regular expression has a table of one plane alone
    return _Table(np.array(combines), np.array([len(form) for form in forms], np.uint8), re.compile(pattern))
