"""The capital that is bet: none is put down twice, and some is left however long a rollout is paused or held."""

import numpy as np
import pytest

from tests.unit.analysis.builders import a_policy, errors
from upright.analysis import Decision, begin, update, verdict
from upright.analysis.onset import bet, log_idle, log_stakes

EFFECTS = 3


@pytest.mark.parametrize("planned", [1, 2, 40])
def test_what_is_put_down_and_what_is_kept_are_all_that_there_is(planned: int) -> None:
    stakes, wealth, nothing = log_stakes(planned, EFFECTS), np.full((1, 1, EFFECTS), -np.inf), np.zeros((1, 1, EFFECTS))
    for used in range(20 * planned):
        kept = np.exp(log_idle(np.array([float(used)]), planned))[0]
        assert np.exp(wealth).sum() + kept == pytest.approx(1)
        assert kept > 0
        for usable in (False, True):
            wealth, before = bet(wealth, nothing, stakes, np.array([float(used)]), planned, np.array([usable])), wealth
            assert (wealth > before).all() == usable


def test_a_version_that_gets_worse_after_a_night_on_hold_is_found() -> None:
    policy = a_policy(horizon="10m")
    state = begin(policy)
    for k in range(1220):
        found = verdict(policy, state, ends=False).decision is Decision.ROLLBACK
        assert not (found and k <= 1200)
        state = update(policy, state, errors(15.0 * k, *(((100, 1), (300, 3)) if k < 1200 else ((200, 10), (200, 2)))))
    assert verdict(policy, state).decision is Decision.ROLLBACK
