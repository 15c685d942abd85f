"""Commands of a user whom permissions stop; started as `python -m tests.cli.unprivileged`, see `outcomes`.

Reads a JSON list from stdin, one command each: `{"closed": {path: mode}, "arguments": […]}`. The modes are
set before the command and set back after it. Prints a JSON list of `[exit code, stdout, stderr, traceback]`.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from dami_merge.cli.main import commands

_ALMIGHTY = "-dac_override,-dac_read_search"


def outcomes(jobs: Sequence[tuple[Mapping[Path, int], Sequence[object]]]) -> list[tuple[int, str, str]]:
    """Run commands in a process without root's right to open everything; none may end with a traceback."""
    without = (
        ["setpriv", f"--bounding-set={_ALMIGHTY}", f"--inh-caps={_ALMIGHTY}"] if not os.geteuid() else []
    )
    listed = [
        {
            "closed": {str(path): mode for path, mode in closed.items()},
            "arguments": [str(argument) for argument in arguments],
        }
        for closed, arguments in jobs
    ]
    try:
        done = subprocess.run(
            [*without, sys.executable, "-m", "tests.cli.unprivileged"],
            input=json.dumps(listed), capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no setpriv command here")
    if without and "setpriv:" in done.stderr:
        pytest.skip(f"may not drop rights here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [trace for *_, trace in found if trace] == []
    return [(code, stdout, stderr) for code, stdout, stderr, _ in found]


def main() -> None:
    results = []
    for job in json.load(sys.stdin):
        before = {path: Path(path).stat().st_mode for path in job["closed"]}
        for path, mode in job["closed"].items():
            Path(path).chmod(mode)
        result = CliRunner().invoke(commands, job["arguments"])
        for path, mode in reversed(before.items()):
            Path(path).chmod(mode)
        bug = result.exception if not isinstance(result.exception, SystemExit) else None
        trace = "".join(traceback.format_exception(bug)) if bug else ""
        results.append([result.exit_code, result.stdout, result.stderr, trace])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
