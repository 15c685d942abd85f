"""`dami-merge grid`: build a grid, or print the plan for it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dami_merge.cli.grid_view import built_value, plan_value, print_plan, show_built
from dami_merge.cli.interrupt import interruptible
from dami_merge.cli.output import json_option, meter, show_json
from dami_merge.dtypes import FLOAT_NAMES
from dami_merge.errors import DamiMergeError, UsageError

if TYPE_CHECKING:
    from dami_merge.grid.plan import EndsMode, GridPlan
    from dami_merge.grid.recipe import Recipe


@click.command(short_help="Build a checkpoint at every λ.")
@click.argument("models", nargs=-1, metavar="[INSTRUCT THINKING]")
@click.option(
    "--recipe",
    type=click.Path(readable=False, path_type=Path),
    help="YAML file with models, λ and options; flags override it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(readable=False, path_type=Path),
    default=Path("grid"),
    show_default=True,
    help="Folder to build the grid in.",
)
@click.option(
    "--lambdas",
    metavar="LIST",
    help="λ to build, read as exact fractions: 0,1/4,0.5,3/4,1 or 0.37.  [default: 0, 0.1, …, 1]",
)
@click.option("--steps", type=int, metavar="N", help="Build N+1 evenly spaced λ instead.")
@click.option(
    "--dtype",
    type=click.Choice(FLOAT_NAMES),
    help="Dtype of the float tensors to write.  [default: the dtype of each source tensor]",
)
@click.option(
    "--donor",
    type=click.Choice(["instruct", "thinking"]),
    help="Side that the tokenizer, chat template and config are copied from."
    "  [default: instruct at λ = 0, thinking above]",
)
@click.option(
    "--name", help="Prefix of the served model names.  [default: what the names of both models share]"
)
@click.option(
    "--allow-config",
    multiple=True,
    metavar="FIELD",
    help="Allow this field of the config or tokenizer to differ between the models; repeatable.",
)
@click.option("--allow-nonfinite", is_flag=True, help="Interpolate NaN and Inf instead of refusing them.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (all GPUs), cuda:0,cuda:2 or mps; the result is bit-identical on all of them.",
)
@click.option(
    "--block-size",
    type=click.IntRange(64, 1 << 20),
    default=4096,
    show_default=True,
    metavar="KIB",
    help="Size of one buffer in KiB; bounds the memory used.",
)
@click.option(
    "--endpoints",
    type=click.Choice(["auto", "link", "write"]),
    default="auto",
    show_default=True,
    help="How to create the files of λ = 0 and 1 that equal a source file: auto tries a reflink, link a hard"
    " link, and both fall back to write.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the plan, and any reason to refuse it; reads headers only."
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Delete what an earlier run left in the folder and start over.  [default: resume]",
)
@json_option
def grid_command(  # noqa: PLR0913 - click passes one argument per option
    *,
    models: tuple[str, ...],
    recipe: Path | None,
    output: Path,
    lambdas: str | None,
    steps: int | None,
    dtype: str | None,
    donor: str | None,
    name: str | None,
    allow_config: tuple[str, ...],
    allow_nonfinite: bool,
    device: str,
    block_size: int,
    endpoints: "EndsMode",
    dry_run: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    """Build a checkpoint at every λ between two fine-tunes of one base model.

    INSTRUCT and THINKING are model folders or Hub ids (org/name, org/name@revision). Without them, and
    without a recipe, the bundled tiny pair is used.

    \b
      dami-merge grid                                        the bundled pair, eleven λ
      dami-merge grid Qwen/Qwen3-4B-Instruct-2507 Qwen/Qwen3-4B-Thinking-2507 -o qwen
      dami-merge grid ./instruct ./thinking --lambdas 0.37   one checkpoint
      dami-merge grid --recipe recipes/qwen3-4b-2507.yaml --dry-run

    To resume a killed run, run the same command again: the result is byte-identical.
    """  # noqa: D301 - \b tells click not to wrap the next paragraph
    from dami_merge.grid.planning import plan_grid

    wanted = _recipe(models, recipe, lambdas, steps)
    overrides: dict[str, Any] = {
        "dtype": dtype,
        "donor": donor,
        "name": name,
        "allow_config": tuple(sorted({*wanted.allow_config, *allow_config})) or None,
        "allow_nonfinite": allow_nonfinite or None,
    }
    wanted = _with(wanted, overrides)
    plan = plan_grid(wanted, output, block_bytes=block_size << 10, endpoints=endpoints)
    if dry_run:
        _show_plan(plan, fresh=fresh, as_json=as_json)
        return
    _build(plan, device=device, fresh=fresh, as_json=as_json)


def _recipe(models: tuple[str, ...], file: Path | None, lambdas: str | None, steps: int | None) -> "Recipe":
    from dami_merge.grid.recipe import Recipe, bundled_recipe, read_recipe
    from dami_merge.lambdas import even_grid, parse_lambdas

    if len(models) not in {0, 2}:
        raise UsageError(
            f"expected two models or none, got {len(models)}", hint="give INSTRUCT and THINKING, or neither"
        )
    if lambdas is not None and steps is not None:
        raise UsageError("--lambdas and --steps cannot be used together")
    if file is not None:
        wanted = read_recipe(file, models=(models[0], models[1]) if models else None)
    elif models:
        wanted = Recipe(instruct=models[0], thinking=models[1])
    else:
        wanted = bundled_recipe()
    if lambdas is not None:
        wanted = _with(wanted, {"lambdas": parse_lambdas(lambdas)})
    if steps is not None:
        wanted = _with(wanted, {"lambdas": even_grid(steps)})
    return wanted


def _with(recipe: "Recipe", overrides: dict[str, Any]) -> "Recipe":
    import msgspec

    given = {key: value for key, value in overrides.items() if value is not None}
    return msgspec.structs.replace(recipe, **given)


def _build(plan: "GridPlan", *, device: str, fresh: bool, as_json: bool) -> None:
    for note in (*plan.pair.notes, *_rounding_notes(plan)):
        click.echo(f"note: {note}", err=True)
    from dami_merge.grid.admission import has_work
    from dami_merge.grid.build import BuildProgress, build_grid

    try:
        with meter() as show, interruptible() as check:

            def on_progress(progress: BuildProgress) -> None:
                show(progress.done_bytes, progress.total_bytes, progress.shard)
                check()

            built = build_grid(plan, device=device, fresh=fresh, on_progress=on_progress)
    except KeyboardInterrupt:
        kept = f"finished shards are kept in {plan.output}; run the same command again to resume"
        click.echo(kept if has_work(plan.output) else "no shard was finished: nothing is left", err=True)
        raise
    if as_json:
        show_json(built_value(built))
    else:
        show_built(built)


def _rounding_notes(plan: "GridPlan") -> tuple[str, ...]:
    """Say what rounding to the written dtype drowns of the difference, from a small sample of the weights."""
    from dami_merge.connectivity.rounding import examine_rounding
    from dami_merge.connectivity.rounding_advice import grid_note

    pair = plan.pair
    note = grid_note(
        examine_rounding(pair.instruct, pair.thinking, lambdas=plan.lambdas, dtype=plan.recipe.dtype)
    )
    return (note,) if note else ()


def _refusals(plan: "GridPlan", *, fresh: bool) -> list[DamiMergeError]:
    """Return the errors that would stop a run before its first byte, without taking the lock or writing."""
    from dami_merge.files import writing_is_clear
    from dami_merge.grid.admission import refuse_folder, require_space

    found: list[DamiMergeError] = []
    checks = (partial(refuse_folder, plan, fresh=fresh), partial(require_space, plan))
    for check in checks:
        try:
            with writing_is_clear(plan.output):
                check()
        except DamiMergeError as error:
            found.append(error)
    return found


def _show_plan(plan: "GridPlan", *, fresh: bool, as_json: bool) -> None:
    refusals = _refusals(plan, fresh=fresh)
    if as_json:
        show_json(plan_value(plan, refusals))
    else:
        print_plan(plan)
        for error in refusals:
            hint = f" ({error.hint})" if error.hint else ""
            click.echo(f"refused: {error}{hint}", err=True)
    if refusals:
        click.get_current_context().exit(refusals[0].exit_code)
