"""How a user names counters: an instant vector selector of PromQL that names its metric. What is left to its parser are
regular expressions and escapes.
"""

import re

from upright.api.schema import Rule, in_cel

_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*\s*(=|!=|=~|!~)\s*"
_VALUE = r"""("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')\s*"""
_SELECTOR = rf"^\s*[a-zA-Z_:][a-zA-Z0-9_:]*\s*(\{{\s*({_LABEL}{_VALUE}(,\s*{_LABEL}{_VALUE})*(,\s*)?)?\}}\s*)?$"


def is_selector(text: str) -> bool:
    """Whether the text selects one metric, with conditions on its labels or without."""
    return re.match(_SELECTOR, text) is not None


def selects(field: str) -> Rule:
    """The same of a field that may be left out, for the API server."""
    return Rule(
        f"!has(self.{field}) || self.{field}.matches({in_cel(_SELECTOR)})",
        f'{field} must select one metric, as PromQL does: shop_orders_total, or shop_orders_total{{plan="basic"}}',
        field=field,
    )
