"""How long torch's threads wait awake is set by the program, before torch is imported, and by the shell."""

import os
import subprocess
import sys

import pytest

from dami_merge.__main__ import SPINS

PROGRAM = """
import os, sys
from dami_merge.__main__ import start
sys.argv = ["dami-merge", "--version"]
try:
    start()
except SystemExit:
    pass
print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("shell", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")],
    ids=["unset", "own number", "own policy"],
)
def test_the_program_sets_what_the_shell_leaves_open(shell: dict[str, str], spins: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**kept, **shell}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{spins} False"
