"""Kill `dami-merge grid` with SIGKILL at random moments and resume it: the grid must be byte-identical.

    python tools/kill_test.py --kills 50

Makes a random pair and a reference grid. For each kill, starts `dami-merge grid` in a new folder, kills it at
a random moment, runs the same command again, and compares every file except the run's own state with the
reference. The moments are drawn from the working time of an uninterrupted run; every fifth kill instead
waits for a random number of published checkpoints, because publishing is too short to be hit by chance. A
kill after grid.json was written is repeated and not counted. The exit code is 1 if any file differs.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
from random_pair import write_pair

from dami_merge.files import digest_file

STATE = ".dami-merge"
FINISHED = "after grid.json"


def command(pair: tuple[Path, Path], output: Path) -> list[str]:
    """The command under test; small blocks make many steps to be killed in."""
    sides = [str(side) for side in pair]
    return [sys.executable, "-m", "dami_merge", "grid", *sides, "-o", str(output), "--block-size", "256"]


def start(pair: tuple[Path, Path], output: Path) -> "subprocess.Popen[bytes]":
    """Start a run and return when its work begins: imports are no moment worth a kill."""
    process = subprocess.Popen(command(pair, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not (output / STATE).exists() and process.poll() is None:
        time.sleep(0.0005)
    return process


def working_time(pair: tuple[Path, Path], output: Path) -> float:
    """Seconds from the first thing an uninterrupted run does in its folder to its end."""
    process = start(pair, output)
    began = time.monotonic()
    if process.wait():
        sys.exit("the reference run failed")
    return time.monotonic() - began


def published(output: Path) -> int:
    """Checkpoints that have their final names."""
    return sum(not path.name.endswith(".partial") for path in output.glob("lambda-*"))


def await_published(process: "subprocess.Popen[bytes]", output: Path, count: int) -> None:
    """Wait until `count` checkpoints are published or the run has ended."""
    while published(output) < count and process.poll() is None:
        pass


def kill(pair: tuple[Path, Path], output: Path, moments: random.Random, *, duration: float | None) -> float:
    """Start a run and kill it at a random moment; None aims at the publishing of a random checkpoint.

    Returns:
        Seconds that it had worked.
    """
    process = start(pair, output)
    began = time.monotonic()
    if duration is None:
        await_published(process, output, moments.randint(1, 11))
    else:
        time.sleep(moments.uniform(0, duration))
    worked = time.monotonic() - began
    process.send_signal(signal.SIGKILL)
    process.wait()
    return worked


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file of a grid but the run's own state."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != STATE:
            *_, (_, digests[name.as_posix()]) = digest_file(path)
    return digests


def stage(output: Path, shards: int) -> str:
    """Where a killed run was."""
    if (output / "grid.json").exists():
        return FINISHED
    done = len(list((output / STATE / "receipts").glob("*.json")))
    if done == shards:
        return "while publishing" if published(output) else "before publishing"
    return f"{done} of {shards} shards receipted"


@click.command(help=__doc__)
@click.option("--kills", default=50, show_default=True, help="Number of kills.")
@click.option("--gigabytes", default=0.15, show_default=True, help="Size of one side of the pair.")
@click.option("--shards", default=4, show_default=True, help="Weight files of one side of the pair.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random moments.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder to work in.  [default: a temporary folder]"
)
def main(*, kills: int, gigabytes: float, shards: int, seed: int, folder: Path | None) -> None:
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        pair = write_pair(work / "pair", gigabytes=gigabytes, shards=shards)
        duration = min(working_time(pair, work / f"reference-{number}") for number in range(3))
        reference = tree(work / "reference-0")
        click.echo(f"reference: {len(reference)} files, {duration:.2f} s of work")
        stages: Counter[str] = Counter()
        bad = number = 0
        while number < kills:
            output = work / "run"
            aimed = number % 5 == 4
            moment = kill(pair, output, moments, duration=None if aimed else duration)
            where = stage(output, shards)
            if where != FINISHED:
                number += 1
                stages[where] += 1
                resumed = subprocess.run(command(pair, output), capture_output=True, text=True, check=False)
                same = resumed.returncode == 0 and tree(output) == reference
                bad += not same
                verdict = "identical" if same else f"DIFFERENT {resumed.stderr}"
                click.echo(f"{number:3d}  killed after {moment:5.2f} s, {where}: {verdict}")
            shutil.rmtree(output)
        for where, count in sorted(stages.items()):
            click.echo(f"{count:3d} × {where}")
        click.echo(f"{kills - bad} of {kills} byte-identical after kill -9 and resume")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
