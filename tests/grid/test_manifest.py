"""grid.json: one format, declared once; what is not of it is refused."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

import dami_merge.grid.manifest as manifest
from dami_merge._version import __version__
from dami_merge.declared import encode
from dami_merge.errors import GridUnreadable
from dami_merge.grid.build import build_grid
from dami_merge.grid.manifest import json_schema, member_of, read_grid, schema_bytes, write_grid
from dami_merge.lambdas import fraction_text
from dami_merge.sampling import Sampling
from tests.grid.grids import THREE, plan_of

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(grid_copy: Path) -> Path:
    return grid_copy


def test_a_built_grid_reads_back_as_it_was_returned(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    built = build_grid(plan_of(pair_folders, tmp_path / "grid"))
    assert read_grid(tmp_path / "grid") == built.grid


def test_reading_and_writing_gives_the_same_bytes(folder: Path) -> None:
    before = (folder / "grid.json").read_bytes()
    grid = read_grid(folder)
    (folder / "grid.json").unlink()
    write_grid(folder, grid)
    assert (folder / "grid.json").read_bytes() == before == encode(grid)
    assert before.endswith(b"}\n")
    content = json.loads(before)
    assert json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == before.decode()


def test_the_grid_says_what_was_built_from_what(folder: Path) -> None:
    grid = read_grid(folder)
    assert (grid.schema_version, grid.tool.name, grid.tool.version) == (1, "dami-merge", __version__)
    assert grid.name == "toy"
    assert (grid.instruct.id, grid.thinking.id) == ("toy-instruct", "toy-thinking")
    assert (grid.instruct.revision, grid.thinking.revision) == ("", "")
    assert grid.recipe.lambdas == ["0/1", "3/10", "1/1"]
    assert grid.recipe.sampling == Sampling(temperature=0.6, top_k=20)
    assert [member.lam for member in grid.checkpoints] == list(THREE)
    assert [member.value for member in grid.checkpoints] == [0.0, 0.3, 1.0]
    assert [member.served_model_name for member in grid.checkpoints] == [
        "toy-lambda-0.00",
        "toy-lambda-0.30",
        "toy-lambda-1.00",
    ]
    assert grid.inventory.tensors == 9
    assert grid.inventory.parameters == 2 * 12 * 8 + 8 + 2 * (64 + 128 + 8)
    assert [note for note in grid.notes if "template" in note]


def test_no_path_of_this_machine_is_in_the_grid(finished: Path) -> None:
    files = [finished / "grid.json", *finished.rglob("README.md"), *finished.rglob("config.json")]
    assert len(files) == 7
    assert not [file for file in files if str(finished.parent) in file.read_text()]


def rewritten(folder: Path, change: Change) -> Path:
    path = folder / "grid.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    return path


def member(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["checkpoints"][1]
    return found


BROKEN: list[tuple[str, Change, str]] = [
    ("unknown field", lambda c: c.update(extra=1), "unknown field `extra`"),
    ("unknown member field", lambda c: member(c).update(quality=1), "unknown field `quality`"),
    ("missing field", lambda c: c.pop("inventory"), "missing required field `inventory`"),
    ("no checkpoints", lambda c: c["checkpoints"].clear(), "length >= 1"),
    ("digest of another kind", lambda c: member(c)["files"][0].update(digest="md5:00"), "matching regex"),
    ("negative size", lambda c: member(c)["files"][0].update(size=-1), "int` >= 0"),
    ("unknown donor", lambda c: member(c).update(donor="both"), "Invalid enum value 'both'"),
    ("fraction without a bar", lambda c: member(c).update(fraction="0.3"), "matching regex"),
    ("fraction over zero", lambda c: member(c).update(fraction="3/0"), "matching regex"),
    ("value above one", lambda c: member(c).update(value=1.5), "<= 1"),
    ("unknown dtype", lambda c: c["recipe"].update(dtype="int4"), "Invalid enum value 'int4'"),
    ("text for a number", lambda c: c["inventory"].update(tensors="9"), "Expected `int`"),
]


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_what_is_not_of_the_format_is_refused_by_the_reader_and_by_the_schema(
    change: Change, message: str, folder: Path
) -> None:
    path = rewritten(folder, change)
    with pytest.raises(GridUnreadable, match=message):
        read_grid(folder)
    with pytest.raises(jsonschema.ValidationError, match=r"\S"):
        jsonschema.validate(json.loads(path.read_bytes()), json_schema())


CONTRADICTIONS: list[tuple[str, Change, str]] = [
    ("value", lambda c: member(c).update(value=0.4), r"the fraction 3/10 and value 0\.4 differ"),
    ("fraction", lambda c: member(c).update(fraction="4/10"), r"the fraction 4/10 and value 0\.3 differ"),
    ("twice", lambda c: c["checkpoints"].append(member(c)), "two checkpoints have λ = 3/10"),
]


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in CONTRADICTIONS], ids=[case[0] for case in CONTRADICTIONS]
)
def test_an_entry_that_contradicts_itself_is_refused(change: Change, message: str, folder: Path) -> None:
    rewritten(folder, change)
    with pytest.raises(GridUnreadable, match=message):
        read_grid(folder)


@pytest.mark.parametrize("field", ["name", "path"])
def test_two_checkpoints_of_one_name_or_path_are_refused(field: str, folder: Path) -> None:
    rewritten(folder, lambda c: member(c).update({field: c["checkpoints"][0][field]}))
    with pytest.raises(GridUnreadable, match=r"two checkpoints have the name .* or the path"):
        read_grid(folder)


@pytest.mark.parametrize("path", ["../lambda-0.30", "/lambda-0.30", "a/../../b", ".", "", "a\\b", "a//b"])
def test_a_checkpoint_outside_the_grid_is_refused(path: str, folder: Path) -> None:
    rewritten(folder, lambda c: member(c).update(path=path))
    with pytest.raises(GridUnreadable, match="is not inside the grid's folder"):
        read_grid(folder)


def test_a_member_may_have_any_name_and_path_and_is_found_by_its_lambda(folder: Path) -> None:
    rewritten(folder, lambda c: member(c).update(name="all-but-ffn", path="merges/all-but-ffn"))
    found = member_of(read_grid(folder), Fraction(3, 10))
    assert (found.name, found.path) == ("all-but-ffn", "merges/all-but-ffn")


@pytest.mark.parametrize("fraction", ["11/10", "1/5000"])
def test_an_entry_of_no_lambda_is_an_unreadable_grid(fraction: str, folder: Path) -> None:
    rewritten(folder, lambda c: member(c).update(fraction=fraction))
    with pytest.raises(GridUnreadable, match=rf"grid\.json: λ = {fraction}"):
        read_grid(folder)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../b"])
def test_a_file_that_leaves_its_checkpoint_is_refused(name: str, folder: Path) -> None:
    rewritten(folder, lambda c: member(c)["files"][0].update(name=name))
    with pytest.raises(GridUnreadable, match=rf"'{name}' is not inside its checkpoint's folder"):
        read_grid(folder)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_schema_version_is_refused_before_anything_else_is_read(version: int, folder: Path) -> None:
    rewritten(folder, lambda c: c.update(schema_version=version, fields_of_tomorrow={}))
    message = f"has schema version {version}, but this release reads version 1"
    with pytest.raises(GridUnreadable, match=message) as caught:
        read_grid(folder)
    assert "upgrade dami-merge" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"schema_version": "1"}', b"\xff"])
def test_what_is_no_grid_json_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_bytes(content)
    with pytest.raises(GridUnreadable, match=r"is not a valid grid\.json"):
        read_grid(tmp_path)


def test_the_schema_accepts_a_real_grid_and_is_a_schema(folder: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((folder / "grid.json").read_bytes()), schema)


def test_the_shipped_schema_is_the_declared_one() -> None:
    assert Path(manifest.__file__).with_name("grid.schema.json").read_bytes() == schema_bytes()


def test_fractions_are_written_in_lowest_terms_with_a_bar() -> None:
    assert [fraction_text(Fraction(text)) for text in ("0", "0.30", "2/4", "1")] == [
        "0/1",
        "3/10",
        "1/2",
        "1/1",
    ]
