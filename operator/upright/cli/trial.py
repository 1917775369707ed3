"""`upright try`: an artifact served on this machine by the very program that a pod runs."""

import argparse
import json
import logging
import os
import shlex
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prometheus_client import REGISTRY

from upright.cli.artifact import Artifact, artifact_arguments, artifact_in
from upright.cli.problems import Unusable
from upright.runtime.answering import answering
from upright.runtime.artifact import load_artifact
from upright.runtime.batch import is_matrix
from upright.runtime.load import load_of
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.serve import bound_at, server
from upright.runtime.service import application

DESCRIPTION = """Serve an artifact on 127.0.0.1 as a pod does, until Ctrl-C. Every file's digest is checked first.

A model whose loading can run code (joblib) is taken where UPRIGHT_ALLOWED_FORMATS has its format, as in
UPRIGHT_ALLOWED_FORMATS=skops,joblib
Modules that go with a model are imported with --allow-modules, or where UPRIGHT_ALLOW_MODULES=true

exit status: 0 it was stopped, 2 it cannot be served"""

_HERE = "127.0.0.1"
_PORTS = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    artifact_arguments(parser)
    parser.add_argument("--port", type=int, default=0, help="where to listen; without it, a port that is free")


def run(options: argparse.Namespace) -> int:
    """Serve. Raises Unusable."""
    if not 0 <= options.port <= _PORTS:
        raise Unusable(f"--port: expected a number from 1 to {_PORTS}, found {options.port}")
    artifact = artifact_in(options.artifact, modules=options.allow_modules)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    with _bound(options.port) as listener:
        try:
            served, load = load_artifact(_environment(artifact)), load_of(os.environ)
        except (RefusedError, FailedError) as problem:
            raise Unusable(f"{options.artifact}: {problem}") from problem
        serving = server(application(answering(served, load), REGISTRY), load)
        listener.listen()  # at once: who asks before the model is warm waits for it
        print(_greeting(artifact, listener.getsockname()[1]), flush=True)
        with suppress(KeyboardInterrupt):
            serving.run(sockets=[listener])
    return 0


def _environment(artifact: Artifact) -> Mapping[str, str]:
    """What a pod that serves it is told."""
    return {
        **os.environ,
        **({"UPRIGHT_ALLOW_MODULES": "true"} if artifact.modules else {}),
        "UPRIGHT_ARTIFACT": str(artifact.folder),
        "UPRIGHT_DIGEST": artifact.digest,
        "UPRIGHT_MODEL": artifact.manifest.model,
        "UPRIGHT_MODEL_VERSION": artifact.name,
    }


def _bound(port: int) -> socket.socket:
    try:
        return bound_at(socket.AF_INET, _HERE, port)
    except OSError as problem:
        raise Unusable(f"--port {port}: {problem.strerror}; choose another") from problem


def _greeting(artifact: Artifact, port: int) -> str:
    model, url = artifact.manifest.model, f"http://{_HERE}:{port}"
    asked = f"curl {url}/v2/models/{model}"
    if (row := _example(artifact)) is not None:
        body = shlex.quote(json.dumps({"instances": [row]}, ensure_ascii=False))
        asked = f"curl {url}/v1/models/{model}:predict -d {body}"
    return f"Serving {model} at {url} until Ctrl-C. Ask it:\n  {asked}"


def _example(artifact: Artifact) -> Any:
    """The row that the model answered when it was published: by name where its features have names."""
    example, signature = artifact.manifest.example, artifact.manifest.signature
    if example is None or signature is None:
        return None
    if is_matrix(signature):
        return list(example)
    return {tensor.name: value for tensor, value in zip(signature.inputs, example, strict=True)}
