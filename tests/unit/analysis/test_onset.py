"""The capital that is bet: none is put down twice, and some is left however long a rollout is paused or held."""

import numpy as np
import pytest

from tests.unit.analysis.builders import a_policy, errors
from upright.analysis import Decision, begin, update, verdict
from upright.analysis.onset import bet, idle
from upright.analysis.state import load

EFFECTS = 3


PRIOR = np.full(EFFECTS, 1 / EFFECTS)


@pytest.mark.parametrize("width", [1.0, 0.3, 1 / 15])
@pytest.mark.parametrize("planned", [1, 2, 40])
def test_what_is_put_down_and_what_is_kept_are_all_that_there_is(planned: int, width: float) -> None:
    wealth, nothing = np.full((1, 1, EFFECTS), -np.inf), np.zeros((1, 1, EFFECTS))
    spent, later = np.zeros(1), np.zeros(EFFECTS, dtype=np.bool_)
    for _ in range(round(20 * planned / width)):
        kept = idle(spent, planned)[0]
        assert np.exp(wealth).sum() + kept == pytest.approx(1)
        assert kept > 0
        after = spent + width if spent else np.ones(1)
        assert (bet(wealth, nothing, PRIOR, later, spent, spent, planned) == wealth).all()
        wealth, before = bet(wealth, nothing, PRIOR, later, spent, after, planned), wealth
        assert (wealth > before).all()
        spent = after


def test_looks_that_come_faster_put_down_as_much_in_the_same_time() -> None:
    policy = a_policy(horizon="10m")
    slow, fast = begin(policy), begin(policy)
    for look in range(1, 21):
        slow = update(policy, slow, errors(15.0 * look, (150, 1), (1350, 13)))
        parts = range(15) if look > 1 else (14,)
        seconds = (15.0 * (look - 1) + part + 1 for part in parts)
        fast = update(
            policy,
            fast,
            *(errors(at, (150 / len(parts), 1 / len(parts)), (1350 / len(parts), 13 / len(parts))) for at in seconds),
        )
    memories = [load(policy, state).metrics["errors"].memory for state in (slow, fast)]
    assert [memory.spent[0] for memory in memories] == pytest.approx([20, 20])  # type: ignore[union-attr]
    assert memories[1].log_evidence == pytest.approx(memories[0].log_evidence, abs=0.02)  # type: ignore[union-attr]


def test_a_version_that_gets_worse_after_a_night_on_hold_is_found() -> None:
    policy = a_policy(horizon="10m")
    state = begin(policy)
    for k in range(1220):
        found = verdict(policy, state, ends=False).decision is Decision.ROLLBACK
        assert not (found and k <= 1200)
        state = update(policy, state, errors(15.0 * k, *(((100, 1), (300, 3)) if k < 1200 else ((200, 10), (200, 2)))))
    assert verdict(policy, state).decision is Decision.ROLLBACK
