"""How a user names counters: an instant vector selector of PromQL that names its metric. What is left to its parser are
escapes.
"""

import re
from collections.abc import Sequence

from upright.api.schema import Rule, in_cel

_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*\s*(=|!=|=~|!~)\s*"
_VALUE = r"""("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')\s*"""
_SELECTOR = rf"^\s*[a-zA-Z_:][a-zA-Z0-9_:]*\s*(\{{\s*({_LABEL}{_VALUE}(,\s*{_LABEL}{_VALUE})*(,\s*)?)?\}}\s*)?$"

_CONDITION = re.compile(rf"(?P<label>[a-zA-Z_][a-zA-Z0-9_]*\s*)(?P<operator>=~|!~|!=|=)(?P<value>\s*{_VALUE})")


def is_selector(text: str) -> bool:
    """Whether the text selects one metric, with conditions on its labels or without."""
    return re.match(_SELECTOR, text) is not None


def without_operators(text: str) -> tuple[str, Sequence[str]]:
    """A selector that asks for equality in the place of every operator, and these: a parser of PromQL compiles regular
    expressions of any size, which takes seconds.
    """
    operators: list[str] = []

    def equal(matcher: re.Match[str]) -> str:
        operators.append(matcher["operator"])
        return f"{matcher['label']}={matcher['value']}"

    name, brace, conditions = text.partition("{")
    return name + brace + _CONDITION.sub(equal, conditions), operators


def selects(field: str) -> Rule:
    """The same of a field that may be left out, for the API server."""
    return Rule(
        f"!has(self.{field}) || self.{field}.matches({in_cel(_SELECTOR)})",
        f'{field} must select one metric, as PromQL does: shop_orders_total, or shop_orders_total{{plan="basic"}}',
        field=field,
    )
