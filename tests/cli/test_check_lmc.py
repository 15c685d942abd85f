"""`dami-merge check-lmc` as it is typed."""

import json
from pathlib import Path

import pytest

from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.cli.test_grid import run


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
    assert "does not say whether the path between them is smooth" in result.stdout


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
