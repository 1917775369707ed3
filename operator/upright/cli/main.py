"""The `upright` command."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import NoReturn

from upright.cli.problems import UNUSABLE, Unusable

INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


@dataclass(frozen=True)
class Command:
    """A command is a module that has a DESCRIPTION, `add_arguments(parser)` and `run(options) -> exit status`."""

    module: str
    summary: str
    extra: str
    """Of Upright's packages, the extra that it needs."""
    may_crash: bool = False
    """Whether native code reads what nobody has tried: a damaged file may end its process."""


COMMANDS = {
    "publish": Command(
        "publish", "make an artifact of a model, and the ModelVersion to apply", "runtime", may_crash=True
    ),
    "try": Command("trial", "serve an artifact on this machine, as a pod does", "runtime"),
    "export": Command("export", "write an artifact as what another tool serves", "runtime"),
    "backtest": Command("backtest", "replay a policy on recorded metrics", "cli"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="upright", description="Tools around the Upright operator.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=command.summary) for name, command in COMMANDS.items()}
    name = next((word for word in words if not word.startswith("-")), "")
    try:
        if name in COMMANDS:
            if arguments is None and COMMANDS[name].extra == "runtime":  # the process is the command's own
                _make_ready(name)
            _complete(parsers[name], COMMANDS[name])
        options = parser.parse_args(words)
        status: int = options.run(options)
    except ModuleNotFoundError as problem:
        extra = COMMANDS[name].extra
        how = f"pip install '.[{extra}]' in Upright's checkout"
        print(f"upright {name}: it needs {problem.name}: {how}", file=sys.stderr)
        return UNUSABLE
    except Unusable as problem:
        print(f"upright {name}: {problem}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _make_ready(name: str) -> None:
    """For a model that is loaded, while the process has one thread."""
    from upright.runtime import crash
    from upright.runtime.environment import one_thread_a_call

    one_thread_a_call()
    if COMMANDS[name].may_crash:
        crash.stand_by(partial(_refuse, name))


def _refuse(name: str, _: str, message: str) -> NoReturn:
    print(f"upright {name}: {message}", file=sys.stderr)
    sys.exit(UNUSABLE)


def _complete(parser: argparse.ArgumentParser, command: Command) -> None:
    """Only the module of the command that is asked for is read: what the others need may not be installed."""
    module = import_module(f"upright.cli.{command.module}")
    parser.description, parser.formatter_class = module.DESCRIPTION, argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=module.run)
    module.add_arguments(parser)


if __name__ == "__main__":
    sys.exit(main())
