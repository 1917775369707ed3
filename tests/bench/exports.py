"""Whether other tools answer what we do with what `upright export` writes for them: `python -m tests.bench.exports`.

MLflow loads its folder by both of its ways. KServe's scikit-learn server is no package of PyPI: its folder is served by
KServe's own server with the calls that it makes. Each tool has a virtual environment of its own that is made once in
the cache; nothing of it is in ours. (`tests/unit/cli/test_export.py` has BentoML serve a Bento.)
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.environments import environment
from tests.cluster.shell import Progress
from tests.unit.runtime.own import ALLOWED, trained
from tests.unit.runtime.own import ROWS as CLIPPED
from tests.unit.runtime.pod import a_matrix_model, a_pipeline, a_pod, customers, reference_csv
from tests.unit.runtime.server import a_store_with
from upright.cli.main import main as upright
from upright.runtime.publish import publish

PEERS = Path(__file__).parent / "peers"
REQUIRES: Mapping[str, Sequence[str]] = {
    "mlflow": ("mlflow-skinny==3.17.2", "scikit-learn==1.9.1", "skops==0.16.0", "pandas==3.1.1"),
    "kserve": ("kserve==0.21.0", "scikit-learn==1.9.1"),
}
ROWS = 50


def main() -> None:
    say = Progress()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="upright-exports-") as scratch:
        for root, name, artifact, features, expected in _cases(Path(scratch)):
            (rows := root / "rows.json").write_text(
                json.dumps(features if isinstance(features, list) else features.to_dict("list"))
            )
            for tool, requires in REQUIRES.items():
                if upright(["export", artifact, "--as", tool, "--to", str(root / tool)]):
                    sys.exit(1)
                python = environment(tool, requires, say) / "bin" / "python"
                asked = [python, PEERS / f"{tool}_export.py", root / tool, rows]
                finds = {"PYTHONPATH": str(root / tool)} if tool == "kserve" else {}  # as its InferenceService says
                ran = subprocess.run(asked, check=True, stdout=subprocess.PIPE, env={**os.environ, **finds})
                answers = json.loads(ran.stdout.splitlines()[-1])
                for way, answer in answers.items():
                    found = "as the model itself" if answer == expected else "OTHERWISE"
                    say(f"{name}: {tool}, {way}: {len(expected)} rows answered {found}")
                    wrong += answer != expected
    sys.exit(bool(wrong))


def _cases(scratch: Path) -> Iterator[tuple[Path, str, str, Any, list[Any]]]:
    """Artifacts, each with a folder and a name, the rows to compare it on, and what its model answers."""
    numbers = [[i % 7 + 0.5, i % 5 - 1.0, i % 3 * 1.0, 1.0] for i in range(ROWS)]
    pod, model = a_pod(_made(scratch / "linear")), a_matrix_model()
    artifact = a_store_with(pod, model)["UPRIGHT_ARTIFACT"]
    yield pod.root, "a linear model of 4 features", artifact, numbers, model.predict(numbers).tolist()

    people = customers().dropna().head(ROWS).drop(columns="label")
    pod, pipeline = a_pod(_made(scratch / "columns")), a_pipeline()
    artifact = a_store_with(pod, pipeline, reference_csv=reference_csv(pipeline))["UPRIGHT_ARTIFACT"]
    yield pod.root, "a pipeline of named columns", artifact, people, pipeline.predict(people).tolist()

    pod = a_pod(_made(scratch / "own"))
    pod.environment |= ALLOWED
    os.environ |= ALLOWED
    answers = trained(pod)
    artifact = str(pod.store / publish(pod.variables).uri.removeprefix("pvc://models/"))
    yield pod.root, "a transformer of its program's own", artifact, CLIPPED.head(ROWS), answers[:ROWS]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
