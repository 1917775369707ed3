"""Virtual environments for other people's tools: made once, in the cache."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.shell import Say, cache


def environment(name: str, requires: Sequence[str], say: Say) -> Path:
    """The folder of an environment that has what is required, each as `NAME==VERSION` or as a name."""
    folder = cache() / "bench" / "-".join((name, *(package.rpartition("==")[2] for package in requires)))
    if not (folder / "whole").exists():
        say(f"installing {', '.join(requires)}")
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "bin/python", *requires], check=True)
        (folder / "whole").touch()
    return folder
