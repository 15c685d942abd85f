"""Compare the grid and the check with the limits of the machine, mergekit and a plain script.

    python tools/bench_grid.py --gigabytes 2 --rounds 3

Makes a random bfloat16 pair. In each round, times the following, one after another and as whole processes:

\b
    raw       direct writes of the same number of bytes and files: the limit of the disk
    grid      `dami-merge grid` with all of its guarantees
    check     `dami-merge check-lmc`
    naive     a torch script: load both sides, then one float32 expression and one `save_file` per λ
    mergekit  mergekit's own command with integer weights, for `--mergekit-lambdas` λ
    multi     mergekit's command for many merges in one process, for `--multi-lambdas` λ

Prints medians, ratios to `grid`, CPU seconds, peak memory, the limits of the machine, and one JSON line.
`naive`, `mergekit` and `multi` run for few λ, because they repeat the same work for each λ; their times are
scaled to the number of λ of the grid. `--readme` writes the table into tools/README.md.
"""  # noqa: D301 - \b tells click not to wrap the next paragraph

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path

import click
from ceilings import commit, copy_gb_s, cuda, processor, read_s, write_s
from mergekit_command import mergekit_command, mergekit_multi_command
from readme_section import put_section

from dami_merge.lambdas import even_grid, folder_name

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
MEANING = {
    "raw": "direct writes of the same bytes",
    "grid": "`dami-merge grid`",
    "check": "`dami-merge check-lmc`",
    "naive": "a plain torch script",
    "mergekit": "mergekit, one run a λ",
    "multi": "mergekit-multi",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took, and what it says of itself."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    said: str = ""

    def scaled(self, factor: float) -> "Cost":
        """Return the cost of doing the same work `factor` times."""
        return Cost(self.wall_s * factor, self.cpu_s * factor, self.peak_bytes)


def run(command: Sequence[str]) -> Cost:
    """Run a process to its end and to the end of its writes."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        os.sync()
        wall = time.monotonic() - began
        said.seek(0)
        text = said.read().decode()
    if process.returncode:
        sys.exit(f"failed with {process.returncode}: {' '.join(command)}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def random_pair(folder: Path, gigabytes: float, layout: str) -> tuple[Path, Path]:
    """Made in another process: a child's peak memory counts what its parent had when it was started."""
    tool = Path(__file__).with_name("random_pair.py")
    subprocess.run(
        [sys.executable, str(tool), str(folder), "--gigabytes", str(gigabytes), "--layout", layout],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "random-instruct", folder / "random-thinking"


def contestants(
    pair: tuple[Path, Path],
    lambdas: Sequence[Fraction],
    *,
    naive: int,
    mergekit: int,
    multi: int,
    device: str,
) -> dict[str, Callable[[Path], Cost]]:
    """Return what is timed, by name; each is called with a folder that does not exist yet."""
    size_bytes = sum(path.stat().st_size for path in pair[0].glob("*.safetensors"))
    ours = [sys.executable, "-m", "dami_merge"]
    named = ",".join(f"{lam.numerator}/{lam.denominator}" for lam in lambdas)
    inner = lambdas[1:-1]

    def raw(out: Path) -> Cost:
        return Cost(write_s(out, files=len(lambdas), size_bytes=size_bytes), 0, 0)

    def grid(out: Path) -> Cost:
        where = ["-o", str(out), "--lambdas", named, "--device", device, "--json"]
        return run([*ours, "grid", *map(str, pair), *where])

    def check(out: Path) -> Cost:
        out.mkdir()
        return run([*ours, "check-lmc", *map(str, pair)])

    def naive_script(out: Path) -> Cost:
        values = [str(float(lam)) for lam in inner[:naive]]
        return run([sys.executable, "-c", NAIVE, *map(str, pair), str(out), *values]).scaled(
            len(lambdas) / naive
        )

    def merge(out: Path) -> Cost:
        out.mkdir()
        costs = [run(mergekit_command(pair, lam, out / folder_name(lam))) for lam in inner[:mergekit]]
        total = Cost(
            sum(c.wall_s for c in costs), sum(c.cpu_s for c in costs), max(c.peak_bytes for c in costs)
        )
        return total.scaled(len(lambdas) / mergekit)

    def merge_many(out: Path) -> Cost:
        return run(mergekit_multi_command(pair, inner[:multi], out)).scaled(len(lambdas) / multi)

    found: dict[str, Callable[[Path], Cost]] = {"raw": raw, "grid": grid, "check": check}
    found |= {"naive": naive_script} if naive else {}
    found |= {"mergekit": merge} if mergekit else {}
    return found | ({"multi": merge_many} if multi else {})


def median(costs: Sequence[Cost]) -> Cost:
    """Median of each figure."""
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
        int(statistics.median(cost.peak_bytes for cost in costs)),
        costs[-1].said,
    )


def table(medians: dict[str, Cost], written: int) -> list[str]:
    """A Markdown table."""
    ours = medians["grid"]
    lines = [
        "| what | wall s | GB/s written | CPU s | peak MB | wall / grid | CPU / grid |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in medians.items():
        rate = "" if name == "check" else f"{written / cost.wall_s / 1e9:.1f}"
        cpu = f"{cost.cpu_s:.1f} | {cost.peak_bytes / 1e6:,.0f}" if cost.peak_bytes else " | "
        ratio = f"{cost.cpu_s / ours.cpu_s:.1f}" if cost.peak_bytes else ""
        lines.append(
            f"| {MEANING[name]} | {cost.wall_s:.1f} | {rate} | {cpu}"
            f" | {cost.wall_s / ours.wall_s:.2f} | {ratio} |"
        )
    return lines


def ceilings(pair: tuple[Path, Path]) -> dict[str, float | str]:
    """GB/s of this machine, apart from its disk."""
    paths = [path for side in pair for path in sorted(side.glob("*.safetensors"))]
    size_bytes = sum(path.stat().st_size for path in paths)
    read_s(paths, threads=1)
    return {
        "warm_read_1_gb_s": size_bytes / min(read_s(paths, threads=1) for _ in range(3)) / 1e9,
        "warm_read_2_gb_s": size_bytes / min(read_s(paths, threads=2) for _ in range(3)) / 1e9,
        "copy_gb_s": copy_gb_s(),
        **cuda(),
    }


@click.command(help=__doc__)
@click.option("--gigabytes", default=2.0, show_default=True, help="Size of one side.")
@click.option(
    "--layout",
    type=click.Choice(["qwen3", "small", "large"]),
    default="qwen3",
    show_default=True,
    help="Layout of the pair; see tools/random_pair.py.",
)
@click.option("--steps", default=10, show_default=True, help="Build N+1 λ.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds.")
@click.option("--device", default="auto", show_default=True, help="Device for the grid.")
@click.option("--mergekit-lambdas", default=1, show_default=True, help="λ that mergekit merges; 0 skips it.")
@click.option(
    "--multi-lambdas", default=2, show_default=True, help="λ that mergekit-multi merges; 0 skips it."
)
@click.option("--naive-lambdas", default=2, show_default=True, help="λ that the script writes; 0 skips it.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder to work in.  [default: a temporary folder]"
)
@click.option("--readme", is_flag=True, help="Write the table into tools/README.md.")
def main(
    *,
    gigabytes: float,
    layout: str,
    steps: int,
    rounds: int,
    device: str,
    mergekit_lambdas: int,
    multi_lambdas: int,
    naive_lambdas: int,
    folder: Path | None,
    readme: bool,
) -> None:
    lambdas = even_grid(steps)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        pair = random_pair(work / "pair", gigabytes, layout)
        size_bytes = sum(path.stat().st_size for path in pair[0].glob("*.safetensors"))
        all_of_them = contestants(
            pair,
            lambdas,
            naive=naive_lambdas,
            mergekit=mergekit_lambdas,
            multi=multi_lambdas,
            device=device,
        )
        costs: dict[str, list[Cost]] = {contestant: [] for contestant in all_of_them}
        for number in range(rounds):
            for contestant, measure in all_of_them.items():
                out = work / "out"
                costs[contestant].append(measure(out))
                shutil.rmtree(out)
                click.echo(f"round {number + 1}: {contestant} {costs[contestant][-1].wall_s:.1f} s", err=True)
        limits = ceilings(pair)
    medians = {contestant: median(measured) for contestant, measured in costs.items()}
    built = json.loads(medians["grid"].said)
    today = datetime.now(tz=timezone.utc).date().isoformat()
    limit_text = ", ".join(
        f"{key.removesuffix('_gb_s').replace('_', ' ')} {value:.1f} GB/s"
        if isinstance(value, float)
        else value
        for key, value in limits.items()
    )
    lines = [
        f"{len(lambdas)} λ of a random {size_bytes / 1e9:.1f} GB bfloat16 pair, whole processes, medians of"
        f" {rounds} interleaved rounds, on {processor()} ({', '.join(built['devices'])},"
        f" {built['kernel']} kernel), {today}, commit `{commit()}`. mergekit and the script merged"
        f" {mergekit_lambdas}, {multi_lambdas} and {naive_lambdas} λ, scaled. Inputs in the page cache; also"
        f" measured: {limit_text}.",
        "",
        *table(medians, size_bytes * len(lambdas)),
        "",
        "Of the grid's time, waiting for "
        + ", ".join(f"{key.removesuffix('_s')} {value:.1f} s" for key, value in built["waits"].items())
        + f"; the rest of its {built['wall_s']:.1f} s is publishing."
        " Before that comes starting Python and torch.",
    ]
    click.echo("\n".join(lines))
    if readme:
        put_section("bench_grid", lines)
    record = {
        "commit": commit(),
        "processor": processor(),
        "date": today,
        "lambdas": len(lambdas),
        "written_bytes": size_bytes * len(lambdas),
        "layout": layout,
        "rounds": rounds,
        "ceilings": limits,
        "waits": built["waits"],
        "grid_to_raw": medians["grid"].wall_s / medians["raw"].wall_s,
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
