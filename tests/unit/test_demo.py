"""`make demo` and `make demo-down` on a cluster that is somebody's: what they have not made, they leave alone."""

import json
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests import demo, installed
from tests.cluster import cluster as clusters
from tests.cluster.cluster import Cluster, Images
from tests.cluster.shell import ClusterError
from tests.installed import SYSTEM
from tests.ours import MARK, claim, refuse_what_is_not_ours

STUB = """\
import json, os, sys
from pathlib import Path
state = Path(os.environ["STATE"])
words = [word for word in sys.argv[1:] if not word.startswith(("--kubeconfig", "--cache-dir"))]
there = json.loads(state.read_text())
namespaces, operators = there["namespaces"], there["operators"]
match [Path(sys.argv[0]).name, *words]:
    case ["kubectl", "get", "deployments.apps", *_]:
        print(json.dumps({"items": [{"metadata": {"namespace": one}} for one in operators]}))
    case ["kubectl", "get", "namespace", name, *_]:
        print(f"namespace/{name}" if name in namespaces else "")
    case ["kubectl", "get", "namespaces", field, selector, *_]:
        name, mark = field.rpartition("=")[2], selector.partition("=")[2]
        print(f"namespace/{name}" if mark in namespaces.get(name, []) else "")
    case _:
        there["done"].append(words)
        match words:
            case ["create", "namespace", name]:
                namespaces[name] = []
            case ["delete", "namespace", name, *_]:
                namespaces.pop(name, None)
            case ["label", *_, "namespace", name, mark]:
                namespaces[name].append(mark)
        state.write_text(json.dumps(there))
"""


class Stage:
    """Programs called kubectl and helm that know namespaces and where the operator is installed, and write down what
    would have changed the cluster.
    """

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state.json"
        for name in ("kubectl", "helm"):
            (folder / name).write_text(f"#!{sys.executable} -IS\n{STUB}")
            (folder / name).chmod(stat.S_IRWXU)
        self.cluster = Cluster("existing", folder / "kubeconfig", None, lambda _: Images("o:1", "r:1"), lambda _: None)

    def holds(self, namespaces: dict[str, list[str]], operators: Sequence[str]) -> None:
        self._state.write_text(json.dumps({"namespaces": namespaces, "operators": operators, "done": []}))

    @property
    def done(self) -> list[list[str]]:
        found: list[list[str]] = json.loads(self._state.read_text())["done"]
        return found


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("STATE", str(tmp_path / "state.json"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(clusters, "kubectl_program", lambda: str(tmp_path / "kubectl"))
    monkeypatch.setattr(clusters, "helm_program", lambda _: tmp_path / "helm")
    return Stage(tmp_path)


OURS = [MARK]


@pytest.mark.parametrize(
    ("namespaces", "operators", "said"),
    [
        ({"mlops": []}, ["mlops"], "in namespace mlops, and not from here"),
        ({SYSTEM: []}, [SYSTEM], f"in namespace {SYSTEM}, and not from here"),
        ({SYSTEM: OURS, "mlops": []}, ["mlops", SYSTEM], "in namespace mlops, and not from here"),
        ({SYSTEM: []}, [], f"namespace {SYSTEM} is there already"),
        ({SYSTEM: OURS, demo.NAMESPACE: []}, [SYSTEM], f"namespace {demo.NAMESPACE} is there already"),
    ],
)
@pytest.mark.parametrize(("provider", "way_out"), [("existing", "without CLUSTER=existing"), ("local", "cluster-down")])
def test_what_somebody_else_has_made_is_neither_taken_over_nor_removed(
    stage: Stage, namespaces: dict[str, list[str]], operators: list[str], said: str, provider: str, way_out: str
) -> None:
    stage.holds(namespaces, operators)
    stage.cluster = replace(stage.cluster, provider=provider)
    with pytest.raises(ClusterError, match=rf"{said}.*{way_out}"):
        refuse_what_is_not_ours(stage.cluster, SYSTEM, demo.NAMESPACE)
    assert not stage.done
    demo.remove_from(stage.cluster, print)
    gone = {words[2] for words in stage.done if words[:2] == ["delete", "namespace"]}
    assert gone == {name for name, marks in namespaces.items() if marks}
    assert any(words[0] == "uninstall" for words in stage.done) == (SYSTEM in gone)


@pytest.mark.parametrize("again", [False, True])
def test_what_the_demo_has_made_it_takes_up_again_and_removes(stage: Stage, *, again: bool) -> None:
    stage.holds({"other": [], **({SYSTEM: OURS, demo.NAMESPACE: OURS} if again else {})}, [SYSTEM] if again else [])
    refuse_what_is_not_ours(stage.cluster, SYSTEM, demo.NAMESPACE)
    claim(stage.cluster, demo.NAMESPACE)
    installed.install(stage.cluster, print)
    [upgrade] = [words for words in stage.done if words[0] == "upgrade"]
    assert "--create-namespace" not in upgrade, "one that Helm makes would not be marked"
    demo.remove_from(stage.cluster, print)
    assert ["uninstall", "upright", "--namespace", SYSTEM, "--ignore-not-found", "--wait"] in stage.done
    assert {words[2] for words in stage.done if words[:2] == ["delete", "namespace"]} == {SYSTEM, demo.NAMESPACE}
