"""The README shows what the commands print, and its set-up commands are the ones that the CI runs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_program_of_the_readme_prints_what_it_shows() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "readme.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_shows_commands_and_programs_to_check() -> None:
    assert len(re.findall(r"^\$ dami-merge ", README, re.MULTILINE)) >= 4
    assert "```python" in README


def test_the_first_code_comes_within_eighty_words() -> None:
    before, fence, _ = README.partition("```")
    assert fence
    assert len(before.split()) <= 80


def test_the_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    match = re.search(r"^\$ (pip install .*) && (tools/check)$", README, re.MULTILINE)
    assert match, "the README has no test command"
    install, check = match.groups()
    assert re.sub(r"pip install (--quiet )?", "pip install ", script).count(install) == 1
    assert check in script
