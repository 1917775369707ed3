"""What a body becomes while it is parsed: thirty times its bytes, so that it is there for one large body at a time, and
gone when that is refused.
"""

from collections.abc import Callable
from contextlib import nullcontext
from threading import Lock
from typing import TypeVar

from upright.runtime.batch import BadInputError
from upright.runtime.body import SMALL

T = TypeVar("T")

_LARGE = Lock()
"""Held while a large body is parsed. It keeps nobody waiting for long: Python parses one at a time anyway."""


def parsed(content: bytes, parse: Callable[[bytes], T]) -> T:
    """What a body says. A refusal, a BadInputError, keeps nothing of the body: its traceback would keep all that had
    been made of it for as long as the refusal waits to be sent.
    """
    with _LARGE if len(content) > SMALL else nullcontext():
        try:
            return parse(content)
        except BadInputError as error:
            del content
            error.__context__ = None
            raise error.with_traceback(None) from None
