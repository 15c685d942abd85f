"""Run the commands of the READMEs and compare their output with what the READMEs show.

\b
    python tools/readme.py                              # prints a diff and exits with 1 if they differ
    python tools/readme.py --write                      # writes the actual output into the READMEs
    python tools/readme.py dami_merge/grid/README.md    # only this file

Without FILES, these are the README of the repository and that of every room of `dami_merge`.

In a ```console block, lines that begin with `$ dami-merge` are run, and the lines below each command are its
output. A ```python block is run as a program, and its `# →` lines are what it prints. All blocks of a file
share a folder that is empty at the start. Commands run the code of this tree, installed or not. Set-up
commands (`$ python3 -m venv`, `$ pip`) and ```bash blocks are not run.
"""  # noqa: D301 - \b tells click not to wrap the next paragraph

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
_FENCED = re.compile(r"(```(?:console|python)\n)(.*?)(```\n)", re.DOTALL)
_ARROW = "# →"
_CRASH = "Traceback (most recent call last)"
_VARYING = (
    (re.compile(r"in \d+\.\d+ s on \w+(:\d+)?(, bounded by \w+ \(\d+% of the time\))?"), "in … s on …"),
    (re.compile(r"[\d.]+ [kMGT]B on the disk"), "… on the disk"),
    (re.compile(r"[\d,]+ tokens/s"), "… tokens/s"),
    (re.compile(r"answers in [\d,.]+ s"), "answers in … s"),
)
"""Depends on the machine and is not compared."""


def documents() -> list[Path]:
    """Return every README whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "dami_merge").glob("*/README.md"))]


def environment() -> dict[str, str]:
    """A plain terminal of 120 columns that finds this interpreter's programs and this tree's code first.

    OpenMP gets one thread: several wait for each other in busy loops, which on shared cores takes far longer.
    """
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    terminal = {"COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, "PATH": programs, "PYTHONPATH": modules, **terminal}


def run(command: list[str] | str, folder: Path) -> str:
    """Return what a command prints on both streams, whatever its exit code; a traceback ends this program."""
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if _CRASH in done.stdout:
        sys.exit(f"{command} failed:\n{done.stdout}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def console_block(body: str, folder: Path) -> str:
    """Return the block with the actual output under each of its commands."""
    shown = ""
    for command, output in commands(body):
        runs = command.startswith("dami-merge")
        shown += f"$ {command}\n" + (run(command, folder) if runs else output)
    return shown


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that is shown under it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def python_block(body: str, folder: Path) -> str:
    """Return the program with what it prints in its `# →` lines."""
    program = "".join(line for line in body.splitlines(keepends=True) if not line.startswith(_ARROW))
    output = run([sys.executable, "-c", program], folder)
    return program + "".join(f"{_ARROW} {line}\n" for line in output.splitlines())


def rendered(text: str, folder: Path) -> str:
    """Return a README with the actual output of its blocks, which run in `folder`."""

    def block(match: re.Match[str]) -> str:
        opening, body, closing = match.groups()
        render = console_block if opening.startswith("```console") else python_block
        return opening + render(body, folder) + closing

    return _FENCED.sub(block, text)


def comparable(text: str) -> list[str]:
    """Return the lines without what depends on the machine."""
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text.splitlines(keepends=True)


def checked(document: Path, *, write: bool) -> list[str]:
    """Run the blocks of one README; return the lines of a diff, none if the output is written or equal."""
    shown = document.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        actual = rendered(shown, Path(folder))
    if write:
        document.write_text(actual, encoding="utf-8")
        return []
    return list(difflib.unified_diff(comparable(shown), comparable(actual), str(document), "printed today"))


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", is_flag=True, help="Write the actual output into the files.")
def main(*, files: tuple[Path, ...], write: bool) -> None:
    differences = [line for document in files or documents() for line in checked(document, write=write)]
    sys.stdout.writelines(differences)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
