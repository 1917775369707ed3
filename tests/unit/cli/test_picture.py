"""The picture of a backtest, as a reader of its file finds it."""

from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
import pytest

from tests.unit.cli.builders import a_csv, a_policy_file, rows_of_errors
from upright.analysis import Decision, MetricVerdict, Policy, Verdict
from upright.cli.main import main
from upright.cli.picture import draw
from upright.cli.replay import Replay

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def a_replay(
    *evidence: list[float], every: timedelta = MINUTE, rolled_back_at: int | None = None, false_rollbacks: float = 0.01
) -> Replay:
    """Metrics errors-0, errors-1, ... with this evidence at each look."""
    names = [f"errors-{place}" for place in range(len(evidence))]
    policy = Policy.model_validate(
        {
            "falseRollbackProbability": false_rollbacks,
            "interval": every,
            "horizon": every * len(evidence[0]),
            "metrics": [{"name": name, "type": "ErrorRate"} for name in names],
        }
    )
    verdicts = tuple(
        Verdict(
            decision=Decision.CONTINUE if rolled_back_at is None else Decision.ROLLBACK,
            metric=names[0],
            evidence=max(values),
            threshold=1 / false_rollbacks,
            ratio=None,
            interval=None,
            looks=1,
            used=1,
            why_unused="",
            message="errors-0 is < stable & fine",
            metrics=tuple(
                MetricVerdict(name, None, None, None, None, 1.0, value, None, 1, {})
                for name, value in zip(names, values, strict=True)
            ),
        )
        for values in zip(*evidence, strict=True)
    )
    times = tuple(every.total_seconds() * look for look in range(len(verdicts)))
    combined = tuple(sum(values) / len(values) for values in zip(*evidence, strict=True))
    return Replay(policy, {}, times, verdicts, combined, rolled_back_at)


def drawn(replayed: Replay) -> Element:
    path = Path("p.svg")
    draw(replayed, path)
    return ElementTree.parse(path).getroot()


def lines(picture: Element) -> list[str]:
    """The style of every line among the axes, of the legend none."""
    groups = picture.findall(".//{*}g[@id='axes_1']/{*}g")
    return [group[0].attrib["style"] for group in groups if group.attrib["id"].startswith("line2d")]


def texts(picture: Element) -> list[str]:
    return [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]


def time_axis(picture: Element) -> list[str]:
    """The names of the ticks, and below them what they are."""
    (axis,) = picture.findall(".//{*}g[@id='matplotlib.axis_1']")
    return texts(axis)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_picture_has_the_line_of_the_metric_the_boundary_and_the_decision() -> None:
    picture = drawn(a_replay([2.0, 50.0, 200.0, 900.0], every=timedelta(seconds=30), rolled_back_at=2))

    metric, boundary, decision = lines(picture)
    assert "#0072b2" in metric
    assert "#b00020" in boundary
    assert "#444444" in decision
    assert {"errors-0", "roll back at 100", "Rollback after 1m30s"} <= set(texts(picture))
    assert "evidence that the canary is worse than the tolerance allows" in texts(picture)
    assert picture.findtext("{*}title") == "errors-0 is < stable & fine"


def test_without_a_decision_none_is_drawn() -> None:
    picture = drawn(a_replay([0.9, 0.8]))

    assert len(lines(picture)) == len(["errors-0", "the boundary"])
    assert not [text for text in texts(picture) if "after" in text]


def test_of_several_metrics_what_decides_is_black_and_thicker() -> None:
    styles = lines(drawn(a_replay([1.0, 2.0], [1.0, 3.0], [1.0, 4.0])))

    black = [style for style in styles if "#000000" in style]
    assert len(styles) == 3 + len(["all together", "the boundary"])
    assert len(black) == 1
    assert "stroke-width: 2.5" in black[0]
    assert not [style for style in styles if style not in black and "stroke-width: 1.5" not in style]


def test_sixteen_metrics_are_told_apart_and_named() -> None:
    picture = drawn(a_replay(*([1.0, 2.0 + place] for place in range(16))))

    assert len(set(lines(picture))) == 16 + len(["all together", "the boundary"])
    assert {f"errors-{place}" for place in range(16)} | {"all together"} <= set(texts(picture))


def test_evidence_that_is_off_the_scale_is_cut_and_named() -> None:
    picture = drawn(a_replay([1.0, 1e300, 1e-300], [1.0, 2e57, 1.0]))

    said = texts(picture)
    assert {"errors-0, up to 10³⁰⁰", "errors-1, up to 10⁵⁷"} <= set(said)
    assert {"0.01", "1", "100", "10⁶"} <= set(said)
    assert not {"10⁷", "10⁸", "10⁻⁴"} & set(said)


@pytest.mark.parametrize("false_rollbacks", [0.5, 1e-6, 1e-100, 1e-305])
def test_every_boundary_has_a_picture(false_rollbacks: float) -> None:
    picture = drawn(a_replay([1.0, 1e300], false_rollbacks=false_rollbacks))

    assert f"roll back at {1 / false_rollbacks:g}" in texts(picture)


@pytest.mark.parametrize(
    ("every", "looks", "ticks"),
    [
        (timedelta(seconds=1), 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "in s"]),
        (timedelta(seconds=15), 8, ["0", "20", "40", "60", "80", "100", "120", "in s"]),
        (timedelta(seconds=15), 120, ["0", "5", "10", "15", "20", "25", "30", "in min"]),
        (MINUTE, 24 * 60, ["0", "3", "6", "9", "12", "15", "18", "21", "24", "in h"]),
        (HOUR, 7 * 24, ["0", "1", "2", "3", "4", "5", "6", "7", "in d"]),
        (DAY, 365, ["0", "50", "100", "150", "200", "250", "300", "350", "in d"]),
    ],
)
def test_the_time_axis_has_few_round_ticks(every: timedelta, looks: int, ticks: list[str]) -> None:
    found = time_axis(drawn(a_replay([1.0] * looks, every=every)))

    assert found[:-1] == ticks[:-1]
    assert found[-1] == f"time since the canary's first traffic, {ticks[-1]}"


@pytest.mark.parametrize("name", ["p.svg", "p.png"])
def test_the_same_evidence_gives_the_same_bytes_whatever_the_users_style_is(name: str) -> None:
    replayed = a_replay([1.0, 200.0], [1.0, 3.0], rolled_back_at=1)

    draw(replayed, Path(name))
    first = Path(name).read_bytes()
    with mpl.rc_context({"axes.facecolor": "black", "svg.fonttype": "path"}):
        draw(replayed, Path(name))
        assert mpl.rcParams["axes.facecolor"] == "black"

    assert Path(name).read_bytes() == first


def test_a_name_that_ends_in_png_gets_a_png(tmp_path: Path) -> None:
    policy, looks = a_policy_file(tmp_path), a_csv(tmp_path, rows_of_errors(0.1))

    main(["backtest", "--policy", str(policy), "--looks", str(looks), "--picture", "evidence.png", "--json"])

    assert Path("evidence.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not Path("backtest.svg").exists()
