"""check_lmc on real checkpoints: numbers against a reference, verdicts on pairs of known kinds."""

import dataclasses
import math
import threading
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download
from torch import Tensor

from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity import stream as module
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.sample import Sample
from dami_merge.connectivity.stream import REMOTE_READS
from dami_merge.errors import HubError, InputRefused
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.hub_server import Hub
from tests.pairs import float_bytes, weights_of


def _check(
    tmp_path: Path, instruct: dict[str, Tensor], thinking: dict[str, Tensor], threshold: float = 0.99
) -> WeightsReport:
    left = write_checkpoint(tmp_path / "instruct", instruct)
    right = write_checkpoint(tmp_path / "thinking", thinking)
    return weights_of(*open_both(str(left), str(right)), threshold=threshold)


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
    assert weights_of(*sides) == first
    assert torch.get_num_threads() == torch_threads


def test_dtypes_may_differ_and_the_refusal_of_grid_is_told(tmp_path: Path) -> None:
    left = random_tensors(seed=0, dtype=torch.float32)
    report = _check(tmp_path, left, {n: t.to(torch.bfloat16) for n, t in left.items()})
    assert report.verdict == "connected"
    assert {problem.hint for problem in report.refusals} == {"choose the dtype to write with --dtype"}


def test_a_differing_config_does_not_stop_the_comparison_but_is_told(tmp_path: Path) -> None:
    left = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", left)
    write_checkpoint(tmp_path / "b", near(left), config={**CONFIG, "rope_theta": 5.0})
    report = weights_of(*open_both(str(tmp_path / "a"), str(tmp_path / "b")))
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
    seen: list[tuple[int, int]] = []
    weights_of(*sides, on_bytes=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (float_bytes(*sides), float_bytes(*sides))
    assert len({total for _, total in seen}) == 1


def large_pair() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of more than a block, of three dtypes, and small ones between."""
    generator = torch.Generator().manual_seed(0)
    left = random_tensors(seed=0) | {
        "model.layers.0.mlp.down_proj.weight": torch.randn(1100, 1000, generator=generator).bfloat16(),
        "model.layers.1.mlp.down_proj.weight": torch.randn(701, 1000, generator=generator),
        "model.layers.1.self_attn.o_proj.weight": torch.randn(3, 7, generator=generator).half(),
        "model.layers.1.self_attn.odd.weight": torch.randn(9, 33, generator=generator).double(),
        "none.weight": torch.zeros(0, 4),
        "ids": torch.arange(5),
    }
    return left, near(left)


@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize("sample", [None, Sample(Fraction(1, 20))])
def test_the_report_from_the_hub_is_that_from_the_disk_bit_for_bit(
    hub: Hub, tmp_path: Path, redirects: bool, sample: Sample | None
) -> None:
    left, right = large_pair()
    backwards = {name: right[name] for name in reversed(right)}
    shards = [list(left)[:5], list(left)[5:]]
    hub.redirects = redirects
    hub.signature_uses = 5
    hub.add("org/i", write_checkpoint(tmp_path / "i", left, shards=shards))
    hub.add("org/t", write_checkpoint(tmp_path / "t", backwards))
    sides = open_both("org/i", "org/t")
    assert all(side.remote for side in sides)
    hub.cuts = 5
    remote = weights_of(*sides, sample=sample)
    local = weights_of(*open_both(str(tmp_path / "i"), str(tmp_path / "t")), sample=sample)
    assert (remote.instruct, remote.instruct_revision) == ("org/i", hub.repos["org/i"].refs["main"])
    assert (remote.thinking, remote.thinking_revision) == ("org/t", hub.repos["org/t"].refs["main"])
    assert (local.instruct_revision, local.thinking_revision) == ("", "")
    assert local == dataclasses.replace(
        remote, instruct="i", thinking="t", instruct_revision="", thinking_revision=""
    )
    assert not [path for path in tmp_path.glob("cache/**/*") if path.suffix == ".safetensors"]


def test_of_the_hub_every_byte_is_fetched_once_and_neighbours_in_one_request(
    hub: Hub, tmp_path: Path
) -> None:
    left, right = large_pair()
    hub.add("org/i", write_checkpoint(tmp_path / "i", left))
    hub.add("org/t", write_checkpoint(tmp_path / "t", right))
    sides = open_both("org/i", "org/t")
    hub.log.clear()
    seen: list[int] = []
    weights_of(*sides, on_bytes=lambda done, _: seen.append(done))
    assert seen[-1] == float_bytes(*sides) == sum(request.sent_bytes for request in hub.log)
    assert len(hub.log) <= 8, "ten small tensors do not take a request each"


def test_a_sample_of_the_hub_fetches_no_more_than_it_reports(hub: Hub, tmp_path: Path) -> None:
    left, right = large_pair()
    hub.add("org/i", write_checkpoint(tmp_path / "i", left))
    hub.add("org/t", write_checkpoint(tmp_path / "t", right))
    sides = open_both("org/i", "org/t")
    hub.log.clear()
    report = weights_of(*sides, sample=Sample(Fraction(1, 20)))
    assert report.sample is not None
    fetched_bytes = sum(request.sent_bytes for request in hub.log)
    assert fetched_bytes == report.sample.read_bytes < 0.15 * report.sample.total_bytes


def test_shards_that_are_in_the_cache_are_read_from_there(hub: Hub, tmp_path: Path) -> None:
    left, right = large_pair()
    names = [name for name, tensor in left.items() if tensor.numel()]
    for repo, tensors in (("org/i", left), ("org/t", right)):
        folder = tmp_path / repo.replace("/", "-")
        hub.add(repo, write_checkpoint(folder, tensors, shards=[names[:9], names[9:]]))
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    hf_hub_download("org/i", first, revision=hub.repos["org/i"].refs["main"])
    sides = open_both("org/i", "org/t")
    hub.log.clear()
    weights_of(*sides)
    asked = {request.path.split("/")[2] + " " + request.path.rpartition("/")[2] for request in hub.log}
    assert asked == {f"i {second}", f"t {first}", f"t {second}"}


@pytest.mark.parametrize("sample", [None, Sample(Fraction(1, 20))])
def test_several_requests_are_in_flight(hub: Hub, tmp_path: Path, sample: Sample | None) -> None:
    generator = torch.Generator().manual_seed(0)
    left = {f"layers.{i}.weight": torch.randn(1100, 1000, generator=generator) for i in range(8)}
    hub.add("org/i", write_checkpoint(tmp_path / "i", left))
    hub.slow_s = 0.05
    sides = open_both("org/i", "org/i")
    weights_of(*sides, sample=sample)
    assert 4 <= hub.most_at_once <= REMOTE_READS


def test_a_hub_that_fails_half_way_fails_the_check_and_leaves_no_thread(hub: Hub, tmp_path: Path) -> None:
    left, right = large_pair()
    hub.add("org/i", write_checkpoint(tmp_path / "i", left))
    hub.add("org/t", write_checkpoint(tmp_path / "t", right))
    sides = open_both("org/i", "org/t")
    hub.faults = [(403, {"X-Error-Code": "GatedRepo"})]
    with pytest.raises(HubError, match="is gated"):
        weights_of(*sides)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
    assert not workers


def test_while_the_hub_is_waited_for_the_caller_is_told_and_may_stop(hub: Hub, tmp_path: Path) -> None:
    left, right = large_pair()
    hub.add("org/i", write_checkpoint(tmp_path / "i", left))
    hub.add("org/t", write_checkpoint(tmp_path / "t", right))
    sides = open_both("org/i", "org/t")
    hub.faults = [(429, {"Retry-After": "250"})] * 100

    def stop(done: int, total: int) -> None:
        assert done == 0 < total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights_of(*sides, on_bytes=stop)
