"""A model as a BentoML service, as its documentation has it: `bentoml serve bentoml_peer:Served` with MODEL set."""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service
class Served:
    """What a file holds."""

    def __init__(self) -> None:
        self.estimator = joblib.load(os.environ["MODEL"])

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, instances: list[Any]) -> list[Any]:
        rows = pd.DataFrame(instances) if isinstance(instances[0], dict) else instances
        answer: list[Any] = self.estimator.predict(rows).tolist()
        return answer
