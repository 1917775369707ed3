"""Given these objects, these are planned. After a wanted change `make golden` writes them anew: read the difference."""

from pathlib import Path

import pytest

from tests.golden.cases import CASES, out


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_what_is_planned(case: Path) -> None:
    assert out(case) == (case / "out.yaml").read_text()
