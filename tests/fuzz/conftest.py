"""Fuzz tests: whatever bytes come from elsewhere give a value or a declared error, never another exception.

All of them together take UPRIGHT_FUZZ_SECONDS (default 60; `make fuzz SECONDS=600` for longer): each is repeated, with
other examples every time, until its share of that is over. What failed once is kept in .hypothesis and tried first.
"""

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SECONDS = float(os.environ.get("UPRIGHT_FUZZ_SECONDS", "60"))
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
    end = time.monotonic() + pyfuncitem.stash.get(SHARE, 0.0)
    done = yield
    while time.monotonic() < end:
        pyfuncitem.obj()
    return done


def _is_property(item: pytest.Item) -> bool:
    """Whether Hypothesis makes all of its arguments."""
    test = getattr(item, "obj", None)
    return getattr(test, "is_hypothesis_test", False) and not getattr(item, "_fixtureinfo").argnames  # noqa: B009
