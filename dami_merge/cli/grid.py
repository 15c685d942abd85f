"""`dami-merge grid`: build the grid, or show the plan of it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dami_merge.cli.output import console, json_option, meter, show_json
from dami_merge.errors import DamiMergeError, UsageError

if TYPE_CHECKING:
    from dami_merge.grid.build import Built
    from dami_merge.grid.plan import GridPlan
    from dami_merge.grid.recipe import Recipe

DTYPES = ("bfloat16", "float16", "float32", "float64")


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
    "--dtype", type=click.Choice(DTYPES), help="Float dtype to write.  [default: each tensor's own]"
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
    help="auto, cpu, cuda, cuda:1 or mps; the bits are the same.",
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
    "--dry-run", is_flag=True, help="Print what would be done, and any refusal; reads headers only."
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Start over in a folder that holds an earlier run's work.  [default: resume]",
)
@json_option
def grid(  # noqa: PLR0913 - click hands over one argument per option
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
    from dami_merge.checkpoint.pair import join
    from dami_merge.checkpoint.source import open_both
    from dami_merge.grid.plan import make_plan

    wanted = _recipe(models, recipe, lambdas, steps)
    overrides: dict[str, Any] = {
        "dtype": dtype,
        "donor": donor,
        "name": name,
        "allow_config": tuple(sorted({*wanted.allow_config, *allow_config})) or None,
        "allow_nonfinite": allow_nonfinite or None,
    }
    wanted = _with(wanted, overrides)
    pair = join(
        *open_both(wanted.instruct, wanted.thinking),
        allow=wanted.allow_config,
        mixed_dtypes=wanted.dtype is not None,
    )
    plan = make_plan(wanted, pair, output, block_bytes=block_size << 10)
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
    from dami_merge.grid.build import Progress, build_grid

    try:
        with meter(plan.checkpoint_bytes * len(plan.lambdas)) as show:

            def on_progress(progress: Progress) -> None:
                show(progress.done_bytes, progress.shard)

            built = build_grid(plan, device=device, fresh=fresh, on_progress=on_progress)
    except KeyboardInterrupt:
        click.echo(
            f"finished shards are kept in {plan.output}; the same command goes on from there",
            err=True,
        )
        raise
    if as_json:
        show_json(_built_value(built))
    else:
        _show_built(built)


def _built_value(built: "Built") -> dict[str, object]:
    return {
        "path": str(built.path),
        "device": built.device,
        "shards_made": list(built.made),
        "written_bytes": built.written_bytes,
        "wall_s": round(built.wall_s, 3),
        "checkpoints": [
            {"lambda": m.fraction, "path": str(built.path / m.path), "model": m.served_model_name}
            for m in built.grid.checkpoints
        ],
    }


def _show_built(built: "Built") -> None:
    from rich.table import Table

    from dami_merge.files import size_text

    members = built.grid.checkpoints
    table = Table(box=None, pad_edge=False)
    for heading in ("λ", "folder", "served model name", "donor"):
        table.add_column(heading, no_wrap=True)
    for member in members:
        table.add_row(
            member.name.removeprefix("lambda-"),
            str(built.path / member.path),
            member.served_model_name,
            member.donor,
        )
    out = console()
    out.print(table)
    if built.made:
        out.print(
            f"{len(members)} checkpoints, {size_text(built.written_bytes)} of weights written"
            f" in {built.wall_s:.1f} s on {built.device}"
        )
    else:
        out.print("already whole: nothing was written")
    out.print(f"check every byte with: dami-merge verify {built.path}", markup=False)


def _refusals(plan: "GridPlan", *, fresh: bool) -> list[DamiMergeError]:
    """What a run would stop at before its first byte, found without taking the lock or writing anything."""
    from dami_merge.grid.output import refuse_folder, require_space

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
        show_json(_plan_value(plan, refusals))
    else:
        _print_plan(plan)
        for error in refusals:
            hint = f" ({error.hint})" if error.hint else ""
            click.echo(f"refused: {error}{hint}", err=True)
    if refusals:
        click.get_current_context().exit(refusals[0].exit_code)


def _print_plan(plan: "GridPlan") -> None:
    from rich.table import Table

    from dami_merge.files import free_bytes, size_text
    from dami_merge.lambdas import folder_name, label

    pair, count = plan.pair, len(plan.lambdas)
    names = [folder_name(lam) for lam in plan.lambdas]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, side in (("instruct", pair.instruct), ("thinking", pair.thinking)):
        revision = f" at {side.revision[:12]}" if side.revision else ""
        where = ", on the Hub" if side.remote else ""
        table.add_row(
            title,
            f"{side.spec}{revision}: {size_text(side.size_bytes)} in {len(side.files)} file(s){where}",
        )
    table.add_row("λ", ", ".join(label(lam) for lam in plan.lambdas))
    folders = names[0] if count == 1 else f"{names[0]} … {names[-1]}"
    table.add_row(
        "write",
        f"{plan.output}/{folders}: {count} × {size_text(plan.checkpoint_bytes)} in"
        f" {len(plan.shards)} shard(s) each, {size_text(plan.write_bytes)} in all",
    )
    if plan.download_bytes:
        table.add_row("download", f"{size_text(plan.download_bytes)} into the Hub's cache")
    table.add_row("read", f"{size_text(plan.read_bytes)}, once for all λ")
    table.add_row("free", f"{size_text(free_bytes(plan.output))} on the disk of {plan.output}")
    table.add_row(
        "memory",
        f"at most {size_text(plan.memory_bytes)} above torch, whatever the size of the models"
        f" (blocks of {size_text(plan.block_bytes)})",
    )
    donors = {plan.recipe.donor_of(lam) for lam in plan.lambdas}
    text = "instruct at λ = 0, thinking above" if len(donors) == 2 else donors.pop()
    table.add_row("sidecars", f"byte for byte from {text}")
    for note in pair.notes:
        table.add_row("note", note)
    for field in pair.allowed:
        table.add_row("allowed", f"{field} differs and was vouched for")
    console().print(table)


def _plan_value(plan: "GridPlan", refusals: list[DamiMergeError]) -> dict[str, object]:
    from dami_merge.cli.output import error_value
    from dami_merge.files import free_bytes
    from dami_merge.grid.manifest import fraction_text

    return {
        "sources": {
            title: {
                "spec": side.spec,
                "id": side.source_id,
                "revision": side.revision,
                "size_bytes": side.size_bytes,
                "files": sorted(side.files),
                "remote": side.remote,
            }
            for title, side in (("instruct", plan.pair.instruct), ("thinking", plan.pair.thinking))
        },
        "output": str(plan.output),
        "name": plan.name,
        "lambdas": [fraction_text(lam) for lam in plan.lambdas],
        "donors": {fraction_text(lam): plan.recipe.donor_of(lam) for lam in plan.lambdas},
        "dtype": plan.recipe.dtype,
        "shards": [
            {"name": s.name, "size_bytes": s.size_bytes, "tensors": len(s.tensors)} for s in plan.shards
        ],
        "read_bytes": plan.read_bytes,
        "write_bytes": plan.write_bytes,
        "download_bytes": plan.download_bytes,
        "free_bytes": free_bytes(plan.output),
        "memory_bytes": plan.memory_bytes,
        "block_bytes": plan.block_bytes,
        "notes": list(plan.pair.notes),
        "allowed": list(plan.pair.allowed),
        "refusals": [error_value(error) for error in refusals],
    }
