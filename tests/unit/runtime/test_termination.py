"""The termination message: the kubelet shares 12 KiB among all containers of a pod and cuts what is longer."""

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upright.api.artifact import (
    Framework,
    Inputs,
    PublishReport,
    Refusal,
    ReportTooLongError,
    Signature,
    Source,
    Tensor,
    read_report,
    termination_message,
)

DIGEST = "sha256:" + "0" * 64


def a_report(features: int = 4, metrics: int = 2, sources: int = 1, name: str = "feature") -> PublishReport:
    return PublishReport(
        uri=f"pvc://models/churn/{DIGEST.replace(':', '-')}",
        digest=DIGEST,
        size_bytes=123_456,
        format="skops",
        framework=Framework(name="scikit-learn", version="1.9.1", python="3.13"),
        code=Source(name="code", uri="configmap://churn-code", digest=DIGEST),
        metrics={f"{name}_metric_{i}": i / 7 for i in range(metrics)},
        data=tuple(Source(name=f"source-{i}", uri=f"pvc://lake/{i}", digest=DIGEST) for i in range(sources)),
        signature=Signature(inputs=tuple(Tensor(name=f"{name}_{i}", type="FP64") for i in range(features)))
        if features
        else None,
    )


def essentials(report: PublishReport) -> tuple[Any, ...]:
    return report.uri, report.digest, report.size_bytes, report.format


def test_a_report_that_fits_is_read_back_as_it_is() -> None:
    report = a_report()

    assert read_report(termination_message(report)) == report


def test_a_report_of_an_earlier_runtime_is_read_too() -> None:
    report = a_report()

    assert read_report(report.model_dump_json(by_alias=True, exclude_none=True)) == report


@given(sources=st.integers(0, 32), limit=st.integers(1, 4096))
def test_what_was_read_is_told_as_far_as_there_is_room(sources: int, limit: int) -> None:
    data = tuple(Source(name=f"source-{i}", uri=f"configmap://rows/{i}", digest=DIGEST) for i in range(sources))
    code = Source(name="code", uri="configmap://churn-code", digest=DIGEST)

    message = termination_message(Inputs(data=data, code=code), limit)

    assert len(message.encode()) <= limit
    if limit >= 200:
        told = Inputs.model_validate_json(message)
        assert told.code == code
        assert told.data == data[: len(told.data)]
        assert told.data == data or len(message) > limit - 200


@given(
    features=st.integers(0, 300),
    metrics=st.integers(0, 64),
    sources=st.integers(0, 20),
    containers=st.integers(1, 30),
    name=st.text(min_size=1, max_size=40).filter(lambda name: name.isprintable()),
)
def test_a_report_always_fits_and_always_makes_a_version(
    features: int, metrics: int, sources: int, containers: int, name: str
) -> None:
    limit = min(4096, 12 * 1024 // containers)
    report = a_report(features, metrics, sources, name)

    message = termination_message(report, limit)

    assert len(message.encode()) <= limit
    read = read_report(message)
    assert essentials(read) == essentials(report)
    for field in {"framework", "code", "metrics", "data", "signature"} - set(read.truncated):
        assert getattr(read, field) == getattr(report, field)


@given(
    features=st.integers(0, 60),
    sources=st.integers(0, 5),
    name=st.sampled_from(["feature", "größe", "特徴", "a\u2028b", "\x85"]),
    data=st.data(),
)
def test_a_report_that_the_kubelet_cut_still_makes_a_version_and_says_what_is_missing(
    features: int, sources: int, name: str, data: st.DataObject
) -> None:
    """A webhook adds containers that nobody has counted."""
    report = a_report(features, 5, sources, name)
    message = termination_message(report).encode()
    share = data.draw(st.integers(410, len(message)))

    read = read_report(message[:share].decode(errors="ignore"))

    assert essentials(read) == essentials(report)
    for field in {"framework", "code", "metrics", "data", "signature"} - set(read.truncated):
        assert getattr(read, field) == getattr(report, field)


def test_what_is_too_long_loses_the_signature_before_the_data_and_the_metrics() -> None:
    read = read_report(termination_message(a_report(features=500, sources=3)))

    assert read.truncated == ("signature",)
    assert read.signature is not None
    assert 0 < len(read.signature.inputs) < 500
    assert (len(read.data), len(read.metrics)) == (3, 2)


def test_of_too_many_containers_none_can_say_what_it_did() -> None:
    with pytest.raises(ReportTooLongError, match="too many containers"):
        termination_message(a_report(), 12 * 1024 // 60)


@given(message=st.text(max_size=6000), containers=st.integers(1, 100))
def test_a_refusal_always_fits(message: str, containers: int) -> None:
    limit = min(4096, 12 * 1024 // containers)

    text = termination_message(Refusal(reason="Unloadable", message=message), limit)

    assert len(text.encode()) <= limit
    read = Refusal.model_validate_json(text)
    assert read.reason == "Unloadable"
    assert read.message == message or message.startswith(read.message.removesuffix("…"))


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "null", "{}{}", '{"uri": 3}', '{"truncated":3,', "{1:2,", "[" * 100_000, "{" * 4096]
)
def test_what_is_no_report_is_a_value_error(message: str) -> None:
    with pytest.raises(ValueError, match="PublishReport"):
        read_report(message)


@pytest.mark.parametrize("outcome", [lambda n: a_report(features=n), lambda n: Refusal(reason="X", message="ä\n" * n)])
def test_twice_the_size_takes_at_most_two_and_a_half_times_as_long(
    outcome: Callable[[int], PublishReport | Refusal],
) -> None:
    def fastest(size: int) -> float:
        made = outcome(size)
        times = []
        for _ in range(7):
            begun = process_time()
            termination_message(made)
            times.append(process_time() - begun)
        return min(times)

    assert fastest(16_000) <= 2.5 * fastest(8_000)


@pytest.mark.parametrize("length", [10, 900, 5000])
def test_a_refusal_keeps_most_of_its_sentence_and_as_many_metrics_as_there_is_room_for(length: int) -> None:
    metrics = {f"metric-{number}": number / 7 for number in range(64)}

    message = termination_message(Refusal(reason="UntrustedTypes", message="é" * length, metrics=metrics))

    told = Refusal.model_validate_json(message)
    assert len(message.encode()) <= 1024
    assert told.metrics.items() <= metrics.items()
    assert len(told.metrics) >= 5
    assert len(told.message) >= min(length, 250)
