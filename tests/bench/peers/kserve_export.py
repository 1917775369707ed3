"""What KServe's server answers with a model's folder, loaded and asked as its scikit-learn server does it:
`kserve_export.py FOLDER ROWS`. A row of named columns is a list of one object there.
"""

import json
import multiprocessing
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import joblib
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response


class Model(kserve.Model):  # type: ignore[misc] # not installed where types are checked
    """The only file of the folder that may be a model."""

    def load(self) -> bool:
        (file,) = (one for one in Path(sys.argv[1]).iterdir() if one.suffix in {".joblib", ".pkl", ".pickle"})
        self.estimator = joblib.load(file)
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None) -> Any:
        return get_predict_response(payload, self.estimator.predict(get_predict_input(payload)), self.name)


def serve(port: int) -> None:
    served = Model("m")
    served.load()
    kserve.ModelServer(http_port=port, enable_grpc=False, workers=1, access_log_format=None).start([served])


def ask(url: str, instances: Any) -> list[Any]:
    request = urllib.request.Request(
        url, json.dumps({"instances": instances}).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                predictions: list[Any] = json.load(answer)["predictions"]
                return predictions
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = multiprocessing.Process(target=serve, args=(port,))
    server.start()
    try:
        rows = json.loads(Path(sys.argv[2]).read_text())
        if isinstance(rows, dict):
            rows = [[dict(zip(rows, values, strict=True))] for values in zip(*rows.values(), strict=True)]
        answers = {"V1": ask(f"http://127.0.0.1:{port}/v1/models/m:predict", rows)}
    finally:
        server.terminate()
        server.join()
    print(json.dumps(answers))
