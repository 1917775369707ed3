"""A model in KServe's server, as its documentation has it: `kserve_peer.py MODEL PORT`; V1."""

import sys
from typing import Any

import joblib
import kserve
import pandas as pd


class Model(kserve.Model):  # type: ignore[misc] # not installed where types are checked
    """What a file holds."""

    def load(self) -> bool:
        self.estimator = joblib.load(sys.argv[1])
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        rows = payload["instances"]
        return {
            "predictions": self.estimator.predict(pd.DataFrame(rows) if isinstance(rows[0], dict) else rows).tolist()
        }


if __name__ == "__main__":
    served = Model("m")
    served.load()
    kserve.ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1, access_log_format=None).start([served])
