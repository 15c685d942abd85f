"""Kill `dami-merge sweep` with SIGKILL at random moments and resume it: no row may be lost, doubled or torn.

    python tools/kill_sweep.py --kills 20

Sweeps the bundled pair once without interruption. Then fills a second rollouts file with runs that are each
killed at a random moment after their first row. After each kill, every earlier row must still be in the file
exactly once and unchanged, and every row must equal that of the uninterrupted sweep, except for its seconds.
A last run finishes the sweep. The exit code is 1 if any row is wrong.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import read_rollouts

Rows = dict[tuple[str, str, int], Rollout]


def command(folder: Path, name: str, limit: int) -> list[str]:
    """A sweep in batches small enough to be killed between two."""
    options = ["--limit", str(limit), "--samples", "4", "--batch-size", "16", "--device", "cpu"]
    return [
        sys.executable,
        "-m",
        "dami_merge",
        "sweep",
        str(folder / "grid"),
        "-o",
        str(folder / name),
        *options,
    ]


def rows_of(path: Path) -> Rows:
    """Return every row by λ, question and sample, without its seconds; the reader refuses duplicate rows."""
    if not path.exists():
        return {}
    rows = (msgspec.structs.replace(row, seconds=0.0) for row in read_rollouts(path))
    return {(row.fraction, row.question, row.sample): row for row in rows}


def kill_once(folder: Path, limit: int, moment: float) -> bool:
    """Start a run, kill it `moment` seconds after its first row, and return whether it was still at work."""
    path = folder / "killed.jsonl"
    before = path.stat().st_size if path.exists() else 0
    process = subprocess.Popen(
        command(folder, path.name, limit), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and (not path.exists() or path.stat().st_size <= before):
        time.sleep(0.001)
    time.sleep(moment)
    at_work = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return at_work


@click.command(help=__doc__)
@click.option("--kills", default=20, show_default=True, help="Number of kills.")
@click.option("--limit", default=120, show_default=True, help="Number of questions.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random moments.")
def main(*, kills: int, limit: int, seed: int) -> None:
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "dami_merge", "grid", "-o", folder / "grid"],
            check=True,
            capture_output=True,
        )
        began = time.monotonic()
        subprocess.run(command(folder, "whole.jsonl", limit), check=True, capture_output=True)
        whole = rows_of(folder / "whole.jsonl")
        longest = (time.monotonic() - began) / (2 * kills)
        click.echo(f"reference: {len(whole):,} rows")
        held: Rows = {}
        done = bad = torn = 0
        while done < kills:
            if not kill_once(folder, limit, moments.uniform(0, longest)):
                sys.exit("the sweep ended before the kills were used up: give a larger --limit")
            content = (folder / "killed.jsonl").read_bytes()
            torn += not content.endswith(b"\n")
            found = rows_of(folder / "killed.jsonl")
            lost = sum(found.get(key) != row for key, row in held.items())
            other = sum(whole[key] != row for key, row in found.items())
            bad += lost + other
            done += 1
            click.echo(
                f"{done:3d}  {len(found):,} rows, {lost} lost or changed, {other} unlike the reference"
            )
            held = found
        subprocess.run(command(folder, "killed.jsonl", limit), check=True, capture_output=True)
        same = rows_of(folder / "killed.jsonl") == whole
        click.echo(f"{done} kills, {torn} torn ends cut off, {bad} wrong rows; in the end equal: {same}")
    sys.exit(1 if bad or not same else 0)


if __name__ == "__main__":
    main()
