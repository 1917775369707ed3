"""How workers share what there is only one of. Locks of one process exclude each other like those of several."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.workers import Stage, Turns, one_for_all


def test_the_first_makes_what_all_use_and_the_last_removes_it(tmp_path: Path) -> None:
    made: list[str] = []
    removed: list[list[str]] = []

    def make() -> list[str]:
        made.append("cluster")
        return ["it", "is", "there"]

    with ExitStack() as first, ExitStack() as second:
        one = first.enter_context(one_for_all(tmp_path, "cluster", make, removed.append))
        other = second.enter_context(one_for_all(tmp_path, "cluster", make, removed.append))
        assert one == other == ["it", "is", "there"]
        first.close()
        assert removed == []
    assert made == ["cluster"]
    assert removed == [["it", "is", "there"]]


def test_what_could_not_be_made_is_tried_by_the_next(tmp_path: Path) -> None:
    def fail() -> str:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), one_for_all(tmp_path, "cluster", fail, print):
        pass
    with one_for_all(tmp_path, "cluster", lambda: "there", lambda _: None) as made:
        assert made == "there"


def test_who_is_alone_waits_for_all_who_may_still_use_the_cluster(tmp_path: Path) -> None:
    alone, other = Turns(tmp_path), Turns(tmp_path)
    other.take(Stage.BESIDE)
    waiting = threading.Thread(target=alone.take, args=(Stage.ALONE,), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    other.end()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    ("test", "stage"),
    [
        ("tests/e2e/test_rollout.py::test_a", Stage.BESIDE),
        ("tests/e2e/alone/test_restart.py::test_a", Stage.ALONE),
        ("tests/integration/test_shell.py::test_a", Stage.PLAYED),
        ("tests/cluster/test_local.py::test_a", Stage.APART),
        ("tests/unit/test_training.py::test_a", Stage.APART),
    ],
)
def test_a_tests_place_says_when_it_runs(test: str, stage: Stage) -> None:
    assert Stage.of(test) is stage
