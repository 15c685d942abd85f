"""Run the commands of the README and compare their output with what the README shows.

\b
    python tools/readme.py            # prints a diff and exits with 1 if they differ
    python tools/readme.py --write    # writes the actual output into the README

In a ```console block, lines that begin with `$ dami-merge` are run in a folder that all blocks share and that
is empty at the start; the lines below each command are its output. A ```python block is run as a program; its
`# →` lines show what it prints. Setup commands (`$ python3 -m venv`, `$ pip`) are not run here: the CI runs
them.
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

README = Path(__file__).parent.parent / "README.md"
_FENCED = re.compile(r"(```(?:console|python)\n)(.*?)(```\n)", re.DOTALL)
_ARROW = "# →"
_VARYING = (
    (re.compile(r"in \d+\.\d s on \w+(:\d+)?"), "in … s on …"),
    (re.compile(r"[\d.]+ [kMGT]B on the disk"), "… on the disk"),
)
"""What depends on the machine and is not compared."""


def environment() -> dict[str, str]:
    """A plain terminal of 120 columns, with this interpreter's programs first on the path."""
    programs = Path(sys.executable).parent
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"}


def run(command: list[str] | str, folder: Path) -> str:
    """What a command prints on both streams; a command that the README shows may fail only if it says so."""
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
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def console_block(body: str, folder: Path) -> str:
    """The block with the true output under each of its commands."""
    shown = ""
    for command, output in commands(body):
        runs = command.startswith("dami-merge")
        shown += f"$ {command}\n" + (run(command, folder) if runs else output)
    return shown


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that is shown under it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def python_block(body: str, folder: Path) -> str:
    """The program with what it prints in its `# →` lines."""
    program = "".join(line for line in body.splitlines(keepends=True) if not line.startswith(_ARROW))
    output = run([sys.executable, "-c", program], folder)
    return program + "".join(f"{_ARROW} {line}\n" for line in output.splitlines())


def rendered(text: str, folder: Path) -> str:
    """The README with the output of today."""

    def block(match: re.Match[str]) -> str:
        opening, body, closing = match.groups()
        render = console_block if opening.startswith("```console") else python_block
        return opening + render(body, folder) + closing

    return _FENCED.sub(block, text)


def comparable(text: str) -> list[str]:
    """Lines without what depends on the machine."""
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text.splitlines(keepends=True)


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Write the actual output into the README.")
def main(*, write: bool) -> None:
    shown = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        true = rendered(shown, Path(folder))
    if write:
        README.write_text(true, encoding="utf-8")
        return
    difference = list(difflib.unified_diff(comparable(shown), comparable(true), "README.md", "printed today"))
    sys.stdout.writelines(difference)
    sys.exit(1 if difference else 0)


if __name__ == "__main__":
    main()
