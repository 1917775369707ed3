"""Fuzz tests: whatever bytes come from elsewhere give a value or a declared error, never another exception.

All of them together take UPRIGHT_FUZZ_SECONDS: each is repeated, with other examples every time, until its share of
that is over. Without it they take 60 s and begin with the same examples each time, so that a change is judged by
itself; `make fuzz SECONDS=600` looks for new ones. What failed once is kept in .hypothesis and tried first.
"""

import os
import time
from collections.abc import Generator
from itertools import count
from pathlib import Path
from random import randrange

import pytest
from hypothesis import HealthCheck, seed, settings

SECONDS = float(os.environ.get("UPRIGHT_FUZZ_SECONDS", "60"))
FIRST_SEED = randrange(2**32) if "UPRIGHT_FUZZ_SECONDS" in os.environ else 0
HERE = Path(__file__).parent
SHARE = pytest.StashKey[float]()

settings.register_profile(
    "fuzz",
    max_examples=25,  # in one try, of as many as there is time for
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Divide the time among the tests of properties."""
    fuzzing = [item for item in items if HERE in item.path.parents and _is_property(item)]
    for item in fuzzing:
        item.stash[SHARE] = SECONDS / len(fuzzing)
        item.add_marker(pytest.mark.timeout(SECONDS + 300))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Try again until the test's share of the time is over."""
    if SHARE not in pyfuncitem.stash:
        return (yield)
    end = time.monotonic() + pyfuncitem.stash[SHARE]
    seed(FIRST_SEED)(pyfuncitem.obj)
    done = yield
    for another in count(FIRST_SEED + 1):
        if time.monotonic() >= end:
            return done
        seed(another)(pyfuncitem.obj)
        pyfuncitem.obj()
    return done


def _is_property(item: pytest.Item) -> bool:
    """Whether Hypothesis makes all of its arguments."""
    test = getattr(item, "obj", None)
    return getattr(test, "is_hypothesis_test", False) and not getattr(item, "_fixtureinfo").argnames  # noqa: B009
