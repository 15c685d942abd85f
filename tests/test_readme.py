"""The READMEs show what the commands print, and the set-up commands are the ones that the CI runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dami_merge.evaluation.sweep_recipe import SweepRecipe, read_sweep_recipe
from dami_merge.grid.recipe import read_recipe
from dami_merge.sampling import Sampling

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = sorted((ROOT / "dami_merge").glob("*/README.md"))
ALL = [ROOT / "README.md", ROOT / "dami_merge" / "README.md", ROOT / "tools" / "README.md", *ROOMS]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a file."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown_yaml(path: Path) -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```\n", path.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@pytest.mark.parametrize("readme", [ROOT / "README.md", *ROOMS], ids=name)
def test_every_command_and_program_prints_what_is_shown(readme: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "readme.py"), str(readme)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_readme_that_shows_something_else_is_told_apart_and_can_be_rewritten(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    shown = (
        "```console\n$ dami-merge --version\n{}\n$ pip install .\nkept\n```\n"
        "```python\nprint(6 * 7)\n# → {}\n```\n"
    )
    readme.write_text(shown.format("another", 41), encoding="utf-8")
    command = [sys.executable, str(ROOT / "tools" / "readme.py"), str(readme)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "-# → 41\n" in done.stdout
    subprocess.run([*command, "--write"], check=True)
    version = re.search(r"dami-merge, version \S+", readme.read_text(encoding="utf-8"))
    assert version
    assert readme.read_text(encoding="utf-8") == shown.format(version[0], 42)
    subprocess.run(command, check=True)


def test_a_program_that_crashes_is_no_output_to_show(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("```python\n1 / 0\n```\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "tools" / "readme.py"), str(readme), "--write"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert readme.read_text(encoding="utf-8") == "```python\n1 / 0\n```\n"


def test_the_rooms_that_users_look_up_have_a_readme() -> None:
    assert {path.parent.name for path in ROOMS} == {
        "connectivity", "estimators", "evaluation", "grid", "live", "report", "router",
    }  # fmt: skip


@pytest.mark.parametrize("readme", ALL, ids=name)
def test_every_link_to_a_file_or_a_heading_leads_somewhere(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (readme.parent / file).resolve() if file else readme
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_recipe_of_a_grid_that_is_shown_is_valid_and_states_every_field(tmp_path: Path) -> None:
    text = shown_yaml(ROOT / "dami_merge" / "grid" / "README.md")
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    recipe = read_recipe(tmp_path / "recipe.yaml")
    stated = yaml.safe_load(text)
    assert stated.keys() - {"steps"} == set(recipe.__struct_fields__) - {"lambdas"}
    assert stated["sampling"].keys() == set(Sampling.__struct_encode_fields__)


def test_the_recipe_of_a_sweep_that_is_shown_is_valid_and_states_every_field(tmp_path: Path) -> None:
    text = shown_yaml(ROOT / "dami_merge" / "evaluation" / "README.md")
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    read_sweep_recipe(tmp_path / "recipe.yaml")
    assert yaml.safe_load(text).keys() == set(SweepRecipe.__struct_encode_fields__)


def test_the_readme_shows_commands_and_programs_to_check() -> None:
    assert len(re.findall(r"^\$ dami-merge ", README, re.MULTILINE)) >= 3
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
