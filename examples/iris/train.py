"""The smallest model: which iris it is, from sepal length, sepal width, petal length and petal width in centimetres."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from upright.runtime import sdk

features, species = load_iris(return_X_y=True)
model = LogisticRegression(max_iter=1000, **sdk.parameters())
accuracy = cross_val_score(model, features, species, cv=5).mean()
sdk.save(model.fit(features, species), metrics={"accuracy": accuracy})
print(f"accuracy {accuracy:.3f}")
