"""The `upright` command."""

import argparse
import sys
from collections.abc import Sequence

from upright.cli import backtest, export
from upright.cli.problems import UNUSABLE, Unusable

INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status."""
    parser = argparse.ArgumentParser(prog="upright", description="Tools around the Upright operator.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (backtest, export):
        command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except Unusable as problem:
        print(f"{parser.prog} {options.command}: {problem}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
