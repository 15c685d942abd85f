"""`dami-merge check-lmc` as it is typed."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dami_merge.checkpoint.source import open_source
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.cli.test_grid import run
from tests.hub_server import Hub
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
    [(0.02, "doubtful", "try a few λ"), (0.5, "not connected", "check that both models have the same base")],
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
    assert "(threshold 0.99999)" in result.stdout


def test_one_model_is_a_usage_error(pair_folders: tuple[Path, Path]) -> None:
    result = run("check-lmc", pair_folders[0])
    assert result.exit_code == 2
    assert "expected two models or none, got 1" in result.stderr


def test_without_texts_it_is_told_which_questions_were_not_asked(pair_folders: tuple[Path, Path]) -> None:
    output = run("check-lmc", *pair_folders).stdout
    for question in ("one basin?", "smooth path?", "one way?", "dial, not a switch?"):
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
    assert any(line.split()[:3] == ["close", "weights?", "yes"] for line in result.stdout.splitlines())
    assert any(line.split()[:3] == ["one", "basin?", "no"] for line in result.stdout.splitlines())


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
    assert any(
        line.split() == ["λ", "kept", "by", "bfloat16", "noise,", "as", "a", "share"]
        for line in output.splitlines()
    )
    assert any(
        line.startswith("model.layers.1.mlp.up_proj.weight") and "%" in line for line in output.splitlines()
    )
    value = json.loads(run("check-lmc", *pair_folders, "--difference", "--json").stdout)
    assert [each["lambda"] for each in value["rounding"]["survival"]][:2] == ["1/10", "1/5"]
    assert all(
        0 < each["energy"]["1"] <= each["energy"]["16"] <= 1 for each in value["difference"]["spectra"]
    )
    assert json.loads(run("check-lmc", *pair_folders, "--json").stdout)["difference"] is None


def test_a_model_and_itself_differ_nowhere() -> None:
    output = run("check-lmc", "bundled:tiny/instruct", "bundled:tiny/instruct", "--difference").stdout
    assert "kept by" not in output
    assert any(line.startswith("all ") and "100.0%" in line for line in output.splitlines())


def test_the_heat_map_has_a_bar_for_every_layer_and_kind_of_module(pair_folders: tuple[Path, Path]) -> None:
    lines = run("check-lmc", *pair_folders, "--heat").stdout.splitlines()
    value = json.loads(run("check-lmc", *pair_folders, "--json").stdout)
    for kind in ("mlp.up_proj", "self_attn.q_proj"):
        cosines = {t["layer"][-1]: t["similarity"]["cosine"] for t in value["tensors"] if t["module"] == kind}
        lowest = min(cosines, key=lambda layer: cosines[layer])
        (line,) = (line for line in lines if line.startswith(kind) and "lowest" in line)
        assert line.rstrip().endswith(f"lowest {cosines[lowest]:.6f} in {lowest}")
        assert len(line.split()[1]) == 2, "a bar for each of both layers"


def test_a_strip_shows_where_the_broken_layer_is(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    other = near(tensors, noise=1e-4)
    broken = "model.layers.1.mlp.up_proj.weight"
    other[broken] = -other[broken]
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", other)
    result = run("check-lmc", tmp_path / "a", tmp_path / "b")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[lines.index("layers of model.layers") + 1].split() == ["0", "▁█"]
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
    assert result.exit_code == 3
    assert f"the folder {tmp_path / 'no'} does not exist" in result.stderr
    assert "connected" not in result.stdout
    result = run("check-lmc", *pair_folders, option, tmp_path)
    assert result.exit_code == 3
    assert "it is a folder" in result.stderr


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
    assert "config, sampling defaults, tokenizer and chat template are the same in both models" in same


def test_json_says_the_answers_the_next_steps_and_the_differences(pair_folders: tuple[Path, Path]) -> None:
    value = json.loads(run("check-lmc", *pair_folders, "--json").stdout)
    assert [answer["holds"] for answer in value["answers"]] == [True, None, None, None, None]
    assert "test the path" in value["next"][0]
    assert value["differences"]["template"][0].startswith("--- ")
    assert f"next: {value['next'][0]}" in run("check-lmc", *pair_folders).stdout


def publish(hub: Hub, pair: tuple[Path, Path]) -> tuple[str, str]:
    """The pair as repositories; `org/name@commit` of both."""
    commits = [hub.add(f"org/{folder.name}", folder).refs["main"] for folder in pair]
    first, second = (f"org/{folder.name}@{commit}" for folder, commit in zip(pair, commits, strict=True))
    return first, second


@pytest.fixture
def large_folders(tmp_path: Path) -> tuple[Path, Path]:
    """A pair of which a sample leaves something out; some 9 MB a side."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"model.layers.{layer}.mlp.up_proj.weight": torch.randn(1536, 1024, generator=generator).bfloat16()
        for layer in range(3)
    }
    return (
        write_checkpoint(tmp_path / "large-instruct", tensors),
        write_checkpoint(tmp_path / "large-thinking", near(tensors, noise=0.05)),
    )


@pytest.mark.parametrize("options", [(), ("--sample", "5%"), ("--difference",)])
def test_models_of_the_hub_are_compared_without_a_weight_file_on_the_disk(
    hub: Hub, large_folders: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    pinned = publish(hub, large_folders)
    hub.redirects = True
    home = tmp_path / "home"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "TMPDIR": str(tmp_path)}
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE"):
        environment.pop(variable, None)
    before = set(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "dami_merge", "check-lmc", *(p.partition("@")[0] for p in pinned)]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"compared {pinned[0]} with {pinned[1]}" in done.stdout.splitlines()
    left = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
    assert any(path.name == "config.json" for path in left), "the small files are kept"
    assert sum(path.stat().st_size for path in left) < 20_000
    local = run("check-lmc", *large_folders, *options)
    assert done.stdout.splitlines()[:5] == local.stdout.splitlines()[:5]


def test_json_has_the_commits_and_no_commit_for_a_folder(hub: Hub, pair_folders: tuple[Path, Path]) -> None:
    pinned = publish(hub, pair_folders)
    value = json.loads(run("check-lmc", "org/toy-instruct", pair_folders[1], "--json").stdout)
    assert f"{value['instruct']}@{value['instruct_revision']}" == pinned[0]
    assert (value["thinking"], value["thinking_revision"]) == ("toy-thinking", "")
    output = run("check-lmc", "org/toy-instruct", pair_folders[1]).stdout
    assert f"compared {pinned[0]} with toy-thinking" in output
    assert "compared" not in run("check-lmc", *pair_folders).stdout


def test_with_download_the_weights_stay_in_the_cache(
    hub: Hub, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    publish(hub, pair_folders)
    assert run("check-lmc", "org/toy-instruct", "org/toy-thinking", "--download").exit_code == 0
    assert len(list((tmp_path / "cache").rglob("model.safetensors"))) == 2
    hub.log.clear()
    assert run("check-lmc", "org/toy-instruct", "org/toy-thinking").exit_code == 0
    assert not hub.asked(".safetensors")


def test_texts_download_the_weights_of_the_commits_that_were_compared(hub: Hub, tmp_path: Path) -> None:
    for side in ("instruct", "thinking"):
        hub.add(f"org/{side}", open_source(f"bundled:tiny/{side}").root)
    options = ("--texts", "bundled", "--limit", 5, "--steps", 4, "--json")
    value = json.loads(run("check-lmc", "org/instruct", "org/thinking", *options).stdout)
    assert value["path"] == json.loads(run("check-lmc", *options).stdout)["path"]
    assert len(list((tmp_path / "cache").rglob("model.safetensors"))) == 2
    listings = [request.path for request in hub.log if request.path.startswith("/api/models/org/thinking")]
    assert listings[-1].endswith(f"/{value['thinking_revision']}"), "the walk opens the commit"


def test_a_sample_says_what_was_read_what_it_proves_and_what_it_cannot_see(
    large_folders: tuple[Path, Path],
) -> None:
    result = run("check-lmc", *large_folders, "--sample", "5%", "--seed", 3)
    assert result.exit_code == 0
    sample = json.loads(run("check-lmc", *large_folders, "--sample", "0.05", "--seed", 3, "--json").stdout)[
        "sample"
    ]
    assert (sample["share"], sample["seed"], sample["confidence"]) == (0.05, 3, 0.95)
    assert sample["read_bytes"] < 0.08 * sample["total_bytes"]
    assert [layer["layer"] for layer in sample["layers"]] == [f"model.layers.{i}" for i in range(3)]
    share = f"{sample['read_bytes'] / sample['total_bytes']:.1%}"
    lines = result.stdout.splitlines()
    assert any(line.startswith("read ") and f"({share}), seed 3" in line for line in lines)
    assert any(f"is between {sample['low']:.6f}" in line for line in lines)
    assert any("a sample can miss a change in a few rows" in line for line in lines)
    other = json.loads(run("check-lmc", *large_folders, "--sample", "5%", "--json").stdout)["sample"]
    assert other["seed"] == 0
    assert other["low"] != sample["low"]


def test_a_sample_that_decides_nothing_exits_with_one_and_says_the_way_out(
    large_folders: tuple[Path, Path],
) -> None:
    worst = json.loads(run("check-lmc", *large_folders, "--json").stdout)["worst_cosine"]
    result = run("check-lmc", *large_folders, "--sample", "5%", "--threshold", worst)
    assert result.exit_code == 1
    assert "undecided: the sample is too small to decide: use a larger --sample" in result.stdout
    assert any(line.split()[:3] == ["close", "weights?", "unclear"] for line in result.stdout.splitlines())


def test_a_sample_of_the_bundled_pair_is_all_of_it_and_connected() -> None:
    result = run("check-lmc", "--sample", "5%")
    assert result.exit_code == 0
    assert "connected: interpolation should work" in result.stdout
    assert "the tensors are so small that the sample covers all of them" in result.stdout
    assert json.loads(run("check-lmc", "--json").stdout)["sample"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", 1), "--seed needs --sample"),
        (("--sample", "5"), "the share must be above 0 and at most 1, not 5"),
    ],
)
def test_a_seed_without_a_sample_and_a_share_above_all_are_usage_errors(
    options: tuple[object, ...], message: str
) -> None:
    result = run("check-lmc", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_names_that_look_like_markup_are_printed_as_they_stand(tmp_path: Path) -> None:
    tensors = {
        f"model.layers.0.[red]w:warning:{n}[/].weight": random_tensors(n)["lm_head.weight"] for n in (0, 1)
    }
    tensors["[bold]head[/]"] = random_tensors(2)["lm_head.weight"]
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors), config={**CONFIG, "[b]field[/b]": "[red]:warning:[/]"})
    result = run("check-lmc", tmp_path / "a", tmp_path / "b", "--tensors", "--heat", "--difference", "--diff")
    assert result.exit_code == 0, result.stderr
    for name in tensors:
        assert sum(line.startswith(name) for line in result.stdout.splitlines()) >= 2, name
    assert any(
        line.startswith("[red]w:warning:1[/]  ") and "lowest" in line for line in result.stdout.splitlines()
    )
    assert any(
        line.split()[:3] == ["[b]field[/b]", "absent", '"[red]:warning:[/]"']
        for line in result.stdout.splitlines()
    )


def test_a_path_that_cannot_be_walked_leaves_the_files_of_the_comparison(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors), config={**CONFIG, "rope_theta": 1e6})
    files = tmp_path / "tensors.csv", tmp_path / "page.html"
    options = ("--texts", "bundled", "--csv", files[0], "--html", files[1])
    assert run("check-lmc", tmp_path / "a", tmp_path / "b", *options).exit_code == 3
    assert files[0].read_text(encoding="utf-8").count("\n") == 1 + len(tensors)
    assert "add --texts FILE to find out" in files[1].read_text(encoding="utf-8")


def test_two_outputs_in_one_file_are_refused(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("check-lmc", *pair_folders, "--csv", tmp_path / "x", "--html", tmp_path / "." / "x")
    assert result.exit_code == 2
    assert "--csv and --html both name" in result.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--texts", "no.jsonl"), "No such file"),
        (("--texts", "bundled", "--steps", 5000), "from 1 to 4096, not 5000"),
    ],
)
def test_a_walk_that_cannot_be_meant_is_refused_before_the_weights_are_read(
    pair_folders: tuple[Path, Path], options: tuple[object, ...], message: str
) -> None:
    result = run("check-lmc", *pair_folders, *options)
    assert message in result.stderr
    assert result.stdout == ""


def test_a_threshold_near_one_is_not_rounded_to_it(pair_folders: tuple[Path, Path]) -> None:
    assert "(threshold 0.99999999)" in run("check-lmc", *pair_folders, "--threshold", "0.99999999").stdout


def test_texts_without_transformers_are_refused_before_a_model_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = run("check-lmc", "no/such", "no/such-either", "--texts", "bundled")
    assert result.exit_code == 3
    assert "--texts needs transformers, which is not installed" in result.stderr
    assert "hint: pip install " in result.stderr


def test_a_full_disk_neither_hides_the_result_nor_promises_to_resume(
    pair_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    result = run("check-lmc", *pair_folders, "--html", tmp_path / "page.html")
    assert result.exit_code == 3
    assert "connected: " in result.stdout
    assert result.stderr.startswith(f"error: the disk of {tmp_path} is full (")
    assert "hint: free some space and run the same command again\n" in result.stderr
    assert not (tmp_path / "page.html").exists()
