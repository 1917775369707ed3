"""The command `upright` and its commands."""

import sys

import pytest

from upright.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_takes_and_how_it_ends(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: upright {name} " in said
    assert "exit status: 0 " in said


def test_what_is_no_command_is_answered_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["upload"], ["--", "upload"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in COMMANDS)


def test_a_command_runs_without_what_the_others_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "upright.cli.backtest", raising=False)

    assert main(["try", "nothing"]) == 2
    assert "expected an artifact" in capsys.readouterr().err

    assert main(["backtest", "--help"]) == 2
    assert "upright backtest: it needs rich.console: pip install '.[cli]'" in capsys.readouterr().err
