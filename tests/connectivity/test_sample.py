"""Samples of a pair: what is drawn, and whether the bounds hold as often as they say."""

import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.checkpoint.header import TensorInfo
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity import stream as stream_module
from dami_merge.connectivity.bounds import LayerBound, layer_bounds, matrix_bounds, student
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.sample import CHUNK_SIZES, Observed, Sample, Stratum, draw
from dami_merge.errors import UsageError
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.sources import Piece
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.pairs import float_bytes, weights_of

FIVE = Sample(Fraction(1, 20))


def info(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name, "BF16", shape, 0, 2 * math.prod(shape))


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", Fraction(1, 20)), ("0.05", Fraction(1, 20)), ("2.5 %", Fraction(1, 40)), ("100%", 1)],
)
def test_a_share_is_read_as_it_is_typed(text: str, share: Fraction) -> None:
    assert Sample.parse(text, 3) == Sample(Fraction(share), 3)


@pytest.mark.parametrize("text", ["a few", "5%%", "", "%", "1/0", "nan", "inf%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"^'{text}' is not a share$") as refused:
        Sample.parse(text)
    assert refused.value.hint == "use 5% or 0.05, up to 100%"


@pytest.mark.parametrize(
    ("text", "share"), [("5", "5"), ("0", "0"), ("0%", "0"), ("-1%", "-1/100"), ("101%", "101/100")]
)
def test_a_share_of_nothing_or_of_more_than_all_is_refused(text: str, share: str) -> None:
    with pytest.raises(
        UsageError, match=f"^the share must be above 0 and at most 1, not {share}$"
    ) as refused:
        Sample.parse(text)
    assert refused.value.hint == "use 5% or 0.05, up to 100%"


def test_the_quantiles_of_student_are_those_of_the_tables() -> None:
    table = {
        (0.025, 1): 12.7062047362, (0.025, 2): 4.3026527297, (0.025, 3): 3.1824463053,
        (0.025, 10): 2.2281388520, (0.0003, 1): 1061.0326397867, (0.0003, 5): 7.6706164633,
        (0.0003, 37): 3.7523710180, (0.000005, 200): 4.5330221138,
    }  # fmt: skip
    for (tail, freedom), value in table.items():
        assert student(tail, freedom) == pytest.approx(value, rel=1e-10)


def test_chunks_lie_within_their_tensor_apart_and_as_many_as_asked_for() -> None:
    elements = 4096 * 9999
    (stratum,) = draw([info("model.layers.0.mlp.up_proj.weight", 4096, 9999)], FIVE)
    size = 1 << 14  # 32,768 would make 63 of a layer, and 64 are wanted
    assert size in CHUNK_SIZES
    assert stratum.chunks == math.ceil(elements / size)
    assert len(stratum.pieces) == math.ceil(stratum.chunks / 20) >= 64
    ends = [piece.first + piece.count for piece in stratum.pieces]
    assert all(end <= piece.first for end, piece in zip(ends, stratum.pieces[1:], strict=False))
    assert 0 <= stratum.pieces[0].first < ends[-1] <= elements
    assert {piece.count - size for piece in stratum.pieces} <= set(range(-8, 1))


def test_a_tensor_gives_eight_chunks_at_least_and_of_very_many_two_are_enough() -> None:
    dense = [info(f"model.layers.0.m{i}.weight", 4096, rows) for i, rows in enumerate((256, 4096, 9728))]
    assert [len(stratum.pieces) for stratum in draw(dense, Sample(Fraction(1, 1000)))] == [8, 8, 10]
    experts = [info(f"model.layers.0.mlp.experts.{i}.up_proj.weight", 4096, 1536) for i in range(128)]
    strata = draw(experts, FIVE)
    assert {len(stratum.pieces) for stratum in strata} == {3}
    assert {stratum.pieces[0].count for stratum in strata} == {1 << 17}
    assert {len(stratum.pieces) for stratum in draw(experts, Sample(Fraction(1, 1000)))} == {2}


def test_small_tensors_and_a_share_of_one_are_read_whole() -> None:
    small, large = info("a.weight", 256, 256), info("b.weight", 2048, 1024)
    first, second = draw([small, large], FIVE)
    assert first.pieces == (Piece("a.weight", 0, 65536),)
    assert len(second.pieces) < second.chunks
    for stratum in draw([small, large], Sample(Fraction(1))):
        assert len(stratum.pieces) == stratum.chunks
        assert sum(piece.count for piece in stratum.pieces) == stratum.tensor.elements
    assert draw([info("none.weight", 0, 5)], FIVE)[0].pieces == ()


def test_every_chunk_is_drawn_equally_often_and_a_seed_draws_its_own() -> None:
    tensors = [info("w.weight", 1 << 11, 1 << 10)]
    sizes = (1 << 15,)
    drawn = [draw(tensors, Sample(Fraction(1, 20), seed), chunk_sizes=sizes)[0] for seed in range(4000)]
    assert drawn[7] == draw(tensors, Sample(Fraction(1, 20), 7), chunk_sizes=sizes)[0]
    assert len({stratum.pieces for stratum in drawn[:50]}) == 50
    counts = [0] * drawn[0].chunks
    for stratum in drawn:
        for piece in stratum.pieces:
            counts[piece.first // sizes[0]] += 1
    expected = 4000 * len(drawn[0].pieces) / len(counts)
    # Each count is binomial: five standard deviations, for 64 of them.
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts)


def test_what_is_drawn_of_a_tensor_does_not_depend_on_the_others_order() -> None:
    tensors = [info(f"model.layers.{i}.mlp.up_proj.weight", 2048, 1024) for i in range(4)]
    assert draw(tensors, FIVE) == draw(tensors[::-1], FIVE)[::-1]
    assert len({tuple(piece.first for piece in stratum.pieces) for stratum in draw(tensors, FIVE)}) == 4


Changes = Callable[[random.Random, int], list[float]]
"""Mean squares of the changes of a tensor's chunks, where the weights' mean square is 1."""


def even(chance: random.Random, chunks: int) -> list[float]:
    return [0.015 * chance.gauss(1, 0.01) for _ in range(chunks)]


def drifting(chance: random.Random, chunks: int) -> list[float]:
    """The last rows changed ten times as much as the first."""
    return [0.004 * (1 + 9 * index / chunks) * chance.gauss(1, 0.1) for index in range(chunks)]


def uneven(chance: random.Random, chunks: int) -> list[float]:
    """Log-normal, σ = 0.6: two thirds of the chunks within a factor of three."""
    return [0.015 * math.exp(chance.gauss(0, 0.6)) for _ in range(chunks)]


def wild(chance: random.Random, chunks: int) -> list[float]:
    """Log-normal, σ = 1.2: two thirds of the chunks within a factor of eleven."""
    return [0.008 * math.exp(chance.gauss(0, 1.2)) for _ in range(chunks)]


Population = dict[str, list[tuple[Stratum, list[Sums]]]]


def population(changes: Changes, seed: int, *, worst: float = 1) -> Population:
    """Layers of seven matrices like those of a small model, as the sums of all of their chunks.

    `worst` multiplies the changes of one layer: alone at the bottom, it gives a bound nothing to hide behind.
    """
    chance = random.Random(seed)
    layers: Population = {}
    for layer in range(12):
        for matrix, chunks in enumerate((32, 16, 16, 32, 48, 48, 48)):
            sums = []
            for change in changes(chance, chunks):
                norm = 1000 * chance.gauss(1, 0.02)
                along = chance.gauss(0, 0.01) * norm
                difference = change * norm * (worst if layer == 5 else 1)
                sums.append(Sums(1000, norm + along, norm, norm + 2 * along + difference, difference))
            tensor = info(f"model.layers.{layer}.m{matrix}.weight", chunks, 1000)
            layers.setdefault(f"model.layers.{layer}", []).append((Stratum(tensor, chunks, ()), sums))
    return layers


def look(layers: Population, chance: random.Random, least: int = 8) -> tuple[LayerBound, ...]:
    """The bounds from eight chunks or a tenth of every matrix."""

    def read(observed: tuple[Stratum, list[Sums]]) -> Observed:
        stratum, sums = observed
        return stratum, chance.sample(sums, max(least, math.ceil(len(sums) / 10)))

    return layer_bounds({layer: [read(each) for each in observed] for layer, observed in layers.items()})


REPETITIONS = 400
LEAST = REPETITIONS * 0.95 - 3 * math.sqrt(REPETITIONS * 0.95 * 0.05)
"""Bounds that hold in 95% of the cases hold so often, but for three standard deviations of the binomial."""


@pytest.mark.parametrize(
    "changes",
    [
        drifting,
        wild,
        pytest.param(even, marks=pytest.mark.slow),
        pytest.param(uneven, marks=pytest.mark.slow),
    ],
)
def test_the_worst_layers_bounds_hold_at_least_as_often_as_they_say(changes: Changes) -> None:
    layers = population(changes, seed=1, worst=4)
    truth = layer_bounds(layers)
    assert all(bound.low == bound.cosine == bound.high for bound in truth), "all was read"
    worst = min(bound.cosine for bound in truth)
    chance = random.Random(2)
    looks = [look(layers, chance) for _ in range(REPETITIONS)]
    assert sum(min(bound.low for bound in bounds) <= worst for bounds in looks) >= LEAST
    assert sum(min(bound.high for bound in bounds) >= worst for bounds in looks) >= LEAST


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        (drifting, 2),
        (even, 8),
        pytest.param(drifting, 8, marks=pytest.mark.slow),
        pytest.param(even, 2, marks=pytest.mark.slow),
    ],
)
def test_the_bounds_of_all_layers_hold_together(changes: Changes, least: int) -> None:
    layers = population(changes, seed=1)
    truth = layer_bounds(layers)
    chance = random.Random(2)
    looks = [look(layers, chance, least) for _ in range(REPETITIONS)]
    held = sum(
        all(each.low <= true.cosine <= each.high for each, true in zip(bounds, truth, strict=True))
        for bounds in looks
    )
    assert held >= LEAST


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        (drifting, 2),
        pytest.param(even, 8, marks=pytest.mark.slow),
        pytest.param(drifting, 8, marks=pytest.mark.slow),
    ],
)
def test_the_bounds_of_all_matrices_hold_together(changes: Changes, least: int) -> None:
    layers = population(changes, seed=1)
    matrices = [each for observed in layers.values() for each in observed]
    truth = matrix_bounds(matrices)
    assert all(bound.low == bound.cosine == bound.high for bound in truth), "all was read"
    chance = random.Random(2)
    held = 0
    for _ in range(REPETITIONS):
        read = [(stratum, chance.sample(sums, max(least, len(sums) // 10))) for stratum, sums in matrices]
        bounds = matrix_bounds(read)
        held += all(each.low <= true.cosine <= each.high for each, true in zip(bounds, truth, strict=True))
    assert held >= LEAST


def test_two_chunks_of_a_matrix_are_enough_because_its_kind_says_how_much_chunks_differ() -> None:
    chance = random.Random(3)
    layers = population(even, seed=1)
    read = [(s, chance.sample(sums, 2)) for observed in layers.values() for s, sums in observed]
    together = matrix_bounds(read)
    assert min(bound.low for bound in together) > 0.985
    alone = [matrix_bounds([each], confidence=0.9999)[0] for each in read]
    assert min(bound.low for bound in alone) < 0.5


def test_the_bounds_are_of_use_and_not_only_safe() -> None:
    layers = population(even, seed=1)
    bounds = look(layers, random.Random(3))
    assert min(bound.low for bound in bounds) > 0.985
    assert all(bound.high - bound.low < 0.01 for bound in bounds)


def test_a_larger_sample_gives_tighter_bounds() -> None:
    def width(tenths: int) -> float:
        chance = random.Random(4)
        layers = {
            layer: [(s, chance.sample(sums, len(sums) * tenths // 10)) for s, sums in observed]
            for layer, observed in population(uneven, seed=5).items()
        }
        return max(bound.high - bound.low for bound in layer_bounds(layers))

    assert width(3) > width(6) > width(9) > width(10) == 0


def test_more_layers_and_more_confidence_make_wider_bounds() -> None:
    layers = {name: [(s, sums[:5]) for s, sums in observed] for name, observed in population(even, 1).items()}
    one = {"model.layers.0": layers["model.layers.0"]}
    low, alone = layer_bounds(layers)[0].low, layer_bounds(one)[0].low
    assert low < alone
    assert layer_bounds(one, confidence=0.999)[0].low < alone


def test_a_layer_that_is_zero_in_all_that_was_read_proves_nothing() -> None:
    tensor = Stratum(info("w.weight", 10, 10), 10, ())
    (bound,) = layer_bounds({"w": [(tensor, [Sums(10), Sums(10)])]})
    assert (bound.low, bound.high) == (-1, 1)


def big_tensors(seed: int, layers: int = 4) -> dict[str, Tensor]:
    """Large enough for a sample to leave something out."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, Sequence[int]] = {"self_attn.q_proj": (1024, 1024), "mlp.up_proj": (1536, 1024)}
    return {
        f"model.layers.{layer}.{module}.weight": torch.randn(*shape, generator=generator).bfloat16()
        for layer in range(layers)
        for module, shape in shapes.items()
    }


def sampled(
    tmp_path: Path, left: dict[str, Tensor], right: dict[str, Tensor], sample: Sample = FIVE
) -> WeightsReport:
    folders = write_checkpoint(tmp_path / "i", left), write_checkpoint(tmp_path / "t", right)
    return weights_of(*open_both(*map(str, folders)), sample=sample)


def test_a_connected_pair_is_decided_by_a_sample_and_near_the_truth(tmp_path: Path) -> None:
    left = big_tensors(0)
    right = near(left, noise=0.05)
    report = sampled(tmp_path, left, right)
    sides = open_both(str(tmp_path / "i"), str(tmp_path / "t"))
    truth = weights_of(*sides)
    assert report.verdict == truth.verdict == "connected"
    found = report.sample
    assert found is not None
    assert found.low <= truth.worst_cosine <= found.high
    assert report.worst_cosine == pytest.approx(truth.worst_cosine, abs=1e-4)
    assert report.worst_cosine == min(bound.cosine for bound in found.layers)
    seen: list[tuple[int, int]] = []
    weights_of(*sides, sample=FIVE, on_bytes=lambda done, total: seen.append((done, total)))
    assert found.total_bytes == float_bytes(*sides)
    assert seen[-1] == (found.read_bytes, found.read_bytes)
    assert found.read_bytes < 0.1 * found.total_bytes
    assert [tensor.similarity.elements for tensor in report.tensors] == [
        tensor.similarity.elements for tensor in truth.tensors
    ]
    for estimate, exact in zip(report.layers, truth.layers, strict=True):
        assert estimate.matrices is not None
        assert exact.matrices is not None
        assert estimate.matrices.sign_agreement == pytest.approx(exact.matrices.sign_agreement, abs=0.01)


def test_a_broken_layer_is_named_from_a_sample_of_five_percent(tmp_path: Path) -> None:
    left = big_tensors(0)
    right = near(left, noise=0.01)
    broken = "model.layers.2.mlp.up_proj.weight"
    right[broken] = big_tensors(9)[broken]
    report = sampled(tmp_path, left, right)
    assert (report.verdict, report.worst_layer) == ("not connected", "model.layers.2")
    assert report.sample is not None
    assert report.sample.high < 0.95


def test_a_layer_broken_in_half_its_rows_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    left = big_tensors(0)
    right = near(left, noise=0.01)
    broken = "model.layers.2.mlp.up_proj.weight"
    right[broken][::2] = big_tensors(9)[broken][::2]
    right[broken][768:] = left[broken][768:]
    for seed in range(5):
        report = sampled(tmp_path / str(seed), left, right, Sample(Fraction(1, 20), seed))
        assert report.verdict in {"undecided", "not connected"}, seed


def test_a_pair_at_the_threshold_is_left_undecided(tmp_path: Path) -> None:
    left = big_tensors(0)
    report = sampled(tmp_path, left, near(left, noise=math.sqrt(0.0203)))
    assert report.verdict == "undecided"
    assert not report.connected
    assert report.sample is not None
    assert report.sample.low < 0.99 <= report.sample.high


def test_a_pair_that_is_clearly_between_the_limits_is_doubtful(tmp_path: Path) -> None:
    left = big_tensors(0)
    assert sampled(tmp_path, left, near(left, noise=0.25)).verdict == "doubtful"


def test_a_sample_of_everything_is_the_whole_comparison(tmp_path: Path) -> None:
    left = big_tensors(0, layers=1) | {"model.norm.weight": torch.ones(8, dtype=torch.bfloat16)}
    report = sampled(tmp_path, left, near(left), Sample(Fraction(1)))
    whole = weights_of(*open_both(str(tmp_path / "i"), str(tmp_path / "t")))
    assert report.sample is not None
    assert report.sample.low == report.sample.high == whole.worst_cosine
    assert (report.layers, report.tensors) == (whole.layers, whole.tensors)


def test_tiny_models_are_read_whole(tmp_path: Path) -> None:
    left = random_tensors(0)
    report = sampled(tmp_path, left, near(left))
    assert report.sample is not None
    assert report.sample.read_bytes == report.sample.total_bytes
    assert report.verdict == "connected"


def test_an_equal_seed_gives_an_equal_report_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = big_tensors(0)
    right = near(left, noise=0.05)
    first = sampled(tmp_path, left, right)
    monkeypatch.setattr(stream_module, "cpu_workers", lambda: 7)
    sides = open_both(str(tmp_path / "i"), str(tmp_path / "t"))
    assert weights_of(*sides, sample=FIVE) == first
    other = weights_of(*sides, sample=Sample(FIVE.share, seed=1))
    assert other.worst_cosine != first.worst_cosine


def test_having_read_half_of_a_matrix_narrows_the_bound_by_the_root_of_a_half() -> None:
    (_, sums), *_ = population(uneven, seed=1)["model.layers.0"]

    def reach(chunks: int) -> float:
        stratum = Stratum(info("w.weight", chunks, 1000), chunks, ())
        (bound,) = layer_bounds({"w": [(stratum, sums)]})
        return math.log((1 - bound.low) / (1 - bound.cosine))

    many = 1000 * len(sums)
    assert reach(2 * len(sums)) / reach(many) == pytest.approx(math.sqrt(0.5 / 0.999), rel=1e-6)
