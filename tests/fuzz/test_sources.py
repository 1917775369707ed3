"""Pages of metrics from pods that may send anything: counters or a declared error, in time linear in the bytes."""

import contextlib
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable
from random import Random

import promql_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.fuzz.growth import is_linear
from tests.unit.analysis.builders import a_metric, a_policy
from upright.analysis.looks import INFINITE
from upright.api.selector import without_operators
from upright.api.serving import FAILURE_MESSAGES, IN_PROGRESS, MESSAGE, REQUESTS
from upright.rollout.measuring import Asked
from upright.sources.page import MAX_BYTES, MAX_LINE, MAX_LINES, MOST_REASONS, Counters, Scan, counters
from upright.sources.sample import PageError
from upright.sources.wanted import wanted

pieces = st.sampled_from(
    [
        REQUESTS.encode(),
        IN_PROGRESS.encode(),
        f'{FAILURE_MESSAGES}{{reason="E",message="'.encode(),
        b"{",
        b"}",
        b'code="2xx"',
        b'code="',
        b'"',
        b"\\",
        b"\\\\",
        b",",
        b"=",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"# TYPE ",
        b" 1",
        b" NaN",
        b" -Inf",
        b" 1_0",
        b" 1e999",
        b" # {} 1",
        "é".encode(),
    ]
)
pages = st.binary(max_size=300) | st.lists(pieces | st.binary(max_size=4), max_size=40).map(b"".join)


def read(*parts: bytes) -> Counters | str:
    scan = Scan()
    try:
        for part in parts:
            scan.feed(part)
        return scan.counters()
    except PageError as error:
        return str(error)


def same(one: Counters | str, other: Counters | str) -> bool:
    return repr(one) == repr(other)  # NaN is as good as NaN


@given(pages)
@example(b"upright_requests_total{")
@example(b'upright_requests_total{code="2xx\\')
@example(b"upright_requests_total 1 2 3")
def test_any_bytes_are_counters_or_a_declared_error(page: bytes) -> None:
    found = read(page)
    if isinstance(found, Counters):
        for value in (found.answered, found.refused, found.failed):
            assert value >= 0 or math.isnan(value)
    else:
        assert found.startswith("its page of metrics ")


@given(
    st.lists(st.tuples(st.text(max_size=4) | st.just("E"), st.text(max_size=310), st.text(max_size=20)), max_size=40)
)
@example([("E", "\x1b[31mred", "")])
@example([("E", "to the \u202eleft", "")])
@example([("E", "fine", "see\u200b")])
@example([("E", "<!channel>", ""), ("E", "`id`", ""), ("E", "http://evil.example", "")])
def test_of_what_a_pod_says_only_what_can_be_printed_is_told_and_not_much(said: list[tuple[str, str, str]]) -> None:
    lines = [
        f'{FAILURE_MESSAGES}{{reason="{escaped(reason)}",message="{escaped(message)}",example="{escaped(shape)}"}} 1'
        for reason, message, shape in said
    ]
    found = read("\n".join([f'{REQUESTS}{{code="5xx"}} 1', *lines, ""]).encode(errors="surrogatepass"))
    if isinstance(found, Counters):
        assert len(found.messages) <= MOST_REASONS
        for text in (one for told in found.messages for one in told):
            assert text == "" or (re.fullmatch(MESSAGE, text) and text.isprintable() and len(text) <= 300)
        assert all(len(told.example) <= 75 for told in found.messages)


@given(pages, st.lists(st.integers(0, 400), max_size=6))
def test_how_the_bytes_arrive_changes_nothing(page: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(page)) for cut in cuts), len(page)]
    assert same(read(page), read(*(page[start:end] for start, end in itertools.pairwise(ends))))


ASKED = wanted(
    Asked(
        "a-b",
        a_policy(
            a_metric("Ratio", "m", bad='a_total{b=~"x|y.*",le!~"[0-4]"}', total="a_total"),
            a_metric("Latency", "h", total="a_bucket"),
        ),
        {},
        None,
    )
)
of_a = st.lists(
    st.sampled_from(
        [
            *("a_total", "a_bucket", "a_count", "a", "# TYPE a counter", "# TYPE a histogram", "# TYPE a_total gauge"),
            *("{", "}", 'b="x"', 'b="yy"', 'b=""', 'le="0.5"', 'le="0.50"', 'le="+Inf"', 'le="NaN"', ",", " ", "\n"),
            *(" 1\n", " 2\n", " .1\n", " -1\n", " 1e99\n", " 1e308\n", " NaN\n", " Inf\n", "\xff"),
        ]
    ),
    max_size=40,
).map("".join)
a_line = st.builds(
    "{}{{{}}} {}\n".format,
    st.sampled_from(["a_total", "a_bucket", "a_count"]),
    st.lists(st.sampled_from(['b="x"', 'b="z"', 'le="0.5"', 'le="1"', 'le="+Inf"']), max_size=2).map(",".join),
    st.sampled_from(["0", "1", "2.5", "NaN"]),
)


@given(of_a | st.lists(a_line, max_size=12).map("".join), st.randoms(use_true_random=False))
def test_of_any_page_a_metric_is_a_tally_or_a_sentence_whatever_the_order_of_its_lines(
    page: str, random: Random
) -> None:
    def tallies(text: str) -> Counters | str:
        scan = Scan(ASKED.selected, requests=False)
        try:
            scan.feed(text.encode("latin-1"))
            return scan.counters()
        except PageError as error:
            return str(error)

    found = tallies(page)
    lines = page.splitlines(keepends=True)
    if isinstance(found, str):
        assert found.startswith("its page of metrics ")
        return
    for tally in found.tallies.values():
        if isinstance(tally, str):
            assert tally.startswith("its page of metrics ")
        else:
            assert all(part >= 0 or math.isnan(part) for part in (tally.total, tally.bad, *(tally.upto or {}).values()))
    if page.endswith("\n") and "#" not in page:
        assert same(tallies("".join(random.sample(lines, len(lines)))), found)


quoted = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
conditions = st.lists(
    st.tuples(st.sampled_from("bcd"), st.sampled_from(["=", "!=", " =~ ", "!~"]), quoted), min_size=1, max_size=4
)


@given(conditions)
@example([("b", "=~", '"c=~\\"x\\""'), ("c", "!=", '"!~"')])
def test_a_selector_is_read_as_its_parser_reads_it(written: list[tuple[str, str, str]]) -> None:
    text = "a{" + ", ".join("".join(one) for one in written) + "}"
    plain, operators = without_operators(text)
    assert operators == [operator.strip() for _, operator, _ in written]
    values = [one.value for one in promql_parser.parse(plain).matchers.matchers]  # type: ignore[attr-defined]
    with contextlib.suppress(ValueError):  # it is no regular expression
        assert values == [one.value for one in promql_parser.parse(text).matchers.matchers]  # type: ignore[attr-defined]


yes: st.SearchStrategy[bool] = st.booleans()
blank = st.text(" \t", max_size=2)
word = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True)
value = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=8)
number = st.one_of(
    st.integers(0, 10**12).map(str), st.floats(0, 1e12).map(repr), st.sampled_from(["NaN", "+Inf", "-1", "1e3", "-Inf"])
)


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@st.composite
def sample_lines(draw: st.DrawFn) -> str:
    """A line that every parser of the text format must read alike."""
    names = [REQUESTS, IN_PROGRESS, f"{REQUESTS}_created", "upright_requests", "other_total"]
    name = draw(st.sampled_from(names))
    labels = draw(
        st.dictionaries(word.filter(lambda one: one != "code" and not one.startswith("__")), value, max_size=3)
    )
    if draw(yes):
        labels["code"] = draw(st.sampled_from(["2xx", "4xx", "5xx", "3xx", "200", "422", "503", "ok", ""]))
    parts = [
        f'{draw(blank)}{key}{draw(blank)}={draw(blank)}"{escaped(text)}"{draw(blank)}' for key, text in labels.items()
    ]
    last = draw(yes)
    inside = ",".join(parts) + ("," if last and parts else "")
    empty = draw(yes)
    braces = f"{draw(blank)}{{{inside}}}" if labels or empty else ""
    stamp = draw(st.sampled_from(["", " 1790000000000"]))
    return f"{name}{braces} {draw(blank)}{draw(number)}{stamp}"


lines = sample_lines() | st.sampled_from(
    ["", f"# TYPE {REQUESTS} counter", f"# HELP {REQUESTS} Requests.", "# a comment", "# TYPE other gauge", "#"]
)


def by_prometheus_client(page: str) -> Counters | None:
    """The same by the parser that Prometheus' own library has."""
    by_class, in_progress = defaultdict[str, list[float]](list), None
    families = list(text_string_to_metric_families(page))
    counted = {sample.name for family in families for sample in family.samples}
    series = [
        frozenset(label for label in sample.labels.items() if label[1])
        for family in families
        for sample in family.samples
        if sample.name == REQUESTS
    ]
    if len(set(series)) < len(series):
        return None
    declared = any(
        family.name in (REQUESTS, REQUESTS.removesuffix("_total")) and not family.samples for family in families
    )
    known = REQUESTS in counted or (declared and REQUESTS.removesuffix("_total") not in counted)
    for family in families:
        for sample in family.samples:
            if sample.name == REQUESTS and sample.labels.get("code", "") in ("", "ok"):
                return None
            if sample.name == REQUESTS:
                by_class[sample.labels["code"][0]].append(sample.value if 0 <= sample.value < INFINITE else math.nan)
            elif sample.name == IN_PROGRESS:
                in_progress = (in_progress or 0.0) + sample.value
    answered, refused, failed = (math.fsum(by_class[one]) for one in "245")
    return Counters(answered, refused, failed, in_progress) if known else None


@given(st.lists(lines, max_size=8))
def test_a_well_formed_page_is_read_as_prometheus_client_reads_it(found: list[str]) -> None:
    page = "\n".join([*found, ""])
    try:
        ours: Counters | None = counters(page.encode())
    except PageError:
        ours = None
    assert repr(ours) == repr(by_prometheus_client(page))


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (b"#" * (MAX_LINE + 1), "a line of more than 16 KiB"),
        (b"\n" * (MAX_LINES + 1), f"more than {MAX_LINES} lines"),
        (b"x\n" * (MAX_BYTES // 2 + 1), "more than"),
        (b"", f"has no {REQUESTS}"),
        (b"# TYPE other counter\nother_total 3\n", f"has no {REQUESTS}"),
        (f'{REQUESTS}{{code="2xx",code="4xx"}} 1'.encode(), "is not of Prometheus' text format"),
        (f"{REQUESTS}{{code=2xx}} 1".encode(), "is not of Prometheus' text format"),
        (f"{REQUESTS} many".encode(), "is not of Prometheus' text format"),
        (f"{REQUESTS} 1_000".encode(), "is not of Prometheus' text format"),
        (f"{REQUESTS} 7".encode(), f"has {REQUESTS} without code, where 2xx, 4xx or 5xx was expected"),
        (f'{REQUESTS}{{http_response_status_code="500"}} 7'.encode(), f"has {REQUESTS} without code"),
        (f'{REQUESTS}{{code="OK"}} 7'.encode(), f'has {REQUESTS} with code="OK", where'),
        (f'{REQUESTS}{{code="<b>"}} 7'.encode(), "with a code that is no word, where"),
        (f'{REQUESTS}{{code="600"}} 7'.encode(), 'with code="600", where'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_page_that_cannot_be_used_says_why(page: bytes, says: str) -> None:
    with pytest.raises(PageError, match=says):
        counters(page + b"\n")


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_page_that_was_cut_off_is_none(cut: int) -> None:
    page = f'{REQUESTS}{{code="2xx"}} 1234\n{REQUESTS}{{code="5xx"}} 120'.encode()
    with pytest.raises(PageError, match="ends within a line"):
        counters(page[:-cut])
    assert counters(page + b"\n# EOF") == Counters(answered=1234, refused=0, failed=120)


def test_a_counter_that_has_not_counted_yet_is_one_and_a_sample_of_openmetrics_is_read() -> None:
    assert counters(f"# TYPE {REQUESTS} counter\n".encode()) == Counters(0, 0, 0)
    for at in ("1790000000.5", "1.7900000005e+09"):
        page = f'{REQUESTS}{{code="5xx"}} 3.0 {at} # {{trace="x"}} 1 2\n# EOF\n'
        assert counters(page.encode()).failed == 3


def test_statuses_that_are_counted_one_by_one_are_counted_by_their_class() -> None:
    codes = {"200": 1, "201": 2, "400": 4, "429": 8, "500": 16, "503": 32, "302": 64}
    page = "".join(f'{REQUESTS}{{method="POST",code="{code}"}} {count}\n' for code, count in codes.items())
    assert counters(page.encode()) == Counters(answered=3, refused=12, failed=48)


def test_a_count_below_zero_does_not_hide_in_a_sum() -> None:
    page = "".join(f'{REQUESTS}{{code="2xx",model="{model}"}} {count}\n' for model, count in (("a", -1), ("b", 5)))
    assert math.isnan(counters(page.encode()).answered)


def labels(size: int) -> bytes:
    """Every line as long as one may be, and full of labels."""
    line = f"{REQUESTS}{{".encode() + b",".join(b'l%d="x"' % number for number in range(1200)) + b"} 1\n"
    return line * (size // len(line))


def backslashes(size: int) -> bytes:
    line = f'{REQUESTS}{{code="'.encode() + b"\\" * (MAX_LINE - 100) + b'"} 1\n'
    return line * (size // len(line))


def lines_of_ours(size: int) -> bytes:
    line = f'{REQUESTS}{{code="2xx"}} 1\n'.encode() + b"#" * 20 + b"\n"
    return line * (size // len(line))


def messages(size: int) -> bytes:
    """Each another, of the longest that are told."""
    line = FAILURE_MESSAGES + '{{reason="E",message="{:0300}",example="{:075}"}} 1\n'
    return b"".join(line.format(number, number).encode() for number in range(size // len(line.format(0, 0))))


@pytest.mark.parametrize("of_size", [labels, backslashes, lines_of_ours, messages], ids=lambda build: build.__name__)
@pytest.mark.parametrize("chunk", [64 * 1024, MAX_BYTES])
def test_twice_the_page_takes_at_most_two_and_a_half_times_the_time(
    of_size: Callable[[int], bytes], chunk: int
) -> None:
    def parts(size: int) -> list[bytes]:
        page = of_size(size)
        return [page[start : start + chunk] for start in range(0, len(page), chunk)]

    assert is_linear(parts, lambda page: read(*page), MAX_BYTES - 100)
