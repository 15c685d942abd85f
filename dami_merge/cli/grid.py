"""`dami-merge grid`: build the grid, or show the plan of it."""

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
    type=click.Path(path_type=Path),
    help="YAML file with models, λ and options; flags override it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("grid"),
    show_default=True,
    help="Folder of the grid.",
)
@click.option(
    "--lambdas",
    metavar="LIST",
    help="λ as exact fractions: 0,1/4,0.5,3/4,1 or 0.37.  [default: 0, 0.1, …, 1]",
)
@click.option("--steps", type=int, metavar="N", help="N+1 evenly spaced λ instead.")
@click.option(
    "--dtype", type=click.Choice(FLOAT_NAMES), help="Float dtype to write.  [default: each tensor's own]"
)
@click.option(
    "--donor",
    type=click.Choice(["instruct", "thinking"]),
    help="Whose tokenizer, templates and config.  [default: instruct at λ = 0, thinking above]",
)
@click.option("--name", help="Prefix of the served model names.  [default: what both models' names share]")
@click.option(
    "--allow-config",
    multiple=True,
    metavar="FIELD",
    help="Field of config or tokenizer that may differ; repeatable.",
)
@click.option("--allow-nonfinite", is_flag=True, help="Interpolate NaN and Inf instead of refusing them.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (all of them), cuda:0,cuda:2 or mps; the bits are the same.",
)
@click.option(
    "--block-size",
    type=click.IntRange(64, 1 << 20),
    default=4096,
    show_default=True,
    metavar="KIB",
    help="Size of one buffer; bounds the memory.",
)
@click.option(
    "--endpoints",
    type=click.Choice(["auto", "link", "write"]),
    default="auto",
    show_default=True,
    help="λ = 0 and 1 where they are a source's file: auto reflinks where the disk can, link hard-links.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done, and any refusal; reads headers only."
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Start over in a folder that holds an earlier run's work.  [default: resume]",
)
@json_option
def grid_command(  # noqa: PLR0913 - click hands over one argument per option
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
    """Build a checkpoint at every λ between two fine-tunes of one base.

    INSTRUCT and THINKING are model folders or Hub ids (org/name, org/name@revision); without them, and
    without a recipe, the bundled tiny pair is taken.

    \b
      dami-merge grid                                        the bundled pair, eleven λ
      dami-merge grid Qwen/Qwen3-4B-Instruct-2507 Qwen/Qwen3-4B-Thinking-2507 -o qwen
      dami-merge grid ./instruct ./thinking --lambdas 0.37   one checkpoint
      dami-merge grid --recipe recipes/qwen3-4b-2507.yaml --dry-run

    A killed run is resumed by the same command and ends byte-identical.
    """  # noqa: D301 - \b is click's mark for text it must not wrap
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
        raise UsageError(f"{len(models)} model(s) given", hint="give INSTRUCT and THINKING, or neither")
    if lambdas is not None and steps is not None:
        raise UsageError("--lambdas and --steps exclude each other")
    if file is not None:
        wanted = read_recipe(file)
        if models:
            wanted = _with(wanted, {"instruct": models[0], "thinking": models[1]})
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
    for note in plan.pair.notes:
        click.echo(f"note: {note}", err=True)
    from dami_merge.grid.build import BuildProgress, build_grid

    try:
        with meter() as show, interruptible() as check:

            def on_progress(progress: BuildProgress) -> None:
                show(progress.done_bytes, progress.total_bytes, progress.shard)
                check()

            built = build_grid(plan, device=device, fresh=fresh, on_progress=on_progress)
    except KeyboardInterrupt:
        click.echo(
            f"finished shards are kept in {plan.output}; the same command goes on from there",
            err=True,
        )
        raise
    if as_json:
        show_json(built_value(built))
    else:
        show_built(built)


def _refusals(plan: "GridPlan", *, fresh: bool) -> list[DamiMergeError]:
    """What a run would stop at before its first byte, found without taking the lock or writing anything."""
    from dami_merge.grid.admission import refuse_folder, require_space

    found: list[DamiMergeError] = []
    checks = (partial(refuse_folder, plan, fresh=fresh), partial(require_space, plan))
    for check in checks:
        try:
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
