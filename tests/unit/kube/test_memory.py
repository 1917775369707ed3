"""What is remembered only as long as there is room."""

from upright.kube.memory import Memory


def test_what_was_set_longest_ago_is_forgotten_and_told() -> None:
    memory: Memory[str, int] = Memory(2)
    assert memory.set("a", 1) is None
    assert memory.set("b", 2) is None
    assert memory.set("a", 3) is None
    assert memory.set("c", 4) == 2
    assert [memory.get(name) for name in "abc"] == [3, None, 4]
    memory.drop("a")
    assert list(memory) == ["c"]
