"""Events: told once, counted after that, never a flood."""

import logging

import pytest

from tests.unit.kube.fakes import Clock, FakeClient, a_toy
from upright.api.names import EVENTS
from upright.contract import Event
from upright.kube.errors import UnreachableError
from upright.kube.events import BURST, Recorder

STARTED = Event("Normal", "Started", "Start", "Run 7 has started.")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(client: FakeClient, clock: Clock) -> Recorder:
    return Recorder(client, "operator-1", clock.monotonic, clock.now)  # type: ignore[arg-type]


def told(client: FakeClient) -> list[tuple[str, int]]:
    """Each Event that there is: its note and how often it happened."""
    events = [stored for (of, _), stored in client.objects.items() if of == EVENTS]
    return [(event["note"], event.get("series", {}).get("count", 1)) for event in events]


async def test_an_event_says_what_happened_to_which_object(recorder: Recorder, client: FakeClient) -> None:
    await recorder.record(a_toy(), STARTED)
    (event,) = client.objects.values()
    assert event["regarding"]["name"] == "bear"
    assert event["regarding"]["uid"] == "uid-bear"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Started", "Start")
    assert event["eventTime"] == "2026-11-22T12:00:00.000000Z"
    assert event["metadata"]["namespace"] == "shop"


async def test_a_repetition_is_counted_and_not_told_again(recorder: Recorder, client: FakeClient, clock: Clock) -> None:
    for _ in range(100):
        await recorder.record(a_toy(), STARTED)
    assert told(client) == [(STARTED.message, 2)]
    assert len(client.writes) == 2
    clock.forward(61)
    await recorder.record(a_toy(), STARTED)
    assert told(client) == [(STARTED.message, 101)]
    assert len(client.writes) == 3


async def test_texts_that_differ_in_figures_only_are_one_series(recorder: Recorder, client: FakeClient) -> None:
    await recorder.record(a_toy(), Event("Warning", "Slow", "Watch", "1.5 times slower after 20 looks."))
    await recorder.record(a_toy(), Event("Warning", "Slow", "Watch", "1.7 times slower after 21 looks."))
    assert told(client) == [("1.5 times slower after 20 looks.", 2)], "the API server takes no other note"


async def test_texts_about_other_names_are_events_of_their_own(recorder: Recorder, client: FakeClient) -> None:
    for name in ("churn-3", "churn-4", "churn-4b", "v1.2-churn"):
        await recorder.record(a_toy(), Event("Warning", "RolledBack", "Rollout", f"{name} is rejected."))
    assert [count for _, count in told(client)] == [1, 1, 1, 1]


async def test_other_reasons_other_texts_and_other_objects_are_events_of_their_own(
    recorder: Recorder, client: FakeClient
) -> None:
    await recorder.record(a_toy(), STARTED)
    await recorder.record(a_toy(), Event("Normal", "Started", "Start", "Another sentence."))
    await recorder.record(a_toy(), Event("Normal", "Other", "Start", STARTED.message))
    await recorder.record(a_toy("doll", uid="uid-doll"), STARTED)
    assert len(told(client)) == 4


async def test_one_object_cannot_flood_the_cluster_with_events(
    recorder: Recorder, client: FakeClient, clock: Clock
) -> None:
    async def record_many() -> None:
        for letter in range(200):
            await recorder.record(a_toy(), Event("Normal", f"Reason{chr(65 + letter)}", "Act", "It happened."))

    await record_many()
    assert len(told(client)) == BURST
    await recorder.record(a_toy("doll", uid="uid-doll"), STARTED)
    assert len(told(client)) == BURST + 1, "another object has its own allowance"
    clock.forward(600)
    await record_many()
    assert BURST + 1 < len(told(client)) <= BURST + 12


async def test_an_event_that_the_cluster_has_dropped_is_told_anew(recorder: Recorder, client: FakeClient) -> None:
    await recorder.record(a_toy(), STARTED)
    client.objects.clear()
    await recorder.record(a_toy(), STARTED)
    assert told(client) == [(STARTED.message, 1)]


async def test_an_event_that_cannot_be_written_is_logged_once_and_harms_nothing(
    recorder: Recorder, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.refusal = UnreachableError("no connection")
    with caplog.at_level(logging.WARNING):
        await recorder.record(a_toy(), STARTED)
        await recorder.record(a_toy(), STARTED)
    assert [record.message for record in caplog.records] == ["events are not written: no connection"]


async def test_a_long_note_is_cut_to_what_the_cluster_takes(recorder: Recorder, client: FakeClient) -> None:
    await recorder.record(a_toy(), Event("Normal", "Long", "Act", "x" * 9000))
    assert len(told(client)[0][0]) == 1024
