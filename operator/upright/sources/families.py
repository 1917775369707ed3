"""What a page says of the families that are asked for, beside what it counts: that they are there, and of what type."""

from collections.abc import Iterable, Mapping, Sequence

from upright.sources.selectors import Selector

_COUNTERS = frozenset({"counter", "histogram", "summary", "unknown", "untyped"})
"""What a page may call that which only rises."""
_GIVES: Mapping[str, Sequence[str]] = {
    "counter": ("", "_total"),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
}
"""By type, how the names of samples end; of others, and of counters in the older format, they are the declared name."""
_ENDINGS = ("_total", "_bucket", "_count", "_sum")


class Families:
    """Told what a page declares and has samples of.

    Args:
        wanted: names of samples.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = frozenset(wanted)
        self.bases = frozenset(base for name in self._wanted for base in _bases(name))
        """What their names begin with, under which they may be declared."""
        self._names = frozenset(base + ending for base in self.bases for ending in ("", *_ENDINGS))
        self._types: dict[str, str] = {}
        """By name that is declared."""
        self._sampled: set[str] = set()

    def declare(self, name: str, type: str) -> None:
        """The page says of what type that is."""
        if name in self.bases:
            self._types[name] = type

    def sample(self, name: str) -> None:
        """The page has a sample of that name."""
        if name in self._names:
            self._sampled.add(name)

    def has(self, name: str) -> bool:
        """Whether the page has samples of that very name, or declares what has not counted yet and will be called so:
        not where it has samples of the family under other names.
        """
        if name in self._sampled:
            return True
        given = self._declared(name)
        return any(
            not self._sampled.intersection(base + end for end in _GIVES.get(kind, ("",))) for base, kind in given
        )

    def samples(self, name: str) -> bool:
        """Whether the page has samples of that very name."""
        return name in self._sampled

    def no_counter(self, name: str) -> str:
        """Why it is none, if the page says so: "its page of metrics ..."."""
        for base, kind in self._declared(name):
            if kind not in _COUNTERS or (kind == "summary" and base == name):  # samples of that name are quantiles
                return f"its page of metrics says that {name} is a {kind}, where a counter was expected"
        return ""

    def missing(self, selector: Selector) -> str:
        """What the page has instead of samples of that name, if it has none: "its page of metrics ..."."""
        if self.has(selector.name):
            return ""
        found = sorted(self._sampled & {base + ending for base in _bases(selector.name) for ending in ("", *_ENDINGS)})
        besides = f", but {', '.join(found)}" if found else ""
        return f"its page of metrics has no {selector.text}{besides}"

    def _declared(self, name: str) -> Sequence[tuple[str, str]]:
        """What is declared so that samples of it have that name, and of what type."""
        types = [(base, self._types[base]) for base in _bases(name) if base in self._types]
        return [(base, kind) for base, kind in types if name in {base + end for end in _GIVES.get(kind, ("",))}]


def _bases(name: str) -> Sequence[str]:
    """Names under which samples of that name may be declared."""
    return [name, *(name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending) and name != ending)]
