"""What `dami-merge grid` prints: the plan or the result of a run, as a table or as a JSON value."""

from collections.abc import Sized
from dataclasses import asdict
from typing import TYPE_CHECKING

from dami_merge.cli.output import PIPE_WIDTH, console, error_value
from dami_merge.errors import DamiMergeError

if TYPE_CHECKING:
    from rich.table import Table

    from dami_merge.grid.build import Built
    from dami_merge.grid.plan import GridPlan


def print_plan(plan: "GridPlan") -> None:
    """Print a plan as a table on stdout."""
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
            f"{side.spec}{revision}: {size_text(side.size_bytes)} in {_counted(side.files, 'file')}{where}",
        )
    table.add_row("λ", ", ".join(label(lam) for lam in plan.lambdas))
    folders = names[0] if count == 1 else f"{names[0]} … {names[-1]}"
    table.add_row(
        "write",
        f"{plan.output}/{folders}: {count} × {size_text(plan.checkpoint_bytes)} in"
        f" {_counted(plan.shards, 'shard')} each, {size_text(plan.write_bytes)} in total",
    )
    if plan.download_bytes:
        table.add_row("download", f"{size_text(plan.download_bytes)} into the Hub cache")
    table.add_row("read", f"{size_text(plan.read_bytes)}, once for all λ")
    table.add_row("free", f"{size_text(free_bytes(plan.output))} on the disk of {plan.output}")
    table.add_row(
        "memory",
        f"at most {size_text(plan.memory_bytes)} above torch, for models of any size"
        f" (blocks of {size_text(plan.block_bytes)})",
    )
    donors = {plan.recipe.donor_of(lam) for lam in plan.lambdas}
    text = "instruct at λ = 0 and from thinking above" if len(donors) == 2 else donors.pop()
    table.add_row("sidecars", f"copied byte for byte from {text}")
    for note in pair.notes:
        table.add_row("note", note)
    for field in pair.allowed:
        table.add_row("allowed", f"{field} differs between the two models; the difference is waived")
    console().print(table)


def plan_value(plan: "GridPlan", refusals: list[DamiMergeError]) -> dict[str, object]:
    """Return a plan as a JSON value, with the errors that would stop a run of it."""
    from dami_merge.files import free_bytes
    from dami_merge.lambdas import fraction_text

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
        "endpoints": plan.endpoints,
        "notes": list(plan.pair.notes),
        "allowed": list(plan.pair.allowed),
        "refusals": [error_value(error) for error in refusals],
    }


def built_value(built: "Built") -> dict[str, object]:
    """Return the result of a run as a JSON value."""
    return {
        "path": str(built.path),
        "devices": list(built.devices),
        "kernel": built.kernel,
        "shards_made": list(built.made),
        "written_bytes": built.written_bytes,
        "direct_io": built.direct_io,
        "shared_files": built.shared_files,
        "waits": {name: round(seconds, 3) for name, seconds in asdict(built.waits).items()},
        "wall_s": round(built.wall_s, 3),
        "checkpoints": [
            {"lambda": m.fraction, "path": str(built.path / m.path), "model": m.served_model_name}
            for m in built.grid.checkpoints
        ],
    }


def show_built(built: "Built") -> None:
    """Print the result of a run as a table on stdout."""
    from dami_merge.files import size_text

    members = built.grid.checkpoints
    out = console()
    table = _members(built, [str(built.path / member.path) for member in members])
    if (
        out.measure(table, options=out.options.update(width=PIPE_WIDTH)).maximum > out.width
    ):  # a broken name cannot be copied
        out.print(f"in {built.path}:", soft_wrap=True)
        table = _members(built, [member.path for member in members])
    out.print(table)
    if built.shared_files:
        out.print(f"{built.shared_files} files of λ = 0 and λ = 1 share disk blocks with the sources")
    if built.made:
        digits = 1 if built.wall_s >= 1 else 2
        out.print(
            f"{_counted(members, 'checkpoint')}, {size_text(built.written_bytes)} of weights written"
            f" in {built.wall_s:.{digits}f} s on {', '.join(built.devices)}{_bound(built)}"
        )
    else:
        out.print("already complete: no weights were written")
    out.print(f"check every byte with: dami-merge verify {built.path}", soft_wrap=True)
    for note in built.grid.notes:
        if note.startswith("warning: "):
            out.print(note)


def _members(built: "Built", folders: list[str]) -> "Table":
    from rich.table import Table

    from dami_merge.lambdas import exact, label

    table = Table(box=None, pad_edge=False)
    for heading in ("λ", "folder", "served model name", "donor"):
        table.add_column(heading, overflow="fold")
    for member, folder in zip(built.grid.checkpoints, folders, strict=True):
        table.add_row(label(exact(member.fraction)), folder, member.served_model_name, member.donor)
    return table


def _counted(items: Sized, noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _bound(built: "Built") -> str:
    """Say what a run waited for most, if it took long enough to matter."""
    if built.wall_s < 1:
        return ""
    name, seconds = max(asdict(built.waits).items(), key=lambda item: float(item[1]))
    share = seconds / len(built.devices) / built.wall_s
    return f", bounded by {name.removesuffix('_s')} ({share:.0%} of the time)"
