"""What a model says it has failed with, as it may leave the pod: without what it was given.

What an exception says is seldom only about the program: "could not convert string to float: 'Smith'". Nothing tells for
certain which of its words are values. So only that stays which is a word, and neither quoted, nor in brackets, nor a
text of the request; and names that the model or its program has by itself, wherever they stand.
"""

import builtins
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Set
from functools import cached_property
from itertools import chain
from types import CodeType
from unicodedata import normalize

import numpy as np

from upright.api.artifact import Signature
from upright.api.serving import HIDDEN, MESSAGE
from upright.runtime.batch import Batch, is_matrix, width_of

_LOOKED_AT = 600
"""Characters of what a model says."""
_LONGEST = 300
"""Of them that are told."""
_LONG = 64
"""Characters of a text by which it is recognised, however long it is."""
_SHORT = 6
"""One of fewer characters may be a part of any word."""
_MOST_TEXTS, _MOST_LETTERS = 10_000, 200_000
"""Of a request that are looked for in a message, and the characters in all of them: it takes some 10 ms."""
_MOST_VALUES = 100_000
"""Of a request of which it is looked which are null, likewise."""
_FRAMES = 32
"""In which an exception was raised that are looked into for words of the program, the innermost."""
_LONGEST_SHAPE = 75
_LONGEST_WORD = 40
"""Letters in one: more are a key, or something encoded."""
_SHORTEST_NAME = 3
"""Characters of one that only the program has: fewer may be anything."""

_MASK, _KEPT = "\0", "\1"
_QUOTED = re.compile(
    r"""(?<!\w)[bBuUrRfF]{0,2}(?:(['"`])(?P<plain>(?:\\.|(?!\1(?!\w)).)*)(?:\1|$)"""
    r"|“(?P<double>[^”]*)(?:”|$)|‘(?P<single>[^’]*)(?:’|$)|«(?P<angular>[^»]*)(?:»|$))",
    re.DOTALL,
)
"""An apostrophe within or behind a word begins nothing; what does not end reaches to the end."""
_TAG = re.compile(r"<[^<>\s][^<>]*(?:>|$)")
_BRACKET = re.compile(r"([(\[{]|[)\]}])")
_SENTENCE = re.compile(r" not in index$| are in the \[\w+\]$")
"""How sentences end in which pandas names columns that it does not find. All that a KeyError says is quoted."""
_NAME = re.compile(r"[^\W\d][\w .:()\[\]-]{0,63}")
_POINTS = ".,;:!?"
_PIECE = rf"[^\s()\[\]{{}}{_KEPT}{HIDDEN}]"
_LETTERS = rf"[^\W\d_]{{1,{_LONGEST_WORD}}}+"
_WORD = rf"(?!(?i:true|false)\b)_*+{_LETTERS}(?:[._-]++{_LETTERS})*+_*+(?:'[a-z]{{0,2}})?"
_TOLD = rf"(?:[{_POINTS}]*+{_WORD}[{_POINTS}]*+|[{_POINTS}=+%-]++)"
_NO_WORD = re.compile(rf"(?<!{_PIECE})(?!{_TOLD}(?!{_PIECE}))({_PIECE}+?)([{_POINTS}]*)(?!{_PIECE})")
"""What stands between spaces and brackets and is neither a word, or several that belong together, nor signs alone. True
and false are values."""
_AGAIN = re.compile(rf"{HIDDEN}(?:[\s,]*{HIDDEN})+")

_RUN = re.compile(r"\w{3,}")
_ESCAPED = re.compile(r"\\[abfnrtv]")
_CUT = re.compile(r"\.\.|…|$")
"""What stands behind the last word of a text that was cut off."""

_TYPES = frozenset(
    {one.__name__ for one in (*vars(builtins).values(), *np.sctypeDict.values()) if isinstance(one, type)}
    | {"NoneType", "function", "method", "module", "ndarray", "DataFrame", "Series", "Index", "Timestamp", "NaTType"}
)
"""Names of Python's types and its libraries'."""


def without_values(said: str, error: BaseException, batch: Batch, signature: Signature) -> str:
    """What a model says of a request on which it has failed, as MESSAGE; empty where nothing of it is left, or the
    request has more texts than can be looked for.

    Args:
        said: what `error` says.
        error: with where it was raised.
        batch: the rows that the model got.
        signature: of the model, with the names of its inputs.
    """
    if (texts := _texts(batch)) is None:
        return ""
    if isinstance(error, KeyError) and isinstance(why := next(iter(error.args), None), str) and _SENTENCE.search(why):
        said = why
    plain = normalize("NFC", said[:_LOOKED_AT].replace(_MASK, " ").replace(_KEPT, " "))
    text = _without_words(_masked(plain, texts), texts)
    if len(said) > _LOOKED_AT:
        text = text[:-_LONG]  # a text of the request may begin there, and end where nobody has looked
    told = _Words(error, frozenset(tensor.name for tensor in signature.inputs))
    text = " ".join(told.unquoted(text).split())
    text = _worded(_unbracketed(_TAG.sub(_hidden, text)), told.inputs)
    text = _AGAIN.sub(HIDDEN, told.put_back(text)).strip()
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1].rpartition(" ")[0] + HIDDEN
    return text if re.fullmatch(MESSAGE, text) and any(map(str.isalpha, text)) else ""


def shape_of(batch: Batch, signature: Signature) -> str:
    """How many rows of how many features a model was asked for, and which of these have no value in some row, as
    EXAMPLE. Of many values it is not looked.
    """
    width, lacking = width_of(signature), list[str]()
    if batch.rows * width <= _MOST_VALUES:
        lacking = [
            name
            for name, column in batch.columns.items()
            if ((column != column) | (column == None)).any()  # noqa: E711 - of each
        ]
    said = f"{batch.rows} row{'s' * (batch.rows != 1)} of {width} feature{'s' * (width != 1)}"
    if lacking and is_matrix(signature):
        return f"{said}, with null"
    named, room = list[str](), _LONGEST_SHAPE - len(f"{said}, null in {len(lacking)} others")
    for name in lacking:
        if (length := len(name) + len(", ")) <= room and _NAME.fullmatch(name):
            named.append(name)
            room -= length
    others = len(lacking) - len(named)
    nulls = [*named, *([f"{others} other{'s' * (others != 1)}" if named else f"{others} of them"] if others else ())]
    return f"{said}, null in {', '.join(nulls)}" if nulls else said


def _texts(batch: Batch) -> Set[str] | None:
    """The texts among the values, in small letters; None where there are too many, or they are too long."""
    columns = [column for column in batch.columns.values() if column.dtype.kind in "OU"]
    if sum(column.size for column in columns) > _MOST_TEXTS:
        return None
    values = set(chain.from_iterable(column.ravel().tolist() for column in columns))
    together = _MASK.join(one for one in values if isinstance(one, str))  # one by one it takes twice as long
    if len(together) > _MOST_LETTERS:
        return None
    return {one.strip() for one in _small(together).split(_MASK)}


def _small(text: str) -> str:
    """In small letters, as many as there were."""
    return text.replace("İ", "I").lower()


def _masked(text: str, values: Set[str]) -> str:
    """A text in which each of these is a run of _MASK, a short one where it stands by itself. Signs alone are left: of
    quotes it could not be told any more what is between them.
    """
    small, masked = _small(text), list(text)
    # whoever asks sends thousands that begin alike: where the longest of them stands the others do, too
    by_beginning = {value[:_LONG]: value for value in sorted(values, key=len)}
    for beginning, value in by_beginning.items():
        if beginning not in small or not any(map(str.isalnum, value)):
            continue
        at = small.find(beginning)
        while at >= 0:
            end = min(at + len(value), len(text))
            if len(value) >= _SHORT or not (_joined(small, at) or _joined(small, end)):
                masked[at:end] = _MASK * (end - at)
            at = small.find(beginning, at + 1)
    return "".join(masked)


def _without_words(text: str, values: Set[str]) -> str:
    """A text in which each word of these is a run of _MASK, too: whoever prints a table cuts texts off, escapes tabs
    and line ends, or has another way to write letters and spaces.
    """
    words = sorted({_folded(word) for token in " ".join(values).split() for word in _RUN.findall(_composed(token))})
    shown, masked = _ESCAPED.sub("  ", text), list(text)
    for found in _RUN.finditer(shown):
        word = _folded(found[0])
        place = bisect_left(words, word)
        first = words[place] if place < len(words) else ""
        if first == word or (first.startswith(word) and _CUT.match(shown, found.end())):
            masked[found.start() : found.end()] = _MASK * len(found[0])
    return "".join(masked)


def _composed(token: str) -> str:
    """With each letter in one sign. It takes time that grows with the square of its marks: what is longer than words
    are stays as it is.
    """
    return normalize("NFC", token) if len(token) <= _LONG else token


def _folded(word: str) -> str:
    return normalize("NFKC", _small(word[:_LONG])).casefold()


def _joined(text: str, at: int) -> bool:
    """Whether a word goes on over this place. Scripts without spaces have no such."""
    around = text[max(0, at - 1) : at + 1]
    return around.isascii() and around.isalnum() and len(around) == 2


class _Words:
    """What may be told even where it is quoted: names that do not come from the request."""

    def __init__(self, error: BaseException, inputs: Set[str]) -> None:
        self._error = error
        self.inputs = inputs
        self._kept: list[str] = []

    def unquoted(self, text: str) -> str:
        """A text in which quoted names are _KEPT, and all else that is quoted is hidden."""

        def told(quoted: re.Match[str]) -> str:
            inside = next((one for name, one in quoted.groupdict().items() if one is not None), "")
            if not _NAME.fullmatch(inside) or not self._is_a_name(inside):
                return HIDDEN
            self._kept.append(inside)
            return _KEPT

        return _QUOTED.sub(told, text)

    def put_back(self, text: str) -> str:
        """The text with the names."""
        names = iter(self._kept)
        return re.sub(_KEPT, lambda _: f"'{next(names)}'", text)

    def _is_a_name(self, word: str) -> bool:
        return word in _TYPES or word in self.inputs or word in self._program

    @cached_property
    def _program(self) -> Set[str]:
        """What the program that failed asks for by name, and the texts that stand in it."""
        words = (word for code in _code(self._error) for word in _words_of(code))
        return {word for word in words if len(word) >= _SHORTEST_NAME}


def _code(error: BaseException) -> Iterator[CodeType]:
    frames, traceback = deque[CodeType](maxlen=_FRAMES), error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    yield from frames


def _words_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from (one for one in code.co_consts if isinstance(one, str))


def _hidden(found: re.Match[str]) -> str:
    return HIDDEN + found[0].count(_KEPT) * _KEPT


def _unbracketed(text: str) -> str:
    """A text with nothing in brackets but _KEPT; what they do not end reaches to the end. A plural stays."""
    found, depth, inside = list[str](), 0, ""
    for piece in _BRACKET.split(text):
        opens, closes = piece in {*"([{"}, piece in {*")]}"}
        if depth == 0 or (closes and depth == 1):
            if depth == 1:
                found.append(_inside(inside))
            found.append(piece)
        else:
            inside += piece
        if opens and depth == 0:
            inside = ""
        depth = max(0, depth + opens - closes)
    return "".join(found) + (_inside(inside) if depth else "")


def _inside(text: str) -> str:
    if text in {"", "s", "es"}:
        return text
    kept = [_KEPT] * text.count(_KEPT)
    rest = re.sub(rf"[{_KEPT}\s,:()\[\]{{}}]", "", text)
    return ", ".join([*kept, *([HIDDEN] if rest or not kept else [])])


def _worded(text: str, inputs: Set[str]) -> str:
    """A text without what is no word, nor the name of an input."""
    if not text.isascii():
        text = "".join(
            "0" if one.isnumeric() and not one.isascii() else one for one in text
        )  # numbers of other scripts are letters to some
    return _NO_WORD.sub(lambda found: found[0] if found[1] in inputs else HIDDEN + found[2], text)
