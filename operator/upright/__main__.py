"""`python -m upright` runs the operator."""

from upright.main import main

main()
