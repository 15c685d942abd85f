"""Compare every byte of our checkpoints with those of mergekit.

    python tools/compare_mergekit.py --gigabytes 2 --lambdas 3/10,1/2,9/10

Makes a random bfloat16 pair and builds our grid of the given λ. For each λ = p/q, runs mergekit's `linear`
merge with the integer weights q-p and p through its own command line, and compares the bytes of every tensor.
The exit code is 1 if any byte differs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from mergekit_command import mergekit_command
from random_pair import write_pair

from dami_merge.checkpoint.folder import open_folder
from dami_merge.lambdas import folder_name, label, parse_lambdas


def differing(ours: Path, theirs: Path) -> tuple[int, int, list[str]]:
    """Compare two checkpoints tensor by tensor.

    Returns:
        Bytes compared, bytes that differ, names of the tensors that differ.
    """
    left = open_folder(ours, spec="ours")
    right = open_folder(theirs, spec="mergekit")
    right_tensors = right.tensors()
    if left.tensors().keys() != right_tensors.keys():
        sys.exit(f"different tensors: {sorted(left.tensors().keys() ^ right_tensors.keys())[:5]}")
    compared, wrong, names = 0, 0, []
    for name, (file, info) in left.tensors().items():
        their_file, their_info = right_tensors[name]
        mine = read_range(ours / file, info.start, info.size_bytes)
        yours = read_range(theirs / their_file, their_info.start, their_info.size_bytes)
        compared += len(mine)
        if mine != yours:
            names.append(name)
            wrong += sum(x != y for x, y in zip(mine, yours, strict=True))
    return compared, wrong, names


def read_range(path: Path, start: int, size: int) -> bytes:
    """Some bytes of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


@click.command(help=__doc__)
@click.option("--gigabytes", default=2.0, show_default=True, help="Size of one side of the pair.")
@click.option("--lambdas", default="3/10,1/2,9/10", show_default=True, help="λ to compare.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder to work in.  [default: a temporary folder]"
)
def main(*, gigabytes: float, lambdas: str, folder: Path | None) -> None:
    grid = parse_lambdas(lambdas)
    bad = 0
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        pair = write_pair(work / "pair", gigabytes=gigabytes, shards=2)
        command = [sys.executable, "-m", "dami_merge", "grid", *map(str, pair), "-o", str(work / "grid")]
        began = time.monotonic()
        subprocess.run([*command, "--lambdas", lambdas], check=True)
        click.echo(f"dami-merge: {time.monotonic() - began:.1f} s for {len(grid)} λ")
        for lam in grid:
            theirs = work / f"mergekit-{label(lam)}"
            began = time.monotonic()
            subprocess.run(mergekit_command(pair, lam, theirs), check=True)
            seconds = time.monotonic() - began
            compared, wrong, names = differing(work / "grid" / folder_name(lam), theirs)
            bad += wrong
            click.echo(
                f"λ = {label(lam)}: {compared:,} bytes compared, {wrong:,} differ"
                f" {names[:3] if names else ''} (mergekit took {seconds:.1f} s)"
            )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
