"""After promotion: a rise is found, and false alarms are as rare as promised."""

import numpy as np
import pytest

from tests.unit.analysis.builders import EDGES, a_metric, a_policy, counted, measured, stored
from upright.analysis import Counts, Histogram, Look
from upright.analysis.watch import alarm, begin_watch, update_watch

BASELINE = Look(0.0, {"errors": Counts((0, 0), (200_000, 2_000))})


def alone(time: float, total: object, bad: object) -> Look:
    return Look(time, {"errors": Counts((total, bad), (0, 0))})  # type: ignore[arg-type]


def test_a_rise_after_an_hour_of_health_is_found_within_minutes() -> None:
    policy, rng = a_policy(), np.random.default_rng(1)
    state = begin_watch(policy, BASELINE, between_false_alarms=30 * 86400)
    for k in range(240):
        state = stored(update_watch(policy, state, alone(15.0 * k, *counted(rng, 0.01, 1500))))
    assert alarm(policy, state) is None
    for k in range(240, 260):
        state = update_watch(policy, state, alone(15.0 * k, *counted(rng, 0.03, 1500)))

    raised = alarm(policy, state)

    assert raised is not None
    assert raised.metric == "errors"
    assert raised.time <= 15.0 * 250
    assert "once in 720 hours or more" in raised.message


def test_false_alarms_are_at_least_as_far_apart_as_promised() -> None:
    policy, rng = a_policy(a_metric(tolerance={"relative": 0.0})), np.random.default_rng(2)
    promised, horizon, alarms = 40, 400, 0
    for _ in range(60):
        state = begin_watch(policy, BASELINE, between_false_alarms=promised * 15.0)
        bound = state["metrics"]["errors"]["bounds"][0]
        for k in range(horizon):
            state = update_watch(policy, state, alone(15.0 * k, *counted(rng, bound, 1500)))
            if alarm(policy, state):
                alarms += 1
                break

    # a mean of at least `promised` looks, were the times exponential, lets at most this share alarm within the horizon
    assert alarms / 60 <= 1 - np.exp(-horizon / promised) + 0.05
    assert alarms / 60 < 1


def test_latency_is_watched_at_every_edge() -> None:
    policy, rng = a_policy(a_metric("Latency", "latency")), np.random.default_rng(3)
    baseline = measured("Latency", rng)
    assert isinstance(baseline, Histogram)
    many = Histogram([0] * 8, [count * 100 for count in np.asarray(baseline.stable).tolist()], EDGES)
    state = begin_watch(policy, Look(0.0, {"latency": many}), between_false_alarms=86400.0)
    for k in range(10):
        slow = Histogram([0, 0, 0, 0, 300, 200, 100, 50], [0] * 8, EDGES)
        state = update_watch(policy, state, Look(15.0 * k, {"latency": slow}))

    assert alarm(policy, state) is not None


@pytest.mark.parametrize("look", [Look(9.0, {}), alone(9.0, 0, 0), alone(9.0, 10, 11), alone(9.0, np.nan, 1)])
def test_what_cannot_be_used_changes_nothing_but_the_time(look: Look) -> None:
    policy = a_policy()
    state = update_watch(policy, begin_watch(policy, BASELINE, 86400.0), alone(0.0, 1500, 20))

    after = update_watch(policy, state, look)

    assert after["metrics"] == state["metrics"]
    assert update_watch(policy, after, alone(9.0, 1500, 1500)) == after
