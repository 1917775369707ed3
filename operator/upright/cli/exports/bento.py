"""A Bento, which holds the artifact as it is and the program that serves it."""

import os
import shutil
import tempfile
from pathlib import Path

import upright
from upright.api.artifact import MANIFEST
from upright.cli.artifact import Artifact
from upright.cli.problems import Unusable
from upright.runtime.modules import names_in

_SERVICE = '''"""Made by `upright export`."""

from pathlib import Path

from upright.runtime.bento import service

Served = service(
    Path(__file__).parent / "artifact",
    digest={digest!r},
    model={model!r},
    version={version!r},
    formats={formats!r},
    modules={modules!r},
)
'''
_SERVES = ("prometheus-client", "pydantic", "starlette")
"""What the service needs beside the model's own packages, which the manifest names."""


def write(artifact: Artifact, version: str, folder: Path) -> str:
    """Build it. Raises Unusable without BentoML, and OSError."""
    manifest, digest = artifact.manifest, artifact.digest
    with tempfile.TemporaryDirectory(prefix="upright-export-") as scratch:
        os.environ.update({"BENTOML_HOME": f"{scratch}/home", "BENTOML_DO_NOT_TRACK": "True"})  # read on import
        try:
            import bentoml
        except ImportError as problem:
            raise Unusable("--as bento needs BentoML: pip install '.[bento]' in Upright's checkout") from problem
        sources = Path(scratch) / "sources"
        for name in (MANIFEST, *(entry.path for entry in manifest.files)):
            (target := sources / "artifact" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.folder / name, target)
        shutil.copytree(
            Path(upright.__file__).parent, sources / "upright", ignore=shutil.ignore_patterns("__pycache__")
        )
        (sources / "service.py").write_text(
            _SERVICE.format(
                digest=digest,
                model=manifest.model,
                version=version,
                formats=manifest.format,
                modules=bool(names_in(manifest)),
            )
        )
        bento = bentoml.bentos.build(
            "service:Served",
            version=digest.removeprefix("sha256:")[:12],
            build_ctx=str(sources),
            python={"packages": [*manifest.environment, *_SERVES], "lock_packages": False},
        )
        shutil.copytree(bento.path, folder)
    return f"Serve it: cd {folder} && bentoml serve ."
