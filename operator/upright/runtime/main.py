"""`upright-runtime`: the commands of the containers that Upright runs."""

import argparse
import os
import sys
from typing import NoReturn

from upright.runtime.environment import one_thread_a_call
from upright.runtime.outcome import FailedError, RefusedError, report


def main() -> None:
    """Run one command; everything it needs is in the environment."""
    parser = argparse.ArgumentParser(prog="upright-runtime", description="What Upright runs inside pods.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="check what a training run is about to read")
    commands.add_parser("publish", help="put what a training program wrote into the store of artifacts")
    commands.add_parser("serve", help="serve a model from the store")
    command = parser.parse_args().command
    try:
        _run(command)
    except (RefusedError, FailedError) as error:
        report(error.refusal)
        _end(error.exit_status)


def _run(command: str) -> None:
    one_thread_a_call()
    # Each command imports what it needs: `data` starts in a tenth of a second, the others load scikit-learn.
    if command == "data":
        from upright.runtime.inputs import check_inputs

        report(check_inputs(os.environ))
    elif command == "publish":
        from upright.runtime import crash

        crash.stand_by(crash.report_refusal)
        from upright.runtime.publish import publish

        report(publish(os.environ))
        _end(0)
    else:
        from upright.runtime.serve import serve

        serve(os.environ)


def _end(status: int) -> NoReturn:
    """At once: it is said what came of it, and a library that crashes at its end changes nothing about that."""
    sys.stdout.flush()
    os._exit(status)
