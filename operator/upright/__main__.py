"""`python -m upright` runs the operator."""

import signal
import sys

# The first process of a container ignores what it does not expect: a stop while the modules are being read would wait
# until it is killed.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from upright.main import main  # noqa: E402

main()
