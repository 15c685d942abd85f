"""Mixtures of experts and towers with something broken: the verdict sees it, and the advice names it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dami_merge.cli.lmc_view import LmcTables, show_lmc
from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.check import Check
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.sample import Sample
from dami_merge.connectivity.weights_advice import meaning
from tests.checkpoints import near, write_checkpoint
from tests.pairs import weights_of

LAYERS, EXPERTS, WIDTH, INNER = 6, 128, 96, 2
Tensors = dict[str, Tensor]


def experts(seed: int, *, fused: bool) -> Tensors:
    """A mixture of 128 experts in six layers, in the layout of Qwen3-MoE or with fused experts."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    tensors = {"model.embed_tokens.weight": normal(40, WIDTH), "lm_head.weight": normal(40, WIDTH)}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        tensors[f"{stem}.input_layernorm.weight"] = 1 + normal(WIDTH)
        tensors[f"{stem}.mlp.gate.weight"] = normal(EXPERTS, WIDTH)
        for each in ("q", "k", "v", "o"):
            tensors[f"{stem}.self_attn.{each}_proj.weight"] = normal(WIDTH, WIDTH)
        if fused:
            tensors[f"{stem}.mlp.experts.gate_up_proj"] = normal(EXPERTS, WIDTH, 2 * INNER)
            tensors[f"{stem}.mlp.experts.gate_up_proj_bias"] = normal(EXPERTS, 2 * INNER)
            continue
        for expert in range(EXPERTS):
            for each in ("gate_proj", "up_proj"):
                tensors[f"{stem}.mlp.experts.{expert}.{each}.weight"] = normal(INNER, WIDTH)
    return tensors


def compared(tmp_path: Path, left: Tensors, right: Tensors, **options: Any) -> WeightsReport:
    sides = write_checkpoint(tmp_path / "instruct", left), write_checkpoint(tmp_path / "thinking", right)
    return weights_of(*sides, **options)


def pair(change: Callable[[Tensors], None], *, fused: bool = False) -> tuple[Tensors, Tensors]:
    """A close pair, of which one side is then changed."""
    left = experts(0, fused=fused)
    right = near(left, noise=0.03)
    change(right)
    return left, right


def nothing(tensors: Tensors) -> None:
    """A healthy pair."""


def router(tensors: Tensors) -> None:
    for name in ("mlp.gate", "self_attn.k_proj"):
        broken = f"model.layers.3.{name}.weight"
        tensors[broken] = torch.randn(tensors[broken].shape, generator=torch.Generator().manual_seed(7))


def single_expert(tensors: Tensors) -> None:
    tensors["model.layers.3.mlp.experts.17.up_proj.weight"].neg_()


def fused_expert(tensors: Tensors) -> None:
    tensors["model.layers.3.mlp.experts.gate_up_proj"][17].neg_()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("sample", [None, Sample(Fraction(1, 20))])
def test_a_healthy_mixture_of_experts_is_connected(
    tmp_path: Path, fused: bool, sample: Sample | None
) -> None:
    report = compared(tmp_path, *pair(nothing, fused=fused), sample=sample)
    assert (report.verdict, report.hidden) == ("connected", False)
    assert len(report.experts) == (LAYERS * EXPERTS if fused else 0)
    assert report.worst_matrix_cosine == min(each.similarity.cosine for each in report.matrices) > 0.99


@pytest.mark.parametrize(
    ("change", "fused", "culprit"),
    [
        (router, False, "model.layers.3.mlp.gate.weight"),
        (router, True, "model.layers.3.self_attn.k_proj.weight"),
        (single_expert, False, "model.layers.3.mlp.experts.17.up_proj.weight"),
        (fused_expert, True, "model.layers.3.mlp.experts.gate_up_proj[17]"),
    ],
)
def test_a_broken_matrix_in_a_close_model_is_named_and_fails_the_check(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Tensors], None],
    fused: bool,
    culprit: str,
) -> None:
    report = compared(tmp_path, *pair(change, fused=fused))
    check = Check(report)
    assert (report.verdict, check.passes) == ("not connected", False)
    (step,) = next_steps(check)
    assert step.startswith("inspect model.layers.3.")
    assert culprit in step
    assert "likelier than a different base" in step
    assert "others of its kind have 0.999" in step
    show_lmc(check, LmcTables())
    assert f"worst matrix {report.worst_matrix}: cosine" in capsys.readouterr().out


def test_a_negated_expert_hides_in_a_layer_that_is_connected(tmp_path: Path) -> None:
    report = compared(tmp_path, *pair(fused_expert, fused=True))
    assert report.worst_cosine > 0.99
    assert report.hidden
    assert (report.worst_matrix, round(report.worst_matrix_cosine, 2)) == (
        "model.layers.3.mlp.experts.gate_up_proj[17]",
        -1.0,
    )
    assert meaning(report).startswith("a matrix is broken in an otherwise close layer")
    assert f"but {report.worst_matrix} has -0.99" in answers(Check(report))[0].fact


def test_an_expert_that_drifted_is_doubtful_and_named_with_its_limit(tmp_path: Path) -> None:
    def drift(tensors: Tensors) -> None:
        expert = tensors["model.layers.3.mlp.experts.gate_up_proj"][17]
        expert += 0.7 * torch.randn(expert.shape, generator=torch.Generator().manual_seed(7))

    report = compared(tmp_path, *pair(drift, fused=True))
    assert (report.verdict, report.connected) == ("doubtful", False)
    (step,) = next_steps(Check(report))
    assert step.startswith("try three λ before you build a grid: model.layers.3.mlp.experts.gate_up_proj[17]")
    assert step.endswith("a single matrix should have 0.9")
    assert meaning(report).startswith("a matrix is much farther apart than its layer")


def test_a_threshold_below_the_limits_of_a_matrix_lowers_them(tmp_path: Path) -> None:
    left, right = pair(fused_expert, fused=True)
    assert compared(tmp_path, left, right, threshold=-1).connected


def test_a_distant_layer_is_told_from_a_broken_matrix(tmp_path: Path) -> None:
    def other_layer(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith("model.layers.3.")]:
            noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(len(name)))
            tensors[name] += 0.8 * noise

    check = Check(compared(tmp_path, *pair(other_layer, fused=True)))
    assert (check.weights.verdict, check.weights.worst_layer) == ("not connected", "model.layers.3")
    assert next_steps(check) == (
        "inspect model.layers.3: the other layers are close, so damage or re-initialisation is likelier than"
        " a different base; compare the files with the originals, and run each model alone",
    )
    assert meaning(check.weights).endswith("check that both models have the same base")


def test_other_bases_are_told_from_everything_else(tmp_path: Path) -> None:
    check = Check(compared(tmp_path, experts(0, fused=True), experts(1, fused=True)))
    assert check.weights.verdict == "not connected"
    assert next_steps(check) == (
        "do not interpolate: the weights point in different directions in 6 of 6 layers, as in models with"
        " different bases",
    )


def test_a_kind_that_is_far_in_every_layer_was_retrained(tmp_path: Path) -> None:
    def other_routers(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith("mlp.gate.weight")]:
            tensors[name] = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(5))

    (step,) = next_steps(Check(compared(tmp_path, *pair(other_routers, fused=True))))
    assert step.startswith(
        "do not interpolate: the models are far apart only in mlp.gate, so they have the same"
    )


@pytest.mark.parametrize(
    ("noise", "verdict", "step"),
    [
        (
            3.0,
            "not connected",
            "do not interpolate: the models are far apart only in mlp.small_gate, so they",
        ),
        (
            0.7,
            "doubtful",
            "try three λ before you build a grid: in most layers, mlp.small_gate is below 0.9,",
        ),
    ],
)
def test_a_small_kind_that_is_far_in_close_layers_is_named(
    tmp_path: Path, noise: float, verdict: str, step: str
) -> None:
    left, right = pair(nothing, fused=True)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}.mlp.small_gate.weight"
        left[name] = torch.randn(6, 6, generator=torch.Generator().manual_seed(layer))
        right[name] = left[name] + noise * torch.randn(
            6, 6, generator=torch.Generator().manual_seed(layer + 50)
        )
    report = compared(tmp_path, left, right)
    assert report.worst_cosine > 0.99
    assert (report.verdict, report.hidden) == (verdict, True)
    assert next_steps(Check(report))[0].startswith(step)


def test_tensors_without_numbered_layers_are_judged_as_one_stack(tmp_path: Path) -> None:
    one, other = (
        {
            f"block{n}.weight": torch.randn(9, 7, generator=torch.Generator().manual_seed(n + seed))
            for n in range(8)
        }
        for seed in (0, 100)
    )
    assert "in 8 of 8 layers, as in models with" in next_steps(Check(compared(tmp_path / "a", one, other)))[0]
    close = near(one)
    close["block3.weight"].neg_()
    step = next_steps(Check(compared(tmp_path / "b", one, close)))[0]
    assert step.startswith("inspect block3: the other layers are close")


def test_a_matrix_of_another_length_is_named_with_its_norm_ratio(tmp_path: Path) -> None:
    def longer(tensors: Tensors) -> None:
        tensors["model.layers.2.self_attn.o_proj.weight"] *= 30

    check = Check(compared(tmp_path, *pair(longer, fused=True)))
    assert check.weights.worst_layer == "model.layers.2"
    (step,) = next_steps(check)
    assert step.startswith("inspect model.layers.2.self_attn.o_proj.weight (cosine 0.999")
    assert "norm ratio 30," in step


@pytest.mark.parametrize(("side", "told"), [(0, "zero in Instruct"), (1, "zero in Thinking")])
def test_a_matrix_that_is_zero_on_one_side_is_said_to_be(tmp_path: Path, side: int, told: str) -> None:
    sides = pair(nothing, fused=True)
    sides[side]["model.layers.2.mlp.experts.gate_up_proj"][5] = 0
    (step,) = next_steps(Check(compared(tmp_path, *sides)))
    assert step.startswith(f"inspect model.layers.2.mlp.experts.gate_up_proj[5] ({told}, where")


def towers(seed: int, seeing: int) -> Tensors:
    """A model that sees and reads, in the layout of Qwen3-VL; each tower has its own seed."""
    tensors: Tensors = {}
    for stack, own, layers in (("visual.blocks", seeing, 5), ("language_model.layers", seed, 8)):
        generator = torch.Generator().manual_seed(own)
        for layer in range(layers):
            for kind in ("attn.qkv", "mlp.up"):
                name = f"model.{stack}.{layer}.{kind}.weight"
                tensors[name] = torch.randn(24, 16, generator=generator)
    generator = torch.Generator().manual_seed(seeing + 100)
    tensors["model.visual.patch_embed.proj.weight"] = torch.randn(16, 3, 2, 4, 4, generator=generator)
    tensors["lm_head.weight"] = torch.randn(20, 16, generator=torch.Generator().manual_seed(seed + 100))
    return tensors


def test_a_tower_that_is_far_off_is_named_and_the_other_is_said_to_be_close(tmp_path: Path) -> None:
    check = Check(compared(tmp_path, towers(0, 1), near(towers(0, 2))))
    assert check.weights.verdict == "not connected"
    assert next_steps(check) == (
        "do not interpolate model.visual.blocks: its weights point in different directions in 5 of 5 layers,"
        " while model.language_model.layers is close, so only this tower has another base: take two models"
        " that share it",
    )


def test_layers_of_two_towers_are_counted_by_tower(tmp_path: Path) -> None:
    check = Check(compared(tmp_path, towers(0, 1), towers(3, 4)))
    assert (
        "in 8 of 8 layers of model.language_model.layers and 5 of 5 layers of model.visual.blocks, as in"
        in (next_steps(check)[0])
    )
    close = towers(0, 1)
    right = near(close)
    right["model.visual.blocks.2.attn.qkv.weight"] += (
        0.3 * towers(3, 4)["model.visual.blocks.2.attn.qkv.weight"]
    )
    (step,) = next_steps(Check(compared(tmp_path / "doubtful", close, right)))
    assert step == (
        "try three λ before you build a grid: the cosine is below 0.99 in 1 of 5 layers of"
        " model.visual.blocks, and lowest in model.visual.blocks.2"
    )


def test_what_is_not_a_layer_is_not_counted_as_one(tmp_path: Path) -> None:
    """The names of Gemma 3: two towers, a projection without `.weight`, embeddings of both."""
    names = {
        **{f"language_model.model.layers.{n}.mlp.up_proj.weight": (8, 6) for n in range(4)},
        **{f"vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.weight": (8, 6) for n in range(3)},
        "language_model.model.embed_tokens.weight": (9, 6),
        "multi_modal_projector.mm_input_projection_weight": (6, 6),
        "vision_tower.vision_model.embeddings.position_embedding.weight": (9, 6),
    }
    one, other = (
        {
            name: torch.randn(*shape, generator=torch.Generator().manual_seed(number + first))
            for number, (name, shape) in enumerate(names.items())
        }
        for first in (0, 100)
    )
    step = next_steps(Check(compared(tmp_path, one, other)))[0]
    assert "in 4 of 4 layers of language_model.model.layers and 3 of 3 layers of vision_tower" in step


def test_biases_of_experts_and_kernels_of_one_channel_do_not_decide(tmp_path: Path) -> None:
    left, right = pair(nothing, fused=True)
    for side, sign in ((left, 1), (right, -1)):
        side["model.layers.0.mlp.experts.gate_up_proj_bias"] = sign * torch.ones(EXPERTS, 2 * INNER)
        side["model.layers.0.linear_attn.conv1d.weight"] = sign * torch.ones(WIDTH, 1, 4)
    report = compared(tmp_path, left, right)
    assert report.verdict == "connected"
    assert {each.name for each in report.tensors if each.similarity.cosine < 0} == {
        "model.layers.0.mlp.experts.gate_up_proj_bias",
        "model.layers.0.linear_attn.conv1d.weight",
    }


def test_a_sample_sees_a_broken_expert_and_a_broken_router(tmp_path: Path) -> None:
    for number, (change, fused) in enumerate([(router, False), (single_expert, False), (fused_expert, True)]):
        report = compared(tmp_path / str(number), *pair(change, fused=fused), sample=Sample(Fraction(1, 20)))
        assert report.verdict == "not connected"
        assert "inspect model.layers.3." in next_steps(Check(report))[0]
        assert report.hidden is (change is not router)
        told = "% confidence; but model.layers.3." in answers(Check(report))[0].fact
        assert told is report.hidden


def test_large_experts_are_sampled_one_by_one_and_the_bounds_hold_what_was_found(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    name = "model.layers.{}.mlp.experts.down_proj"
    left = {name.format(n): torch.randn(4, 512, 512, generator=generator).bfloat16() for n in range(3)}
    right = near(left, noise=0.05)
    right[name.format(1)][2].neg_()
    whole = compared(tmp_path, left, right)
    report = weights_of(tmp_path / "instruct", tmp_path / "thinking", sample=Sample(Fraction(1, 20)))
    assert report.sample is not None
    assert report.sample.read_bytes < 0.5 * report.sample.total_bytes
    assert report.worst_matrix == whole.worst_matrix == "model.layers.1.mlp.experts.down_proj[2]"
    assert report.sample.matrix_low <= whole.worst_matrix_cosine <= report.sample.matrix_high < 0.5
    assert report.verdict == "not connected"
    for sampled, read in zip(report.experts, whole.experts, strict=True):
        assert sampled.similarity.elements == read.similarity.elements == 512 * 512
        assert abs(sampled.similarity.cosine - read.similarity.cosine) < 0.001


def test_an_expert_that_a_sample_cannot_place_leaves_the_verdict_open(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    name = "model.layers.{}.mlp.experts.down_proj"
    left = {name.format(n): torch.randn(24, 512, 512, generator=generator).bfloat16() for n in range(2)}
    right = near(left, noise=0.02)
    expert = right[name.format(1)][2]
    expert += 0.48 * torch.randn(512, 512, generator=generator) * torch.linspace(0, 2, 512)[:, None]
    report = compared(tmp_path, left, right, sample=Sample(Fraction(1, 20)))
    assert report.sample is not None
    assert report.sample.low > 0.97
    assert report.sample.matrix_low < 0.9 <= report.sample.matrix_high
    assert report.verdict == "undecided"
    assert answers(Check(report))[0].said == "unclear"
