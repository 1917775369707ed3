import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import DEFAULTS, a_training_job
from tests.unit.runtime.pod import Pod
from upright.api.artifact import FileEntry, digest, digest_of_files
from upright.api.training_job import Run
from upright.runtime.environment import run_of
from upright.runtime.folder import entries
from upright.runtime.inputs import check_inputs
from upright.runtime.outcome import FailedError, RefusedError
from upright.training.manifests import job


def a_source(**changes: str) -> dict[str, str]:
    return {"name": "train", "uri": "configmap://churn-data", **changes}


def a_configmap_volume(folder: Path, **files: str) -> None:
    """As the kubelet writes it: the content in a dated folder, `..data` and the names as links."""
    dated = folder / "..2026_11_22_22_00_00.123"
    dated.mkdir(parents=True)
    (folder / "..data").symlink_to(dated.name)
    for name, content in files.items():
        (dated / name.replace("_", ".")).write_text(content)
        (folder / name.replace("_", ".")).symlink_to(f"..data/{name.replace('_', '.')}")


def test_the_digest_is_of_names_sizes_and_contents(pod: Pod) -> None:
    pod.run["data"] = [a_source(uri="pvc://lake/churn")]
    (pod.data / "train" / "2026").mkdir(parents=True)
    (pod.data / "train" / "b.csv").write_text("x\n1\n")
    (pod.data / "train" / "2026" / "a.csv").write_text("x\n2\n")

    check_inputs(pod.variables)

    expected = digest_of_files(
        [
            FileEntry(path="2026/a.csv", sha256=digest(b"x\n2\n").removeprefix("sha256:"), size=4),
            FileEntry(path="b.csv", sha256=digest(b"x\n1\n").removeprefix("sha256:"), size=4),
        ]
    )
    lineage = json.loads((pod.work / "data.json").read_text())
    assert lineage["data"] == [{"name": "train", "uri": "pvc://lake/churn", "digest": expected}]


def test_a_configmap_has_the_digest_of_its_files_however_the_kubelet_lays_them_out(pod: Pod) -> None:
    pod.run["data"] = [a_source(), a_source(name="again", uri="pvc://lake/churn")]
    a_configmap_volume(pod.data / "train", train_csv="x\n1\n")
    (pod.data / "again").mkdir()
    (pod.data / "again" / "train.csv").write_text("x\n1\n")

    check_inputs(pod.variables)

    first, second = json.loads((pod.work / "data.json").read_text())["data"]
    assert first["digest"] == second["digest"]


def changed(folder: Path, **files: str) -> None:
    """The ConfigMap is edited, and the kubelet puts another folder behind the link."""
    dated = folder / "..2026_11_22_22_10_00.456"
    dated.mkdir()
    for name, content in files.items():
        (dated / name.replace("_", ".")).write_text(content)
    (folder / "..new").symlink_to(dated.name)
    (folder / "..new").rename(folder / "..data")


@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
def test_what_train_gets_of_config_maps_is_what_was_digested_whatever_they_hold_by_then(
    pod: Pod, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_configmap_volume(pod.code, a_py="1", b_py="1")
    a_configmap_volume(pod.data / "train", train_csv="x")
    (pod.data / "more").mkdir()
    (pod.data / "more" / "rows.csv").write_text("x")
    (pod.work / "code").mkdir()
    (pod.work / "code" / "of-an-earlier-try.py").write_text("0")
    spec: dict[str, Any] = {
        "code": {"uri": "configmap://code"},
        "data": [a_source(), a_source(name="more", uri="pvc://lake")],
    }
    pod.run.update(spec)
    copyfile, edited = shutil.copyfile, list[str]()

    def slow(source: Path, target: Path) -> Any:
        if when == "meanwhile" and source.is_relative_to(pod.code.resolve()) and not edited:
            edited.append(source.name)
            changed(pod.code, a_py="2", b_py="2")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", slow)
    read = check_inputs(pod.variables)
    if when == "afterwards":
        changed(pod.code, a_py="2", b_py="2")

    made = job(
        a_training_job(**spec),
        Run(name="churn-7", number=7, trigger="Created", phase="Pending"),
        DEFAULTS,
        "pvc://models",
    )["spec"]["template"]["spec"]
    mounts = {
        container["name"]: {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        for container in made["initContainers"]
    }
    code, train, more = (mounts["train"][f"/upright/{at}"] for at in ("code", "data/train", "data/more"))
    assert [(mount["name"], mount["readOnly"]) for mount in (code, train, more)] == [
        ("work", True),
        ("work", True),
        ("data-1", True),  # a claim may hold any amount
    ]
    assert {at for at in mounts["train"] if mounts["train"][at]["name"] == "work"} == {
        code["mountPath"],
        train["mountPath"],
    }
    assert mounts["data"][code["mountPath"]]["name"] == "code"
    there = entries(pod.work / code["subPath"])
    assert {file.path: (pod.work / "code" / file.path).read_text() for file in there} == {"a.py": "1", "b.py": "1"}
    assert read.code is not None
    assert read.code.digest == digest_of_files(there)
    assert read.data[0].digest == digest_of_files(entries(pod.work / train["subPath"]))


def test_what_was_read_is_told_in_the_termination_message(pod: Pod) -> None:
    pod.run.update({"code": {"uri": "configmap://churn-code"}, "data": [a_source()]})
    for folder in (pod.code, pod.data / "train"):
        a_configmap_volume(folder, train_py="print()")

    status, message = pod.execute("data")

    assert (status, message) == (0, json.loads((pod.work / "data.json").read_text()))


def test_the_code_is_an_input_too(pod: Pod) -> None:
    pod.run["code"] = {"uri": "configmap://churn-code"}
    a_configmap_volume(pod.code, train_py="print()")

    check_inputs(pod.variables)

    code = json.loads((pod.work / "data.json").read_text())["code"]
    assert (code["name"], code["uri"]) == ("code", "configmap://churn-code")


def test_a_pin_that_holds_is_accepted(pod: Pod) -> None:
    a_configmap_volume(pod.data / "train", train_csv="x\n1\n")
    pod.run["data"] = [a_source()]
    check_inputs(pod.variables)
    found = json.loads((pod.work / "data.json").read_text())["data"][0]["digest"]

    pod.run["data"] = [a_source(digest=found)]
    check_inputs(pod.variables)


def test_a_pin_that_does_not_hold_ends_the_run_for_good(pod: Pod) -> None:
    pod.run["data"] = [a_source(digest="sha256:" + "0" * 64)]
    a_configmap_volume(pod.data / "train", train_csv="x\n1\n")

    status, message = pod.execute("data")

    assert status == 3
    assert message["reason"] == "DataPinMismatch"
    assert "data source train at configmap://churn-data has digest sha256:" in message["message"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_source_without_files_is_missing_and_may_come_later(pod: Pod, *, exists: bool) -> None:
    pod.run["data"] = [a_source()]
    if exists:
        (pod.data / "train").mkdir()

    with pytest.raises(FailedError, match="configmap://churn-data holds no file") as raised:
        check_inputs(pod.variables)
    assert raised.value.refusal.reason == "DataMissing"


@pytest.mark.parametrize(
    "uri", ["s3://bucket/churn", "https://example.com/churn.csv", "git+https://example.com/churn@abc"]
)
def test_a_scheme_of_a_later_version_is_refused_in_a_sentence(pod: Pod, uri: str) -> None:
    pod.run["data"] = [a_source(uri=uri)]

    with pytest.raises(RefusedError, match="reads pvc://CLAIM/PATH and configmap://NAME only") as raised:
        check_inputs(pod.variables)
    assert raised.value.refusal.reason == "UnsupportedSource"


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd"])
def test_a_link_out_of_the_source_is_refused(pod: Pod, target: str) -> None:
    (pod.root / "secret").write_text("secret")
    (pod.data / "train").mkdir()
    (pod.data / "train" / "train.csv").symlink_to(target)
    pod.run["data"] = [a_source()]

    with pytest.raises(RefusedError, match="outside its folder"):
        check_inputs(pod.variables)


def test_folders_that_hold_themselves_are_refused(pod: Pod) -> None:
    (pod.data / "train" / "deep").mkdir(parents=True)
    (pod.data / "train" / "deep" / "back").symlink_to("..")
    pod.run["data"] = [a_source()]

    with pytest.raises(RefusedError, match="a folder that holds it"):
        check_inputs(pod.variables)


def test_a_malformed_run_is_refused_with_the_field(pod: Pod) -> None:
    pod.run["model"] = "Not A Label"

    status, message = pod.execute("data")

    assert (status, message["reason"]) == (3, "InvalidRun")
    assert "model: " in message["message"]


def test_links_from_folder_to_folder_are_refused_before_they_take_for_ever(pod: Pod) -> None:
    """Each level doubles the number of paths."""
    for level in range(30):
        (pod.data / "train" / str(level)).mkdir(parents=True)
        for name in ("left", "right"):
            (pod.data / "train" / str(level) / name).symlink_to(f"../{level + 1}")
    (pod.data / "train" / "30").mkdir()
    pod.run["data"] = [a_source()]

    with pytest.raises(RefusedError, match="more than 100000 files are reached through links to folders"):
        check_inputs(pod.variables)


def test_folders_that_hold_each_other_are_refused(pod: Pod) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (pod.data / "train" / one).mkdir(parents=True)
        (pod.data / "train" / one / "link").symlink_to(f"../{other}")
    pod.run["data"] = [a_source()]

    with pytest.raises(RefusedError, match="a folder that holds it"):
        check_inputs(pod.variables)


def test_a_link_to_a_folder_is_followed(pod: Pod) -> None:
    (pod.data / "train" / "2026").mkdir(parents=True)
    (pod.data / "train" / "2026" / "a.csv").write_text("x")
    (pod.data / "train" / "latest").symlink_to("2026")
    (pod.data / "again" / "2026").mkdir(parents=True)
    (pod.data / "again" / "latest").mkdir()
    for folder in ("2026", "latest"):
        (pod.data / "again" / folder / "a.csv").write_text("x")
    pod.run["data"] = [a_source(), a_source(name="again")]

    check_inputs(pod.variables)

    first, second = json.loads((pod.work / "data.json").read_text())["data"]
    assert first["digest"] == second["digest"]


@pytest.mark.parametrize("target", ["nowhere", "train.csv"])
def test_a_link_to_nothing_or_to_itself_is_refused_by_name(pod: Pod, target: str) -> None:
    (pod.data / "train").mkdir()
    (pod.data / "train" / "train.csv").symlink_to(target)
    pod.run["data"] = [a_source()]

    with pytest.raises(RefusedError, match=r"train\.csv is a link") as raised:
        check_inputs(pod.variables)
    assert raised.value.refusal.reason == "DataEscapes"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_not_a_file_is_refused_instead_of_waited_for(pod: Pod, kind: str, monkeypatch: Any) -> None:
    (pod.data / "train").mkdir()
    monkeypatch.chdir(pod.data / "train")
    if kind == "pipe":
        os.mkfifo("train.csv")
    else:
        socket.socket(socket.AF_UNIX).bind("train.csv")
    pod.run["data"] = [a_source()]

    status, message = pod.execute("data")

    assert (status, message["reason"]) == (3, "DataNotAFile")
    assert "train.csv is not a file; leave only files and folders there" in message["message"]


def test_what_a_file_system_keeps_for_itself_is_no_data(pod: Pod) -> None:
    pod.run["data"] = [a_source(uri="pvc://lake")]
    (pod.data / "train" / "lost+found").mkdir(parents=True)
    os.mkfifo(pod.data / "train" / "lost+found" / "unreadable")
    (pod.data / "train" / "a.csv").write_text("x")

    check_inputs(pod.variables)


def test_a_deep_folder_is_read(pod: Pod) -> None:
    deep = pod.data / "train"
    deep.mkdir()
    for _ in range(1200):
        deep /= "d"
        deep.mkdir()
    (deep / "x").write_text("x")
    pod.run["data"] = [a_source(uri="pvc://lake")]

    try:
        check_inputs(pod.variables)
    finally:  # pytest goes down by recursion when a later session clears this one's folders, and would fail there
        subprocess.run(["rm", "-r", pod.data / "train" / "d"], check=True)


@given(parameters=st.dictionaries(st.text(max_size=5), st.text(alphabet="$()HOME_x", max_size=12) | st.floats(0, 1)))
def test_what_the_operator_escapes_arrives_as_it_was_written(parameters: dict[str, Any]) -> None:
    """Kubernetes turns $$ into $ and expands $(NAME) in the values of a container's variables."""
    run = {"model": "churn", "run": "churn-7", "namespace": "x", "store": "pvc://models", "parameters": parameters}

    arrived = as_the_kubelet_passes(json.dumps(run).replace("$", "$$"), {"HOME": "/tmp"})

    assert run_of({"UPRIGHT_RUN": arrived}).parameters == parameters


def as_the_kubelet_passes(value: str, known: dict[str, str]) -> str:
    """Expansion in Kubernetes: $$ is $, $(NAME) the variable's value if it is known, all else stays."""
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), value)
