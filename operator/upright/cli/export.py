"""`upright export`: an artifact as what another tool serves."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import upright
from upright.api.artifact import MANIFEST, ArtifactManifest
from upright.cli.problems import Unusable
from upright.runtime import store

DESCRIPTION = """Write an artifact of the store as what another tool serves. Every file's digest is checked first.

bento: a folder in which `bentoml serve .` serves the model, with the routes of Upright's own pods"""

_SERVICE = '''"""Made by `upright export`."""

from pathlib import Path

from upright.runtime.bento import service

Served = service(
    Path(__file__).parent / "artifact",
    digest={digest!r},
    model={model!r},
    version={version!r},
    formats={formats!r},
)
'''
_SERVES = ("prometheus-client", "pydantic", "starlette")
"""What the service needs beside the model's own packages, which the manifest names."""


def add_to(commands: Any) -> None:
    """Add the subcommand to the parser's commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write an artifact as what another tool serves",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, command="export")
    parser.add_argument("artifact", type=Path, help="the artifact's folder: STORE/MODEL/sha256-...")
    parser.add_argument("--as", dest="form", choices=["bento"], required=True, help="what to write")
    parser.add_argument("--to", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--version", help="what answers call the version; without it, the artifact's folder")


def run(options: argparse.Namespace) -> int:
    """Export. Raises Unusable."""
    artifact: Path = options.artifact
    folder: Path = options.to
    if folder.exists():
        raise Unusable(f"--to {folder}: expected a folder that does not exist yet")
    digest = artifact.resolve().name.replace("-", ":", 1)
    try:
        manifest = store.verify(artifact, digest)
    except (store.MissingArtifactError, store.CorruptArtifactError, OSError) as problem:
        raise Unusable(f"{artifact}: expected an artifact, STORE/MODEL/sha256-...: {problem}") from problem
    _bento(artifact, manifest, digest, options.version or artifact.resolve().name, folder)
    print(f"Wrote {folder}. Serve it: cd {folder} && bentoml serve .")
    return 0


def _bento(artifact: Path, manifest: ArtifactManifest, digest: str, version: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="upright-export-") as scratch:
        os.environ.update({"BENTOML_HOME": f"{scratch}/home", "BENTOML_DO_NOT_TRACK": "True"})  # read on import
        try:
            import bentoml
        except ImportError as problem:
            raise Unusable("--as bento needs BentoML: pip install 'upright[bento]'") from problem
        sources = Path(scratch) / "sources"
        for name in (MANIFEST, *(entry.path for entry in manifest.files)):
            (target := sources / "artifact" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact / name, target)
        shutil.copytree(
            Path(upright.__file__).parent, sources / "upright", ignore=shutil.ignore_patterns("__pycache__")
        )
        (sources / "service.py").write_text(
            _SERVICE.format(digest=digest, model=manifest.model, version=version, formats=manifest.format)
        )
        bento = bentoml.bentos.build(
            "service:Served",
            version=digest.removeprefix("sha256:")[:12],
            build_ctx=str(sources),
            python={"packages": [*manifest.environment, *_SERVES], "lock_packages": False},
        )
        shutil.copytree(bento.path, folder)
