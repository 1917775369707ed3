"""The folders of a run's pod, as a training program and the containers around it see them."""

from pathlib import Path

import pytest

from tests.unit.runtime.pod import Pod


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod of a run of model churn, with nothing in any folder yet."""
    pod = Pod(tmp_path)
    for folder in (pod.data, pod.code, pod.output, pod.store, pod.work):
        folder.mkdir()
    return pod
