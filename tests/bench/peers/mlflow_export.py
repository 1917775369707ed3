"""What MLflow answers with a model's folder: `mlflow_export.py FOLDER ROWS`."""

import json
import sys
from pathlib import Path

import mlflow.models
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd

folder = sys.argv[1]
content = json.loads(Path(sys.argv[2]).read_text())
rows = pd.DataFrame(content) if isinstance(content, dict) else np.array(content)
model = mlflow.pyfunc.load_model(folder)
assert model.metadata.signature is not None
assert len(model.predict(mlflow.models.Model.load(folder).load_input_example(folder))) == 1
answers = {
    "mlflow.pyfunc": model.predict(rows).tolist(),
    "mlflow.sklearn": mlflow.sklearn.load_model(folder).predict(rows).tolist(),
}
print(json.dumps(answers))
