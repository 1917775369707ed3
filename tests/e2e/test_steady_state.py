"""At rest the operator is silent: it renews its Lease and writes nothing else."""

import os
import time

import pytest

from tests.e2e.crowd import mine, trail
from tests.installed import Workspace

SECONDS = float(os.environ.get("UPRIGHT_STEADY_SECONDS", "120"))
"""How long nothing may be written."""


@pytest.mark.timeout(SECONDS + 300)
def test_nothing_is_written_while_nothing_happens(settled: Workspace) -> None:
    begun = trail(settled)
    time.sleep(SECONDS)  # the absence of something takes time to see
    assert mine(settled, begun.writes()) == []
    assert begun.renewals() > SECONDS / 4, "the log shows what the operator writes: its Lease, every two seconds"
