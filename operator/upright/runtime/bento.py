"""The same application as a BentoML service: what a Bento that `upright export` has made serves.

Upright's own pods do without BentoML around it: that takes 38 MB and half of a request's time.
"""

import os
from pathlib import Path
from typing import Any

import bentoml
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import Mount

from upright.runtime.answering import answering
from upright.runtime.artifact import load_artifact
from upright.runtime.load import Load
from upright.runtime.service import application


def service(
    artifact: Path, digest: str, model: str, version: str, formats: str, *, modules: bool = False
) -> "bentoml.Service[Any]":
    """A service for an artifact in a folder, whose model may be of these formats, and may need modules that are in the
    artifact. Raises RefusedError or FailedError when it cannot be served.
    """
    served = load_artifact(
        {
            **os.environ,  # which types are trusted, and how large it may be
            "UPRIGHT_ARTIFACT": str(artifact),
            "UPRIGHT_DIGEST": digest,
            "UPRIGHT_MODEL": model,
            "UPRIGHT_MODEL_VERSION": version,
            "UPRIGHT_ALLOWED_FORMATS": formats,
            "UPRIGHT_ALLOW_MODULES": str(modules).lower(),
        }
    )

    @bentoml.service(name=model.lower(), logging={"access": {"enabled": False}})
    class Served:
        pass

    serves = application(answering(served, Load()), REGISTRY)
    # BentoML runs the lifespan, in which the model is warmed up, of a Starlette alone.
    bentoml.asgi_app(Starlette(routes=[Mount("/", serves)], lifespan=serves.lifespan), path="/")(Served)
    made: bentoml.Service[Any] = Served
    return made
