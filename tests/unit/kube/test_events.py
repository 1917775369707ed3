"""Events: told once, counted after that, never a flood."""

import logging
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from tests.unit.kube.fakes import NOON, Clock, FakeClient, a_toy
from upright.api.names import EVENTS
from upright.contract import Event
from upright.kube.errors import UnreachableError
from upright.kube.events import BURST, Recorder
from upright.kube.memory import Memory

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
    return [(event["message"], event["count"]) for event in events]


async def test_an_event_says_what_happened_to_which_object(recorder: Recorder, client: FakeClient) -> None:
    await recorder.record(a_toy(), STARTED)
    (event,) = client.objects.values()
    assert event["involvedObject"]["name"] == "bear"
    assert event["involvedObject"]["uid"] == "uid-bear"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Started", "Start")
    assert event["eventTime"] == "2026-11-22T12:00:00.000000Z"
    assert event["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize("message", ["x" * 1100, "予測" * 400, "ü" * 512, "short"])
async def test_a_note_fits_whatever_its_letters(recorder: Recorder, client: FakeClient, message: str) -> None:
    await recorder.record(a_toy(), Event("Warning", "Failed", "Run", message))
    [(note, _)] = told(client)
    assert len(note.encode()) <= 1024
    assert message.startswith(note.removesuffix("…"))
    assert (note == message) is (len(message.encode()) <= 1024)


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
    assert told(client) == [("1.7 times slower after 21 looks.", 2)], "the newest figures are shown"


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


DECIDED = Event("Warning", "RolledBack", "Rollout", "churn-4 is rejected.", at=NOON)


async def test_an_event_that_says_when_it_was_decided_is_told_once(recorder: Recorder, client: FakeClient) -> None:
    for _ in range(100):
        assert await recorder.record(a_toy(), DECIDED)
    assert told(client) == [(DECIDED.message, 1)]
    assert len(client.writes) == 1
    (event,) = client.objects.values()
    assert event["eventTime"] == "2026-11-22T12:00:00.000000Z"


async def test_what_another_process_has_told_is_not_told_again(client: FakeClient, clock: Clock) -> None:
    def a_recorder() -> Recorder:
        return Recorder(client, "operator", clock.monotonic, clock.now)  # type: ignore[arg-type]

    standby = a_recorder()
    await a_recorder().record(a_toy(), DECIDED)
    clock.forward(60)
    assert await standby.record(a_toy(), DECIDED)
    assert [verb for verb, _, _ in client.writes] == ["create"], "it has looked, and not tried"
    ahead = replace(DECIDED, at=NOON + timedelta(days=1))
    assert await a_recorder().record(a_toy(), ahead)
    assert await standby.record(a_toy(), ahead), "told by a process whose clock is ahead: that it exists is an answer"
    assert len(told(client)) == 2


async def test_dated_events_of_another_object_reason_or_time_are_their_own(
    recorder: Recorder, client: FakeClient
) -> None:
    await recorder.record(a_toy(), DECIDED)
    await recorder.record(a_toy(), replace(DECIDED, at=NOON + timedelta(milliseconds=1)))
    await recorder.record(a_toy(), replace(DECIDED, reason="Promoted"))
    await recorder.record(a_toy(uid="a namesake"), DECIDED)
    assert len(told(client)) == 4
    elsewhere = replace(DECIDED, at=NOON.astimezone(timezone(timedelta(hours=2))))
    await recorder.record(a_toy(), elsewhere)
    assert len(told(client)) == 4, "the same time in another zone"


async def test_a_dated_event_that_could_not_be_told_is_told_later(recorder: Recorder, client: FakeClient) -> None:
    client.refusal = UnreachableError("no connection")
    assert not await recorder.record(a_toy(), DECIDED)
    client.refusal = None
    assert await recorder.record(a_toy(), DECIDED)
    assert told(client) == [(DECIDED.message, 1)]


async def test_what_was_told_longest_ago_is_looked_for_when_it_had_to_be_forgotten(
    recorder: Recorder, client: FakeClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder._told = Memory(3)
    clock.forward(-60)
    events = [replace(DECIDED, at=NOON + timedelta(seconds=number)) for number in range(5)]
    for event in events:
        await recorder.record(a_toy(), event)
    for event in events:
        await recorder.record(a_toy(), event)
    assert len(client.writes) == 5


async def test_an_event_that_cannot_be_written_is_logged_once_and_harms_nothing(
    recorder: Recorder, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is called, and also while those of another namespace are written."""
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            client.refusal = UnreachableError(f"no connection for {number}")
            await recorder.record(a_toy(), STARTED)
            client.refusal = None
            other = a_toy(uid=f"{number}")
            await recorder.record({**other, "metadata": {**other["metadata"], "namespace": "farm"}}, STARTED)
    assert [record.message for record in caplog.records] == ["events are not written: no connection for 0"]


async def test_what_was_told_before_its_time_was_known_is_not_told_again(
    recorder: Recorder, client: FakeClient, clock: Clock
) -> None:
    began = clock.now()
    clock.forward(5)
    await recorder.record(a_toy(), STARTED)
    assert await recorder.record(a_toy(), replace(STARTED, at=began))
    assert len(told(client)) == 1
    clock.forward(60)
    await recorder.record(a_toy(), replace(STARTED, at=clock.now()))
    assert len(told(client)) == 2, "another time is another event"


async def test_what_kubectl_and_argo_cd_sort_and_count_by_is_there(
    recorder: Recorder, client: FakeClient, clock: Clock
) -> None:
    for letter in "edcba":
        await recorder.record(a_toy(), Event("Normal", f"Reason{letter.upper()}", "Act", "It happened."))
        clock.forward(0.1)
    clock.forward(60)
    await recorder.record(a_toy(), Event("Normal", "ReasonE", "Act", "It happened."))
    events = [
        client.objects[EVENTS, key] for key in sorted((key for of, key in client.objects if of == EVENTS), key=str)
    ]
    assert [event["reason"][-1] for event in events] == list("EDCBA"), "names sort by time"
    times = [(event["firstTimestamp"], event["lastTimestamp"], event["count"]) for event in events]
    assert times == [
        ("2026-11-22T12:00:00Z", "2026-11-22T12:01:00Z", 2),
        *[("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z", 1)] * 4,
    ]
