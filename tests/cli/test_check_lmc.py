"""`dami-merge check-lmc` as it is typed."""

import csv
import json
from pathlib import Path

import pytest

from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.cli.test_grid import run
from tests.twins import permuted_twin


def test_a_connected_pair_exits_with_zero_and_shows_every_layer(pair_folders: tuple[Path, Path]) -> None:
    result = run("check-lmc", *pair_folders)
    assert result.exit_code == 0
    for name in (
        "lm_head",
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "self_attn.q_proj",
        "all",
    ):
        assert any(line.startswith(name) for line in result.stdout.splitlines()), name
    assert "connected: interpolation should work" in result.stdout
    assert "worst layer " in result.stdout


def test_every_tensor_is_shown_on_request(pair_folders: tuple[Path, Path]) -> None:
    result = run("check-lmc", *pair_folders, "--tensors")
    assert "model.layers.1.mlp.up_proj.weight" in result.stdout


@pytest.mark.parametrize(
    ("noise", "verdict", "meaning"),
    [(0.02, "doubtful", "try a few λ"), (0.5, "not connected", "is it one base?")],
)
def test_other_pairs_exit_with_one(tmp_path: Path, noise: float, verdict: str, meaning: str) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors, noise=noise))
    result = run("check-lmc", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 1
    assert f"{verdict}: " in result.stdout
    assert meaning in result.stdout


def test_json_has_the_numbers_of_the_table(pair_folders: tuple[Path, Path]) -> None:
    value = json.loads(run("check-lmc", *pair_folders, "--json").stdout)
    assert value["connected"] is True
    assert value["verdict"] == "connected"
    worst = min(group["matrices"]["cosine"] for group in value["layers"] if group["matrices"])
    assert value["worst_cosine"] == worst
    assert len(value["tensors"]) == len(random_tensors(seed=0))


def test_what_grid_would_refuse_is_told(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors), config={**CONFIG, "rope_theta": 1e6})
    result = run("check-lmc", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 0
    assert "`dami-merge grid` would refuse: config rope_theta: 10000.0 in instruct" in result.stdout


def test_the_threshold_is_the_users(pair_folders: tuple[Path, Path]) -> None:
    result = run("check-lmc", *pair_folders, "--threshold", "0.99999")
    assert result.exit_code == 1
    assert "0.99999 is asked for" in result.stdout


def test_one_model_is_a_usage_error(pair_folders: tuple[Path, Path]) -> None:
    result = run("check-lmc", pair_folders[0])
    assert result.exit_code == 2
    assert "1 model(s) given" in result.stderr


def test_without_texts_it_is_told_which_questions_were_not_asked(pair_folders: tuple[Path, Path]) -> None:
    output = run("check-lmc", *pair_folders).stdout
    for question in ("one basin?", "smooth path?", "one way?"):
        assert any(line.startswith(question) and "not asked" in line for line in output.splitlines())
    assert json.loads(run("check-lmc", *pair_folders, "--json").stdout)["path"] is None


def test_with_texts_the_path_is_walked_and_every_question_answered() -> None:
    result = run("check-lmc", "--texts", "bundled", "--limit", 20, "--steps", 4)
    assert result.exit_code == 0
    for question in ("close weights?", "one basin?", "smooth path?", "one way?"):
        assert any(line.startswith(question) and " yes " in line for line in result.stdout.splitlines()), (
            question
        )
    value = json.loads(run("check-lmc", "--texts", "bundled", "--limit", 20, "--steps", 4, "--json").stdout)
    assert [point["lambda"] for point in value["path"]["points"]] == ["0/1", "1/4", "1/2", "3/4", "1/1"]
    assert [step["from"] for step in value["path"]["steps"]] == ["0/1", "1/4", "1/2", "3/4"]
    assert value["path"]["same_basin"] is value["path"]["smooth"] is value["path"]["monotone"] is True
    assert value["path"]["texts"] == 20


def test_a_twin_in_another_basin_exits_with_one_whatever_its_cosine(tmp_path: Path) -> None:
    twin = permuted_twin(tmp_path / "twin")
    result = run(
        "check-lmc", "bundled:tiny/instruct", twin, "--texts", "bundled", "--limit", 20, "--threshold", -1
    )
    assert result.exit_code == 1
    assert any(line.startswith("close weights?  yes") for line in result.stdout.splitlines())
    assert any(line.startswith("one basin?      no") for line in result.stdout.splitlines())


def test_csv_has_one_line_for_every_tensor(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "tensors.csv"
    value = json.loads(run("check-lmc", *pair_folders, "--csv", file, "--json").stdout)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["tensor"] for row in rows] == [tensor["name"] for tensor in value["tensors"]]
    for row, tensor in zip(rows, value["tensors"], strict=True):
        for name, number in tensor["similarity"].items():
            assert float(row[name]) == number
        assert row["matrix"] == str(int(tensor["matrix"]))


@pytest.mark.parametrize("option", [("--steps", 5), ("--limit", 3)])
def test_options_of_the_walk_without_texts_are_refused(option: tuple[str, int]) -> None:
    result = run("check-lmc", *option)
    assert result.exit_code == 2
    assert "--texts" in result.stderr


def test_texts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    result = run("check-lmc", "--texts", tmp_path / "no.jsonl")
    assert result.exit_code == 3
    assert "no.jsonl: No such file" in result.stderr


def test_the_difference_is_examined_on_request(pair_folders: tuple[Path, Path]) -> None:
    output = run("check-lmc", *pair_folders, "--difference").stdout
    assert "at λ = 0.10 rounding keeps " in output
    assert any(
        line.startswith("model.layers.1.mlp.up_proj.weight") and "%" in line for line in output.splitlines()
    )
    value = json.loads(run("check-lmc", *pair_folders, "--difference", "--json").stdout)["difference"]
    assert [each["lambda"] for each in value["survival"]] == ["1/10", "1/2"]
    assert all(0 < each["energy"]["1"] <= each["energy"]["16"] <= 1 for each in value["spectra"])
    assert json.loads(run("check-lmc", *pair_folders, "--json").stdout)["difference"] is None


def test_a_model_and_itself_differ_nowhere() -> None:
    output = run("check-lmc", "bundled:tiny/instruct", "bundled:tiny/instruct", "--difference").stdout
    assert "no sampled element differs" in output
    assert any(line.startswith("all ") and "100.0%" in line for line in output.splitlines())


def test_the_heat_map_has_every_layer_by_every_kind_of_module(pair_folders: tuple[Path, Path]) -> None:
    lines = run("check-lmc", *pair_folders, "--heat").stdout.splitlines()
    (heading,) = (line for line in lines if line.startswith("layer ") and "mlp.up_proj" in line)
    assert "self_attn.q_proj" in heading
    cells = json.loads(run("check-lmc", *pair_folders, "--json").stdout)["cells"]
    assert {(cell["layer"], cell["module"]) for cell in cells} >= {
        ("model.layers.0", "mlp.up_proj"),
        ("model.layers.1", "self_attn.q_proj"),
    }
    for cell in cells:
        assert any(
            line.startswith(cell["layer"] + " ") and f"{cell['similarity']['cosine']:.4f}" in line
            for line in lines
        ), cell


def test_a_strip_shows_where_the_broken_layer_is(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    other = near(tensors, noise=1e-4)
    broken = "model.layers.1.mlp.up_proj.weight"
    other[broken] = -other[broken]
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", other)
    result = run("check-lmc", tmp_path / "a", tmp_path / "b")
    (strip,) = (line for line in result.stdout.splitlines() if line.startswith("layers  "))
    marks = strip.split()[1]
    layers = [line.split()[0] for line in result.stdout.splitlines()[1:5]]
    assert result.exit_code == 1
    assert [layer for layer, mark in zip(layers, marks, strict=True) if mark == "█"] == ["model.layers.1"]
    assert "worst layer model.layers.1" in result.stdout


def test_a_path_that_cannot_be_walked_loses_nothing_of_the_comparison(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors), config={**CONFIG, "rope_theta": 1e6})
    result = run("check-lmc", tmp_path / "a", tmp_path / "b", "--texts", "bundled")
    assert result.exit_code == 3
    assert "connected: interpolation should work" in result.stdout
    assert "not asked" in result.stdout
    assert "rope_theta" in result.stderr


def test_the_page_is_written_on_request(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    result = run("check-lmc", *pair_folders, "--html", file)
    assert result.exit_code == 0
    assert f"page written: {file}" in result.stderr
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Where the two models differ" in page
    assert "toy-instruct" in page


@pytest.mark.parametrize("option", ["--html", "--csv"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    pair_folders: tuple[Path, Path], tmp_path: Path, option: str
) -> None:
    result = run("check-lmc", *pair_folders, option, tmp_path / "no" / "file")
    assert result.exit_code == 2
    assert f"there is no folder {tmp_path / 'no'}" in result.stderr
    assert "connected" not in result.stdout
    result = run("check-lmc", *pair_folders, option, tmp_path)
    assert result.exit_code == 2
    assert "is a folder" in result.stderr


def test_how_the_small_files_differ_is_printed_on_request(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(
        tmp_path / "a",
        tensors,
        extra={"chat_template.jinja": "[one]\n", "generation_config.json": '{"top_k": 5}'},
    )
    write_checkpoint(
        tmp_path / "b",
        near(tensors),
        config={**CONFIG, "rope_theta": 5.0},
        extra={"chat_template.jinja": "[two]\n", "generation_config.json": '{"top_k": 20}'},
    )
    lines = run("check-lmc", tmp_path / "a", tmp_path / "b", "--diff").stdout.splitlines()
    assert any(line.split()[:3] == ["rope_theta", "10000.0", "5.0"] for line in lines)
    assert any(line.split()[:3] == ["top_k", "5", "20"] for line in lines)
    assert [line.rstrip() for line in lines if line.startswith(("-[", "+["))] == ["-[one]", "+[two]"]
    same = run("check-lmc", tmp_path / "a", tmp_path / "a", "--diff").stdout
    assert "config, sampling defaults, tokenizer and chat template are equal" in same


def test_json_says_the_answers_the_next_steps_and_the_differences(pair_folders: tuple[Path, Path]) -> None:
    value = json.loads(run("check-lmc", *pair_folders, "--json").stdout)
    assert [answer["holds"] for answer in value["answers"]] == [True, None, None, None]
    assert "walk the path" in value["next"][0]
    assert value["differences"]["template"][0].startswith("--- ")
    assert f"next: {value['next'][0]}" in run("check-lmc", *pair_folders).stdout
