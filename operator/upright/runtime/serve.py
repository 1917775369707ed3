"""The command `serve`: an HTTP server for the model that the environment names.

BentoML's application runs in a plain uvicorn server: `bentoml serve` would add a supervisor process as large as the
worker, and no way to put anything between the server and BentoML's metrics.
"""

import logging
import os
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from upright.runtime.environment import number_of

if TYPE_CHECKING:
    from upright.runtime.traffic import Application

_PORT = 3000
_STOP_SECONDS = 20


def serve(environment: Mapping[str, str]) -> None:
    """Serve until told to stop. Raises RefusedError or FailedError when the artifact cannot be served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    port, workers = number_of(environment, "UPRIGHT_PORT", _PORT), number_of(environment, "UPRIGHT_WORKERS", 1)
    with tempfile.TemporaryDirectory(prefix="upright-serve-") as scratch:
        # Both packages read these when they are imported, in this process and in the workers.
        os.environ.update(
            {
                "PROMETHEUS_MULTIPROC_DIR": scratch,
                "BENTOML_HOME": f"{scratch}/bentoml",
                "BENTOML_DO_NOT_TRACK": "True",
            }
        )
        import uvicorn

        uvicorn.run(
            application() if workers == 1 else "upright.runtime.serve:application",
            factory=workers > 1,
            workers=workers,
            host="0.0.0.0",  # noqa: S104 - a pod is reached at its own address
            port=port,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )


def application() -> "Application":
    """What one worker serves; each verifies the artifact for itself."""
    from upright.runtime.artifact import load_artifact
    from upright.runtime.service import application

    return application(load_artifact(os.environ))
