"""`upright export`: an artifact as what another tool serves."""

import argparse
from pathlib import Path

from upright.cli.artifact import artifact_arguments, artifact_in
from upright.cli.exports import FORMS
from upright.cli.problems import Unusable

DESCRIPTION = """Write an artifact of the store as what another tool serves. Every file's digest is checked first.

{forms}

exit status: 0 it is written, 2 it cannot be""".format(
    forms="\n".join(f"{name}: {form.what}" for name, form in FORMS.items())
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    artifact_arguments(parser)
    parser.add_argument("--as", dest="form", choices=FORMS, required=True, help="what to write")
    parser.add_argument("--to", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--version", help="what answers of a Bento call the version; without it, the artifact's folder")


def run(options: argparse.Namespace) -> int:
    """Export. Raises Unusable."""
    folder: Path = options.to
    if folder.exists():
        raise Unusable(f"--to {folder}: expected a folder that does not exist yet")
    artifact = artifact_in(options.artifact, modules=options.allow_modules)
    try:
        next_step = FORMS[options.form].write(artifact, options.version or artifact.name, folder)
    except OSError as problem:
        raise Unusable(f"--to {folder}: {problem.strerror}") from problem
    print(f"Wrote {folder}. {next_step}")
    return 0
