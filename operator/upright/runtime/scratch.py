"""Folders for a while in /tmp, which in a pod outlives its containers: what a killed one has left, the next removes."""

import os
import shutil
import tempfile
from pathlib import Path


def prefix_of(what: str) -> str:
    """How a process calls its folder for something, of which it has one at a time. What a process of its number that is
    no more has left of them is removed: in each container of a pod the numbers begin at 1.
    """
    prefix = f"upright-{what}-{os.getpid()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    return prefix
