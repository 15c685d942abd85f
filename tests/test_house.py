"""Rules that no linter knows: sizes, one meaning for a name, who may know whom, true examples."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import dami_merge

ROOT = Path(dami_merge.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))
NAMES = sorted(module.name for module in pkgutil.walk_packages([str(ROOT)], "dami_merge."))

MOST_LINES_OF_A_MODULE = 300
MOST_LINES_OF_A_FUNCTION = 60


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def public_names(path: Path) -> list[str]:
    """Classes, functions and constants that a module defines, without those that begin with `_`."""
    names: list[str] = []
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return [name for name in names if not name.startswith("_")]


def test_no_module_and_no_function_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {str(p): n for p, n in lengths.items() if n > MOST_LINES_OF_A_MODULE} == {}
    long = [
        (str(path), each.name, each.end_lineno - each.lineno + 1)
        for path in MODULES
        for each in functions(parsed(path))
        if each.end_lineno and each.end_lineno - each.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_a_public_name_has_one_meaning() -> None:
    homes = defaultdict(list)
    for path in MODULES:
        for name in public_names(path):
            homes[name].append(str(path.relative_to(ROOT)))
    assert len(homes) > 300
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


@pytest.mark.parametrize("room", ["evaluation", "live", "connectivity"])
def test_a_room_is_imported_without_the_grid(room: str) -> None:
    names = [name for name in NAMES if name.startswith(f"dami_merge.{room}.")]
    assert len(names) > 1
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('dami_merge.grid')])"
    )
    # the package itself imports the router, which reads grid.json
    stripped = "import sys, types; package = types.ModuleType('dami_merge'); package.__path__ = [{path!r}]; "
    program = stripped.format(path=str(ROOT)) + "sys.modules['dami_merge'] = package\n" + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "names",
    [
        "dami_merge.router.endpoint dami_merge.router.route",
        "dami_merge.grid.planning dami_merge.grid.seal dami_merge.grid.verify",
        "dami_merge.use_cases.sweep dami_merge.use_cases.report dami_merge.use_cases.swept",
        "dami_merge.evaluation.sweep dami_merge.evaluation.rollouts_file",
        "dami_merge.bundled dami_merge.declared dami_merge.dtypes dami_merge.sampling dami_merge.optional",
    ],
)
def test_what_decides_plans_or_reads_is_imported_without_torch_and_without_libraries_of_models(
    names: str,
) -> None:
    program = (
        "import importlib, sys\n"
        f"for name in {names.split()!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'transformers', 'openai', 'huggingface_hub', 'mergekit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _with_examples() -> list[str]:
    """Modules whose source has an example."""
    files = {name: ROOT.parent.joinpath(*name.split(".")) for name in NAMES}
    sources = {name: file.with_suffix(".py") for name, file in files.items() if not file.is_dir()}
    return [name for name, path in sources.items() if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", _with_examples())
def test_the_examples_in_the_docstrings_are_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in an empty folder; an example that needs a grid builds it."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 0


def test_no_example_is_skipped() -> None:
    skipped = [str(path) for path in MODULES if "doctest: +SKIP" in path.read_text(encoding="utf-8")]
    assert skipped == []
