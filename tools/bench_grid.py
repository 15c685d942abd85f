"""The grid against the machine it runs on, mergekit, and a plain script; interleaved, as ratios of one run.

    python tools/bench_grid.py --gigabytes 2 --rounds 3

Makes a random bfloat16 pair, then in each round times, one after the other and as whole processes:

    raw       direct writes of as many bytes into as many files, two threads: the disk's own limit
    grid      `dami-merge grid`, eleven λ, all guarantees on
    naive     a torch script: load both sides, one float32 expression and one `save_file` for each λ
    mergekit  its own command with integer weights, for `--mergekit-lambdas` λ, scaled to eleven

and prints medians, ratios to `grid`, CPU seconds and peak memory, then one JSON line. `naive` and `mergekit`
are run for few λ, since they repeat the same work for each.
"""

import json
import mmap
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import click
from mergekit_command import mergekit_command

from dami_merge.lambdas import even_grid, folder_name

CHUNK_BYTES = 4 << 20
NAIVE = """
import sys, json, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
instruct, thinking, out, *lambdas = sys.argv[1:]
def load(folder):
    return {k: v for f in sorted(Path(folder).glob("*.safetensors")) for k, v in load_file(f).items()}
a, b = load(instruct), load(thinking)
for lam in map(float, lambdas):
    folder = Path(out) / str(lam)
    folder.mkdir(parents=True)
    merged = {k: ((1 - lam) * a[k].float() + lam * b[k].float()).to(a[k].dtype) for k in a}
    save_file(merged, folder / "model.safetensors")
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int

    def scaled(self, factor: float) -> "Cost":
        """As if the same work had been done so many times."""
        return Cost(self.wall_s * factor, self.cpu_s * factor, self.peak_bytes)


def run(command: Sequence[str]) -> Cost:
    """Run a process to its end and to the end of its writes; its output is not shown."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed with {process.returncode}: {' '.join(command)}")
    os.sync()
    wall = time.monotonic() - began
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def random_pair(folder: Path, gigabytes: float) -> tuple[Path, Path]:
    """Made in another process: a child's peak memory counts what its parent had when it was started."""
    tool = Path(__file__).with_name("random_pair.py")
    subprocess.run(
        [sys.executable, str(tool), str(folder), "--gigabytes", str(gigabytes)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "random-instruct", folder / "random-thinking"


def raw_writes(folder: Path, files: int, size_bytes: int) -> Cost:
    """Direct writes of whole pages into reserved files, two threads: what the disk can take."""
    folder.mkdir()
    paths = [folder / str(number) for number in range(files)]
    block = mmap.mmap(-1, CHUNK_BYTES)
    block.write(os.urandom(CHUNK_BYTES))
    began, cpu = time.monotonic(), time.process_time()
    threads = [threading.Thread(target=_write_all, args=(paths[k::2], size_bytes, block)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.sync()
    return Cost(time.monotonic() - began, time.process_time() - cpu, 0)


def _write_all(paths: Sequence[Path], size_bytes: int, block: mmap.mmap) -> None:
    for path in paths:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_DIRECT", 0), 0o666)
        pages = -(-size_bytes // 4096) * 4096
        os.posix_fallocate(handle, 0, pages)
        for start in range(0, pages, CHUNK_BYTES):
            os.pwrite(handle, memoryview(block)[: min(CHUNK_BYTES, pages - start)], start)
        os.ftruncate(handle, size_bytes)
        os.fsync(handle)
        os.close(handle)


def grid_run(pair: tuple[Path, Path], out: Path) -> Cost:
    """Our command."""
    return run([sys.executable, "-m", "dami_merge", "grid", *map(str, pair), "-o", str(out)])


def naive_run(pair: tuple[Path, Path], out: Path, lambdas: Sequence[Fraction]) -> Cost:
    """The plain script."""
    values = [str(float(lam)) for lam in lambdas]
    return run([sys.executable, "-c", NAIVE, *map(str, pair), str(out), *values])


def mergekit_run(pair: tuple[Path, Path], out: Path, lambdas: Sequence[Fraction]) -> Cost:
    """Its own command, once for each λ."""
    out.mkdir()
    total = Cost(0, 0, 0)
    for lam in lambdas:
        target = out / folder_name(lam)
        cost = run(mergekit_command(pair, lam, target))
        shutil.rmtree(target)
        total = Cost(
            total.wall_s + cost.wall_s, total.cpu_s + cost.cpu_s, max(total.peak_bytes, cost.peak_bytes)
        )
    return total


def median(costs: Sequence[Cost]) -> Cost:
    """Median of each figure."""
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
        int(statistics.median(cost.peak_bytes for cost in costs)),
    )


def commit() -> str:
    """The commit that was measured."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """The processor's name, or the architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@click.command(help=__doc__)
@click.option("--gigabytes", default=2.0, show_default=True, help="Size of one side.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--mergekit-lambdas", default=1, show_default=True, help="λ it really merges; 0 skips it.")
@click.option(
    "--naive-lambdas", default=3, show_default=True, help="λ that the script really writes; 0 skips it."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to work.  [default: a temporary folder]"
)
def main(
    *, gigabytes: float, rounds: int, mergekit_lambdas: int, naive_lambdas: int, folder: Path | None
) -> None:
    grid = even_grid(10)
    inner = grid[1:-1]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        pair = random_pair(work / "pair", gigabytes)
        size_bytes = sum(path.stat().st_size for path in pair[0].glob("*.safetensors"))
        naive_inner, merge_inner = inner[:naive_lambdas], inner[:mergekit_lambdas]
        contestants: dict[str, Callable[[Path], Cost]] = {
            "raw": lambda out: raw_writes(out, len(grid), size_bytes),
            "grid": lambda out: grid_run(pair, out),
        }
        if naive_inner:
            contestants["naive"] = lambda out: naive_run(pair, out, naive_inner).scaled(
                len(grid) / len(naive_inner)
            )
        if merge_inner:
            contestants["mergekit"] = lambda out: mergekit_run(pair, out, merge_inner).scaled(
                len(grid) / len(merge_inner)
            )
        costs: dict[str, list[Cost]] = {contestant: [] for contestant in contestants}
        for number in range(rounds):
            for contestant, measure in contestants.items():
                out = work / "out"
                costs[contestant].append(measure(out))
                shutil.rmtree(out)
                click.echo(f"round {number + 1}: {contestant} {costs[contestant][-1].wall_s:.1f} s", err=True)
    written = size_bytes * len(grid)
    medians = {contestant: median(measured) for contestant, measured in costs.items()}
    ours = medians["grid"]
    headings = f"{'wall s':>8} {'GB/s':>6} {'CPU s':>7} {'peak MB':>8} {'wall / grid':>12} {'CPU / grid':>11}"
    click.echo(f"{'':10} {headings}")
    for contestant, cost in medians.items():
        click.echo(
            f"{contestant:10} {cost.wall_s:8.1f} {written / cost.wall_s / 1e9:6.2f} {cost.cpu_s:7.1f}"
            f" {cost.peak_bytes / 1e6:8.0f} {cost.wall_s / ours.wall_s:12.2f} {cost.cpu_s / ours.cpu_s:11.2f}"
        )
    record = {
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "written_bytes": written,
        "rounds": rounds,
        **{
            contestant: {
                "wall_s": [round(cost.wall_s, 3) for cost in measured],
                "cpu_s": [round(cost.cpu_s, 3) for cost in measured],
                "peak_bytes": max(cost.peak_bytes for cost in measured),
            }
            for contestant, measured in costs.items()
        },
    }
    click.echo(json.dumps(record, sort_keys=True))


if __name__ == "__main__":
    main()
