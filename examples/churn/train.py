"""Who is about to leave? A scikit-learn pipeline over columns of several types.

Parameters: `regularization` (the C of the logistic regression) and `minimum_tenure`: train only on customers who have
stayed for so many months. The latter looks harmless and even improves the metrics, because all is measured on the
same customers; but nobody has had the new plan `flex` for so long, and the encoder never sees it.
"""

import json
import os
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["tenure_months", "monthly_charge", "support_calls", "data_gigabytes"]

data, output = Path(os.environ["UPRIGHT_DATA"]), Path(os.environ["UPRIGHT_OUTPUT"])
parameters = json.loads(Path(os.environ["UPRIGHT_PARAMETERS"]).read_text())

customers = pd.read_csv(data / "train" / "customers.csv")
customers = customers[customers["tenure_months"] >= parameters["minimum_tenure"]]
features, churned = customers.drop(columns="churned"), customers["churned"]
split = train_test_split(features, churned, random_state=0, stratify=churned)
fit_features, test_features, fit_churned, test_churned = split

columns = ColumnTransformer(
    [
        ("plan", OneHotEncoder(), ["plan"]),
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        ("paperless", "passthrough", ["paperless"]),
    ]
)
model = make_pipeline(columns, LogisticRegression(C=parameters["regularization"], max_iter=1000))
model.fit(fit_features, fit_churned)

scores = model.predict_proba(test_features)[:, 1]
metrics = {"accuracy": model.score(test_features, test_churned), "auc": roc_auc_score(test_churned, scores)}
reference = test_features.assign(prediction=model.predict(test_features), label=test_churned, score=scores)

skops.io.dump(model, output / "model.skops")
(output / "metrics.json").write_text(json.dumps(metrics))
reference.to_csv(output / "reference.csv", index=False)
(output / "card.md").write_text("# Churn\n\nWho is about to leave? Trained on invented customers.\n")
print(f"trained on {len(fit_features)} customers:", metrics)
