"""check_lmc on real checkpoints: numbers against a reference, verdicts on pairs of known kinds."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity import stream as module
from dami_merge.connectivity.report import LmcReport, check_lmc
from dami_merge.connectivity.stream import weight_bytes
from dami_merge.errors import InputRefused
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint


def _check(
    tmp_path: Path, instruct: dict[str, Tensor], thinking: dict[str, Tensor], threshold: float = 0.99
) -> LmcReport:
    left = write_checkpoint(tmp_path / "instruct", instruct)
    right = write_checkpoint(tmp_path / "thinking", thinking)
    return check_lmc(*open_both(str(left), str(right)), threshold=threshold)


def _reference(left: Tensor, right: Tensor) -> tuple[float, float, float]:
    a, b = left.flatten().double(), right.flatten().double()
    cosine = float(a @ b / (a.norm() * b.norm()))
    return cosine, float((b - a).norm() / a.norm()), float(b.norm() / a.norm())


def test_every_tensor_has_the_numbers_of_a_float64_reference(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    right = near(left)
    report = _check(tmp_path, left, right)
    assert {tensor.name for tensor in report.tensors} == set(left)
    for tensor in report.tensors:
        cosine, distance, ratio = _reference(left[tensor.name], right[tensor.name])
        assert tensor.similarity.cosine == pytest.approx(cosine, abs=1e-12)
        assert tensor.similarity.relative_distance == pytest.approx(distance, rel=1e-12)
        assert tensor.similarity.norm_ratio == pytest.approx(ratio, rel=1e-12)


def test_a_layer_is_judged_as_one_long_vector_of_its_matrices(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    right = near(left)
    report = _check(tmp_path, left, right)
    names = ["model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    together = [torch.cat([side[name].flatten() for name in names]) for side in (left, right)]
    layer = next(group for group in report.layers if group.name == "model.layers.1")
    assert layer.matrices is not None
    assert layer.matrices.cosine == pytest.approx(_reference(together[0], together[1])[0], abs=1e-12)
    assert layer.matrices.elements == len(together[0])
    assert layer.vectors is not None
    assert layer.vectors.elements == 8


def test_groups_come_in_natural_order_and_modules_by_name(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    report = _check(tmp_path, left, near(left))
    layers = [group.name for group in report.layers]
    assert layers == ["lm_head", "model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm"]
    modules = [group.name for group in report.modules]
    assert modules == sorted(modules)
    assert "self_attn.q_proj" in modules


def test_a_near_pair_is_connected(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    report = _check(tmp_path, left, near(left))
    assert report.verdict == "connected"
    assert report.connected
    assert report.identical_tensors == 0


def test_unrelated_weights_are_not_connected_although_their_norms_agree(tmp_path: Path) -> None:
    report = _check(tmp_path, random_tensors(seed=0), random_tensors(seed=1))
    assert report.verdict == "not connected"
    assert abs(report.worst_cosine) < 0.3
    assert report.overall.vectors is not None
    assert report.overall.vectors.cosine > 0.95


def test_one_broken_layer_is_named_and_decides(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    right = near(left)
    broken = "model.layers.1.self_attn.q_proj.weight"
    right[broken] = random_tensors(seed=9)[broken]
    report = _check(tmp_path, left, right)
    assert report.verdict == "not connected"
    assert report.worst_layer == "model.layers.1"


@pytest.mark.parametrize(
    ("noise", "threshold", "verdict"),
    [
        (0.02, 0.99, "doubtful"),
        (0.02, 0.95, "connected"),
        (0.02, 0.9999, "doubtful"),
        (0.06, 0.5, "connected"),
    ],
)
def test_the_threshold_moves_the_verdict(
    tmp_path: Path, noise: float, threshold: float, verdict: str
) -> None:
    left = random_tensors(seed=0)
    report = _check(tmp_path, left, near(left, noise=noise), threshold)
    assert report.verdict == verdict
    assert report.threshold == threshold


def test_a_copy_has_cosine_one_and_distance_zero_everywhere(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    report = _check(tmp_path, left, {name: tensor.clone() for name, tensor in left.items()})
    assert {t.similarity.cosine for t in report.tensors} == {1.0}
    assert {t.similarity.relative_distance for t in report.tensors} == {0.0}
    assert report.identical_tensors == len(left)


def test_integer_and_empty_tensors_are_set_aside(tmp_path: Path) -> None:
    left = random_tensors(seed=0) | {"ids": torch.arange(4), "none.weight": torch.zeros(0, 4)}
    right = near(left)
    report = _check(tmp_path, left, right)
    assert report.skipped == ("ids",)
    assert "none" not in {group.name for group in report.layers}


def test_the_bits_do_not_depend_on_threads_or_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    left = {"w.weight": torch.randn(700, 900, generator=generator)}
    right = near(left, noise=0.1)
    first = _check(tmp_path, left, right)
    monkeypatch.setattr(module, "cpu_workers", lambda: 7)
    sides = open_both(str(tmp_path / "instruct"), str(tmp_path / "thinking"))
    torch_threads = torch.get_num_threads()
    assert check_lmc(*sides) == first
    assert torch.get_num_threads() == torch_threads


def test_dtypes_may_differ_and_the_refusal_of_grid_is_told(tmp_path: Path) -> None:
    left = random_tensors(seed=0, dtype=torch.float32)
    report = _check(tmp_path, left, {n: t.to(torch.bfloat16) for n, t in left.items()})
    assert report.verdict == "connected"
    assert {problem.hint for problem in report.refusals} == {"say with --dtype what to write"}


def test_a_differing_config_does_not_stop_the_comparison_but_is_told(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", left)
    write_checkpoint(tmp_path / "b", near(left), config={**CONFIG, "rope_theta": 5.0})
    report = check_lmc(*open_both(str(tmp_path / "a"), str(tmp_path / "b")))
    assert report.connected
    assert [problem.field for problem in report.refusals] == ["rope_theta"]


def test_different_shapes_are_refused(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    right = near(left) | {"lm_head.weight": torch.zeros(13, 8, dtype=torch.bfloat16)}
    with pytest.raises(InputRefused, match=r"'lm_head.weight' is \[12, 8\] in instruct and \[13, 8\]"):
        _check(tmp_path, left, right)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name_and_side(tmp_path: Path, value: float) -> None:
    left = random_tensors(seed=0)
    right = near(left)
    right["lm_head.weight"][3, 3] = value
    with pytest.raises(InputRefused, match=r"'lm_head\.weight' holds NaN or Inf in thinking"):
        _check(tmp_path, left, right)


def test_a_pair_without_matrices_is_refused(tmp_path: Path) -> None:
    vectors = {"norm.weight": torch.ones(4)}
    with pytest.raises(InputRefused, match="no weight matrix"):
        _check(tmp_path, vectors, vectors)


def test_progress_adds_up_to_the_announced_bytes(tmp_path: Path) -> None:
    left = random_tensors(seed=0) | {"ids": torch.arange(4)}
    write_checkpoint(tmp_path / "a", left)
    write_checkpoint(tmp_path / "b", near(left))
    sides = open_both(str(tmp_path / "a"), str(tmp_path / "b"))
    seen: list[int] = []
    check_lmc(*sides, on_bytes=seen.append)
    assert sum(seen) == weight_bytes(*sides) > 0
