from pathlib import Path

import pytest

from tests.unit.runtime.pod import Pod, a_pod


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod of a run of model churn, with nothing in any folder yet."""
    return a_pod(tmp_path)
