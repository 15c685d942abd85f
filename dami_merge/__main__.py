"""`python -m dami_merge` is `dami-merge`. Ctrl-C is handled before the command line is imported."""

import os

from dami_merge.cli.interrupt import INTERRUPTED, arm

SPINS = "3000"
"""Turns for which a thread of torch waits awake for the others; libgomp would take a hundred times that."""


def start() -> None:
    """Run the program."""
    try:
        arm()
        if "OMP_WAIT_POLICY" not in os.environ:  # read once, when torch is imported
            os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
        from dami_merge.cli.main import main

        main()
    except KeyboardInterrupt:  # before a command has begun, or after it has ended
        os.write(2, b"interrupted\n")
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    start()
