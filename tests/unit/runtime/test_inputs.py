import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.pod import Pod
from upright.api.artifact import FileEntry, digest, digest_of_files
from upright.runtime.environment import run_of
from upright.runtime.inputs import check_inputs
from upright.runtime.outcome import FailedError, RefusedError


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
    pod.run["data"] = [a_source()]
    try:
        check_inputs(pod.variables)
    finally:  # what cleans up after tests goes down by recursion
        (deep / "x").unlink()
        while deep.name == "d":
            deep.rmdir()
            deep = deep.parent


@given(parameters=st.dictionaries(st.text(max_size=5), st.text(alphabet="$()HOME_x", max_size=12) | st.floats(0, 1)))
def test_what_the_operator_escapes_arrives_as_it_was_written(parameters: dict[str, Any]) -> None:
    """Kubernetes turns $$ into $ and expands $(NAME) in the values of a container's variables."""
    run = {"model": "churn", "run": "churn-7", "namespace": "x", "store": "pvc://models", "parameters": parameters}

    arrived = as_the_kubelet_passes(json.dumps(run).replace("$", "$$"), {"HOME": "/tmp"})

    assert run_of({"UPRIGHT_RUN": arrived}).parameters == parameters


def as_the_kubelet_passes(value: str, known: dict[str, str]) -> str:
    """Expansion in Kubernetes: $$ is $, $(NAME) the variable's value if it is known, all else stays."""
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), value)
