"""The copy that a model is loaded from, in a pod whose /tmp outlives its containers."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.unit.runtime.pod import Pod, a_matrix_model
from tests.unit.runtime.server import a_store_with
from upright.runtime import store
from upright.runtime.artifact import load_artifact
from upright.runtime.outcome import FailedError

TWICE = """
import os, sys
from upright.runtime import artifact, formats

if len(sys.argv) == 1:  # killed while it loads; what comes next has its number, as in a container
    formats.load = lambda *_: os.execv(sys.executable, [sys.executable, __file__, "again"])
artifact.load_artifact(os.environ)
"""


def test_what_a_container_has_left_that_was_killed_while_it_loaded_is_removed(pod: Pod, tmp_path: Path) -> None:
    environment, tmp = a_store_with(pod, a_matrix_model()), tmp_path / "tmp"
    other = tmp / "upright-artifact-0-abc"  # of a process with another number, which may be there
    other.mkdir(parents=True)
    (tmp_path / "twice.py").write_text(TWICE)

    command = [sys.executable, str(tmp_path / "twice.py")]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp)}, timeout=60, check=True)

    assert list(tmp.iterdir()) == [other]


def test_that_there_is_no_space_for_the_copy_is_no_matter_of_rights(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    environment = a_store_with(pod, a_matrix_model())
    monkeypatch.setattr(store, "copy_verified", copy)

    with pytest.raises(FailedError) as raised:
        load_artifact(environment)

    assert raised.value.refusal.reason == "NoSpace"
    assert f"no space for a copy of it in {tempfile.gettempdir()}" in raised.value.refusal.message
