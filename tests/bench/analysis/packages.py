"""Data sets that PyPI wheels carry: read out of the wheel, which is never installed.

The packages pin old versions of what the project uses, and only their files are wanted.
"""

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

CACHE = Path.home() / ".cache" / "upright" / "bench"
VERSIONS = {"nannyml": "0.13.1", "river": "0.26.1"}


def from_wheel(package: str, path: str) -> BytesIO:
    """A file of the package's wheel; the wheel is fetched once."""
    return BytesIO(zipfile.ZipFile(_wheel(package)).read(path))


def _wheel(package: str) -> Path:
    pattern = f"{package}-{VERSIONS[package]}-*.whl"
    found = sorted(CACHE.glob(pattern))
    if not found:
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted = f"{package}=={VERSIONS[package]}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", str(CACHE), wanted], check=True)
        found = sorted(CACHE.glob(pattern))
    return found[0]
