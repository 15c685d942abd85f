"""The mergekit peer by its own command line, for comparisons: the recipe of one λ and how to run it."""

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from dami_merge.lambdas import folder_name

_MULTI = "from mergekit.scripts.multimerge import main; main()"
_PROGRAM = "from mergekit.scripts.run_yaml import main; main()"


def mergekit_command(pair: tuple[Path, Path], lam: Fraction, output: Path) -> list[str]:
    """Write the recipe beside the output and return the command that merges it.

    The weights are the integers q-p and p of λ = p/q: with decimal ones the results are not exact.
    """
    recipe = output.with_suffix(".yaml")
    recipe.write_text(_recipe(pair, lam), encoding="utf-8")
    flags = ["--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    return [sys.executable, "-c", _PROGRAM, str(recipe), str(output), *flags]


def mergekit_multi_command(pair: tuple[Path, Path], lambdas: Sequence[Fraction], output: Path) -> list[str]:
    """All λ by one run of its command for many merges, each into a folder below the output."""
    output.mkdir()
    recipe = output.with_suffix(".yaml")
    documents = [f"name: {folder_name(lam)}\n{_recipe(pair, lam)}" for lam in lambdas]
    recipe.write_text("---\n".join(documents), encoding="utf-8")
    flags = ["--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    return [sys.executable, "-c", _MULTI, str(recipe), "--intermediate-dir", str(output), *flags]


def _recipe(pair: tuple[Path, Path], lam: Fraction) -> str:
    instruct, thinking = pair
    return (
        "merge_method: linear\n"
        "dtype: bfloat16\n"
        f"base_model: {instruct}\n"
        "models:\n"
        f"  - model: {instruct}\n    parameters: {{weight: {lam.denominator - lam.numerator}}}\n"
        f"  - model: {thinking}\n    parameters: {{weight: {lam.numerator}}}\n"
    )
