"""Compressed bodies: never more is made of one than a body may have, and none takes long."""

import gzip
import tracemalloc
import zlib
from functools import cache, partial
from random import Random

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tests.fuzz.growth import is_linear
from upright.runtime.asked import Answer
from upright.runtime.batch import BadInputError
from upright.runtime.body import BODY_LIMIT
from upright.runtime.compression import WORTH, accepted_of, deflated, encoding_of, inflated

compressed = partial(gzip.compress, mtime=0)  # the names of cases do not depend on when they are collected
BODY = b'{"instances": [[1.5, 2.5]]}'


def a_request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw})


@cache
def a_bomb(size: int) -> bytes:
    """Zeros, so that a thousand bytes are one."""
    stream = zlib.compressobj(wbits=31)
    return b"".join(stream.compress(bytes(1024**2)) for _ in range(size // 1024**2)) + stream.flush()


@pytest.mark.parametrize(
    ("named", "content"),
    [
        ("gzip", compressed(BODY)),
        ("X-GZIP", compressed(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_a_body_is_read_as_its_header_says(named: str, content: bytes) -> None:
    assert inflated(content, encoding_of(a_request(content_encoding=named)), BODY_LIMIT) == BODY


def test_a_body_without_a_header_is_as_it_is() -> None:
    assert encoding_of(a_request()) is None


@pytest.mark.parametrize("named", ["br", "gzip, gzip", "deflate,gzip", "zstd", "é"])
def test_other_encodings_and_several_are_refused(named: str) -> None:
    with pytest.raises(HTTPException) as refused:
        encoding_of(a_request(content_encoding=named))

    assert refused.value.status_code == 415
    assert "must be gzip or deflate, one of them and once; it is" in refused.value.detail
    assert refused.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (BODY, "the body must be gzip, as content-encoding says: Error -3"),
        (b"", "its end is missing"),
        (compressed(BODY)[:-1], "its end is missing"),
        (compressed(BODY)[:-8] + bytes(8), "incorrect data check"),
        (compressed(BODY) * 3, "one stream of gzip; 94 bytes come behind it"),
        (zlib.compress(BODY), "must be gzip"),
    ],
)
def test_what_is_not_as_its_header_says_is_a_client_s_mistake(content: bytes, sentence: str) -> None:
    with pytest.raises(BadInputError, match="the body must be") as refused:
        inflated(content, "gzip", BODY_LIMIT)

    assert sentence in str(refused.value)


def test_a_body_of_just_the_limit_is_taken_and_a_byte_more_is_not() -> None:
    assert inflated(zlib.compress(bytes(1000)), "deflate", 1000) == bytes(1000)
    with pytest.raises(HTTPException, match="at most 1000 bytes when it is decompressed") as refused:
        inflated(zlib.compress(bytes(1001)), "deflate", 1000)
    assert refused.value.status_code == 413


def test_a_bomb_goes_off_in_no_more_memory_than_a_body_may_have() -> None:
    bomb = a_bomb(64 * 1024**2)
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException, match="at most 8388608 bytes when"):
            inflated(bomb, "gzip", BODY_LIMIT)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * BODY_LIMIT


def test_the_time_grows_with_the_body_also_where_it_holds_nothing() -> None:
    def of_empty_blocks(size: int) -> bytes:
        return b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * (size // 5)

    def run(content: bytes) -> None:
        with pytest.raises(BadInputError):
            inflated(content, "deflate", BODY_LIMIT)

    assert is_linear(of_empty_blocks, run, 2 * 1024**2)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.2, deflate;q=0.8", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
        ("*", "gzip"),
        ("*;q=0.5, gzip;q=0", "deflate"),
        ("br, zstd", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=x", None),
        ("gzip;q=nan", None),
        ("", None),
        (",;,=", None),
    ],
)
def test_an_answer_is_compressed_as_its_client_weighs_it(header: str, encoding: str | None) -> None:
    assert accepted_of(a_request(accept_encoding=header)) == encoding
    assert accepted_of(a_request()) is None


def test_an_answer_is_compressed_where_that_is_worth_it() -> None:
    large, small = Answer(b"[0.25, 0.75], " * WORTH, 1), Answer(b"x" * (WORTH - 1), 1)
    random = Answer(Random(0).randbytes(2 * WORTH), 1)

    packed = deflated(large, "gzip")

    assert (packed.encoding, gzip.decompress(packed.content)) == ("gzip", large.content)
    assert zlib.decompress(deflated(large, "deflate").content) == large.content
    assert deflated(large, None) is large
    assert deflated(small, "gzip") is small
    assert deflated(random, "gzip") is random
