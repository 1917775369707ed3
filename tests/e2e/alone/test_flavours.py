"""A model whose library is large is published and served by an image of its own."""

import base64

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tests.cluster.local import Local
from tests.e2e.objects import a_claim, a_deployment, a_training_job, ask, serves
from tests.installed import Workspace, install
from upright.api.names import DEPLOYMENT

PROGRAM = """
import base64, os, pathlib, sys
pathlib.Path(os.environ["UPRIGHT_OUTPUT"], "model.onnx").write_bytes(base64.b64decode(sys.argv[1]))
"""


def test_a_graph_of_onnx_is_published_and_served(place: Workspace, provider: Local) -> None:
    image = provider.flavour("onnx", print)
    install(place.cluster, print, **{"runtime.flavours.onnx.image": image})
    rows = np.array([[0.0], [1.0]], dtype=np.float32)
    graph = to_onnx(LinearRegression().fit(rows, [5.0, 7.0]), rows[:1]).SerializeToString()
    job = a_training_job("graph", output={"store": "pvc://models", "format": "onnx"})
    job["spec"]["train"]["command"] = ["python", "-c", PROGRAM, base64.b64encode(graph).decode()]

    place.apply(a_claim(), job, a_deployment("graph", "graph-1"))
    place.until("mdep", "graph", lambda one: serves(one, "graph-1"), "graph-1 in production")

    (pod,) = place.items("pods", f"{DEPLOYMENT}=graph")
    assert [container["image"] for container in pod["spec"]["containers"]] == [image]
    assert ask(place, "graph", "graph") == [5.0]
