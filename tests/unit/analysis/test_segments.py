"""One segment that fails while the whole looks well; and many hypotheses at once."""

import numpy as np
import pytest

from tests.unit.analysis.builders import a_policy, counted, stored
from upright.analysis import Counts, Look
from upright.analysis.discoveries import discoveries, log_e_value
from upright.analysis.segments import begin_segments, segmented_verdict, update_segments


def test_a_segment_that_fails_is_found_and_named_while_the_whole_is_within_tolerance() -> None:
    policy, rng = a_policy(), np.random.default_rng(1)
    state = begin_segments(policy, ["east", "west", "north"])
    for k in range(40):
        parts = {
            "east": Counts(counted(rng, 0.01, 1000), counted(rng, 0.01, 9000)),
            "west": Counts(counted(rng, 0.01, 1000), counted(rng, 0.01, 9000)),
            "north": Counts(counted(rng, 0.2, 10), counted(rng, 0.01, 90)),
        }
        whole = Counts(
            *(tuple(np.sum([getattr(part, arm) for part in parts.values()], axis=0)) for arm in ("canary", "stable"))
        )
        looks = {name: Look(15.0 * k, {"errors": part}) for name, part in parts.items()}
        state = stored(update_segments(policy, state, Look(15.0 * k, {"errors": whole}), looks))

    said = segmented_verdict(policy, state)

    assert said.rollback
    assert said.worst == "north"
    assert said.reported == ("north",)


def test_healthy_segments_are_left_alone() -> None:
    policy, rng = a_policy(), np.random.default_rng(2)
    state = begin_segments(policy, ["east", "west"])
    for k in range(40):
        look = Look(15.0 * k, {"errors": Counts(counted(rng, 0.01, 100), counted(rng, 0.01, 900))})
        state = update_segments(policy, state, look, {"east": look})

    said = segmented_verdict(policy, state)

    assert not said.rollback
    assert said.reported == ()


def test_a_segment_that_was_not_named_is_refused() -> None:
    policy = a_policy()
    with pytest.raises(ValueError, match="'south' was not named"):
        update_segments(policy, begin_segments(policy, ["east"]), Look(0.0, {}), {"south": Look(0.0, {})})


@pytest.mark.parametrize(
    ("e_values", "reported"),
    [
        ([], []),
        ([1.0, 1.0], [False, False]),
        ([100.0, 1.0], [False, False]),  # one of two needs 2 / 0.01
        ([200.0, 1.0], [True, False]),
        ([100.0, 100.0], [True, True]),
        ([1000.0, 90.0, 150.0], [True, False, True]),
    ],
)
def test_discoveries_are_those_of_e_bh(e_values: list[float], reported: list[bool]) -> None:
    assert discoveries(np.log(e_values), 0.01).tolist() == reported


def test_the_e_value_of_a_uniform_p_value_has_mean_one() -> None:
    p = (np.arange(10**6) + 0.5) / 10**6

    assert np.exp(log_e_value(p)).mean() == pytest.approx(1.0, abs=1e-3)
