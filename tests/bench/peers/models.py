"""The models of the serving bench, fitted in the virtual environment of whoever serves them: `models.py NAME FILE`.

Only scikit-learn, pandas and joblib are needed: it runs where nothing of Upright is installed.
"""

import sys
from typing import Any

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def customers(rows: int = 400) -> pd.DataFrame:
    """Columns of mixed types: two of texts, one of whole numbers, one of numbers."""
    return pd.DataFrame(
        {
            "plan": [("basic", "prepaid", "premium")[n % 3] for n in range(rows)],
            "region": [("north", "south")[n % 2] for n in range(rows)],
            "tenure": [n % 60 for n in range(rows)],
            "income": [1000.5 + 37.25 * (n % 91) for n in range(rows)],
        }
    )


def model(name: str) -> Any:
    """`linear` and `forest` take the four numbers of iris, `columns` takes customers."""
    if name == "columns":
        data = customers()
        texts, numbers = ["plan", "region"], ["tenure", "income"]
        columns = ColumnTransformer([("texts", OneHotEncoder(), texts), ("numbers", StandardScaler(), numbers)])
        return make_pipeline(columns, LogisticRegression()).fit(data, data["tenure"] > 30)
    estimator = RandomForestClassifier(100, random_state=1) if name == "forest" else LogisticRegression(max_iter=1000)
    return estimator.fit(*load_iris(return_X_y=True))


if __name__ == "__main__":
    joblib.dump(model(sys.argv[1]), sys.argv[2])
