"""Whether generated files are what the code would generate: `python -m tests.generated [--write crds|golden]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.golden import cases
from upright.api import crds

FOLDER = Path(__file__).parents[1] / "crds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--write",
        choices=("crds", "golden"),
        help="generate them again; what the golden cases plan is compared by a test",
    )
    match parser.parse_args().write:
        case "crds":
            crds.write(FOLDER)
            return 0
        case "golden":
            cases.write()
            return 0
    with tempfile.TemporaryDirectory() as fresh:
        crds.write(Path(fresh))
        stale = [
            path.name
            for path in sorted({*FOLDER.glob("*.yaml"), *(FOLDER / one.name for one in Path(fresh).iterdir())})
            if not path.exists() or path.read_bytes() != (Path(fresh) / path.name).read_bytes()
        ]
    if stale:
        print(f"crds/ differs from operator/upright/api in {', '.join(stale)}: run `make crds`", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
