"""What an artifact can be exported as: a file of this folder for each tool; FORMS is their registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from upright.cli.artifact import Artifact
from upright.cli.exports import bento, kserve, mlflow


@dataclass(frozen=True)
class Form:
    """What another tool serves."""

    what: str
    write: Callable[[Artifact, str, Path], str]
    """Writes an artifact, under the name of its version, to a folder that is not there yet; the result is a sentence
    that says what to do with it. Raises Unusable, OSError.
    """


FORMS: Mapping[str, Form] = {
    "bento": Form(
        "a folder in which `bentoml serve .` serves the model, with the routes of Upright's own pods", bento.write
    ),
    "mlflow": Form(
        "a folder that MLflow 3.10 or newer loads and serves, with the model as it is, in skops", mlflow.write
    ),
    "kserve": Form(
        "a folder that KServe's scikit-learn server loads, with the model as a pickle, since it takes nothing else",
        kserve.write,
    ),
}
