"""A live model holds the bits of the checkpoint that `dami-merge grid` builds, at every λ, in one storage."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

import dami_merge.live.model
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both, open_source
from dami_merge.errors import DamiMergeError, InputRefused, LambdaError, UsageError
from dami_merge.grid.build import build_grid
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import bundled_recipe
from dami_merge.lambdas import even_grid, folder_name
from dami_merge.live import LiveModel, load_live
from dami_merge.live.loading import load_checkpoint
from dami_merge.optional import install_hint
from dami_merge.router.route import Router
from dami_merge.tensors.compiled import compiled_interpolate
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.kernels import TORCH, Kernel
from tests.checkpoints import write_checkpoint
from tests.grid.grids import expected, plan_of, raw

TENTHS = even_grid(10)
TINY = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2}


def mixture() -> PreTrainedModel:
    return Qwen3MoeForCausalLM(Qwen3MoeConfig.from_dict({**TINY, **EXPERTS}))


def tied_dense() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config.from_dict({**TINY, "tie_word_embeddings": True}))


def saved_pair(make: Callable[[], PreTrainedModel], folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    model = make().bfloat16()
    model.save_pretrained(folder / "instruct")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(folder / "thinking")
    return folder / "instruct", folder / "thinking"


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def assert_same_bits(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert tensor.dtype == wanted[name].dtype, name
        assert raw(tensor.cpu()) == raw(wanted[name].cpu()), name


@pytest.fixture(scope="module")
def bundled_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundled") / "grid"
    pair = join(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING))
    build_grid(make_plan(msgspec.structs.replace(bundled_recipe(), lambdas=TENTHS), pair, output))
    return output


@pytest.mark.parametrize("offload", [False, True])
def test_every_lambda_of_the_bundled_pair_has_the_bits_of_its_checkpoint_in_the_same_storage(
    bundled_grid: Path, device: str, offload: bool
) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device=device, offload=offload)
    assert live.lam == 1
    assert not model.training
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    for lam in (*TENTHS[::2], *TENTHS[1::2]):
        assert live.set_lambda(lam) == live.lam == lam
        assert_same_bits(model.state_dict(), loaded(bundled_grid / folder_name(lam)).state_dict())
    assert before == {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}


def test_a_checkpoint_is_loaded_in_memory_of_its_own_and_in_the_dtype_that_is_named(
    bundled_grid: Path, device: str
) -> None:
    folder = bundled_grid / "lambda-0.40"
    model = load_checkpoint(open_source(str(folder)), device=device)
    assert not model.training
    assert_same_bits(model.state_dict(), loaded(folder).state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert any(tensor.any() for tensor in loaded(folder).state_dict().values())
    narrow = load_checkpoint(open_source(str(folder)), device=device, dtype="bfloat16")
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
    with pytest.raises(UsageError, match="'int8' is not a dtype for weights"):
        load_checkpoint(open_source(str(folder)), device=device, dtype="int8")


def test_the_model_generates_what_the_checkpoint_generates(bundled_grid: Path, device: str) -> None:
    model: Any = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device=device)
    model, live = model
    prompt = torch.tensor([[5, 9, 6, 8, 7, 4]], device=device)
    options = {"do_sample": False, "max_new_tokens": 24, "temperature": None}
    for lam in (Fraction(0), Fraction(3, 10), Fraction(1)):
        live.set_lambda(lam)
        found = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        checkpoint = loaded(bundled_grid / folder_name(lam)).to(device)
        wanted = checkpoint.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        assert found.shape[1] > prompt.shape[1]
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("make", [mixture, tied_dense])
@pytest.mark.parametrize("offload", [False, True])
def test_fused_experts_and_tied_embeddings_have_the_bits_of_the_checkpoint(
    make: Callable[[], PreTrainedModel], tmp_path: Path, device: str, offload: bool
) -> None:
    folders = saved_pair(make, tmp_path)
    lambdas = (Fraction(0), Fraction(1, 3), Fraction(7, 10), Fraction(1))
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=lambdas))
    model, live = load_live(str(folders[0]), str(folders[1]), device=device, offload=offload)
    for lam in lambdas:
        live.set_lambda(lam)
        assert_same_bits(model.state_dict(), loaded(tmp_path / "grid" / folder_name(lam)).state_dict())


def test_experts_are_fused_in_the_model_that_the_tests_use(tmp_path: Path) -> None:
    folders = saved_pair(mixture, tmp_path)
    stored = set(open_both(str(folders[0]), str(folders[1]))[0].tensors())
    assert not set(load_live(str(folders[0]), str(folders[1]), device="cpu")[0].state_dict()) <= stored


def test_files_that_change_or_shrink_after_loading_change_nothing(tmp_path: Path, device: str) -> None:
    folders = saved_pair(tied_dense, tmp_path)
    model, live = load_live(str(folders[0]), str(folders[1]), device=device, offload=True)
    live.set_lambda("1/2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for folder in folders:
        size = (folder / "model.safetensors").stat().st_size
        with (folder / "model.safetensors").open("r+b") as file:
            file.write(b"\x11" * size)
            file.truncate(size // 2)
    live.set_lambda("0.9")
    live.set_lambda("1/2")
    assert_same_bits(model.state_dict(), before)
    weights = model.state_dict()
    assert weights["lm_head.weight"].data_ptr() == weights["model.embed_tokens.weight"].data_ptr()


def test_a_dtype_gives_the_bits_of_a_grid_in_that_dtype(tmp_path: Path, device: str) -> None:
    folders = saved_pair(mixture, tmp_path)
    for dtype in ("float16", "float32"):
        output = tmp_path / dtype
        build_grid(plan_of(folders, output, lambdas=(Fraction(0), Fraction(3, 10)), dtype=dtype))
        model, live = load_live(str(folders[0]), str(folders[1]), device=device, dtype=dtype)
        for lam in (Fraction(0), Fraction(3, 10)):
            live.set_lambda(lam)
            assert_same_bits(model.state_dict(), loaded(output / folder_name(lam)).state_dict())


def sides(device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "matrix": torch.randn(5, 7, generator=generator).to(dtype).to(device),
            "vector": torch.randn(11, generator=generator).to(dtype).to(device),
            "empty": torch.empty(0, 3, dtype=dtype, device=device),
            "scalar": torch.randn((), generator=generator).to(dtype).to(device),
            "count": torch.tensor([1, 2, 3], device=device),
        }
        for _ in range(2)
    ]


def blank(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in like.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("slice_elements", [3, 1 << 24])
def test_the_bits_depend_neither_on_the_last_lambda_nor_on_the_size_of_a_slice(
    dtype: torch.dtype, slice_elements: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dami_merge.live.model, "SLICE_ELEMENTS", slice_elements)
    instruct, thinking = sides(device, dtype)
    parameters = blank(instruct)
    live = LiveModel(parameters, instruct, thinking)
    for lam in ("0.1", "0.9", "0", "1/3", "1", "0.9"):
        live.set_lambda(lam)
        for name, tensor in parameters.items():
            want = expected(instruct[name].cpu(), thinking[name].cpu(), Fraction(lam), tensor.dtype)
            assert raw(tensor.cpu()) == raw(want), name


def test_an_endpoint_that_is_the_model_itself_is_copied_first(device: str) -> None:
    instruct, thinking = sides(device)
    kept = thinking["matrix"].clone()
    live = LiveModel(thinking, instruct, thinking)
    live.set_lambda(0)
    assert torch.equal(thinking["matrix"], instruct["matrix"])
    live.set_lambda(1)
    assert torch.equal(thinking["matrix"], kept)


def test_a_transposed_parameter_is_written_in_its_own_layout(device: str) -> None:
    instruct, thinking = sides(device)
    target = torch.zeros(7, 5, dtype=torch.bfloat16, device=device).t()
    only = ({"matrix": side["matrix"]} for side in (instruct, thinking))
    LiveModel({"matrix": target}, *only).set_lambda("1/2")
    want = expected(instruct["matrix"].cpu(), thinking["matrix"].cpu(), Fraction(1, 2), torch.bfloat16)
    assert torch.equal(target.cpu(), want)
    assert not target.is_contiguous()


def test_parameters_that_need_gradients_stay_leaves(device: str) -> None:
    layer = torch.nn.Linear(3, 2, device=device)
    ends = [{name: torch.randn_like(tensor) for name, tensor in layer.state_dict().items()} for _ in range(2)]
    LiveModel(dict(layer.named_parameters()), *ends).set_lambda("0.5")
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad
    assert layer.weight.grad_fn is None


def test_of_tied_names_one_in_the_endpoints_is_enough() -> None:
    shared = torch.zeros(3)
    live = LiveModel({"head": shared, "embed": shared}, {"embed": torch.ones(3)}, {"embed": torch.zeros(3)})
    live.set_lambda("1/4")
    assert shared.tolist() == [0.75] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is made for Linux")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_every_form_of_the_arithmetic_gives_the_same_parameters(dtype: torch.dtype, device: str) -> None:
    """Triton writes all 16-bit tensors in one launch, others one by one, and the ends as copies."""
    from dami_merge.tensors.fused import FusedWeights, fused_interpolate

    generator = torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = {"a": (70, 1000), "b": (3,), "c": (1,), "d": (64, 33), "e": (0, 4)}
    ends = [
        {name: torch.randn(shape, generator=generator).to(dtype).to(device) for name, shape in shapes.items()}
        for _ in range(2)
    ]
    for end in ends:
        end["wide"] = torch.randn(9, generator=generator).to(device)
        end["mask"] = torch.ones(5, dtype=torch.bool, device=device)
    forms = [TORCH, Kernel("triton", fused_interpolate, FusedWeights)]
    if device == "cpu":
        forms.append(Kernel("numba", compiled_interpolate, one_core=True))
    found = []
    for form in forms:
        parameters = blank(ends[0])
        live = LiveModel(parameters, ends[0], ends[1], kernel=form)
        states = []
        for lam in ("0", "3/10", "1", "1/4096"):
            live.set_lambda(lam)
            states.append({name: raw(tensor.cpu()) for name, tensor in parameters.items()})
        found.append(states)
    assert all(states == found[0] for states in found)
    assert found[0][0]["a"] == raw(ends[0]["a"].cpu())
    assert found[0][1] != found[0][3]


def test_lambda_is_unknown_before_the_first_and_after_an_unfinished_one() -> None:
    instruct, thinking = sides()
    memory = [True]

    def scarce(
        instruct: Tensor,
        thinking: Tensor,
        lambdas: Sequence[Fraction],
        out: Tensor,
        nonfinite: Tensor | None = None,
    ) -> None:
        if not memory:
            raise MemoryError
        interpolate(instruct, thinking, lambdas, out, nonfinite)

    live = LiveModel(blank(instruct), instruct, thinking, kernel=Kernel("scarce", scarce))
    assert live.lam is None
    live.set_lambda(0.3)
    assert live.lam == Fraction(3, 10)
    memory.clear()
    with pytest.raises(MemoryError):
        live.set_lambda(0.4)
    assert live.lam is None


@pytest.mark.parametrize("lam", [1.5, "-1/4097", float("nan")])
def test_what_is_no_lambda_is_refused_and_writes_nothing(lam: float | str) -> None:
    instruct, thinking = sides()
    parameters = blank(instruct)
    live = LiveModel(parameters, instruct, thinking)
    live.set_lambda(0)
    with pytest.raises(LambdaError, match="λ = "):
        live.set_lambda(lam)
    assert live.lam == 0
    assert torch.equal(parameters["matrix"], instruct["matrix"])


@pytest.mark.parametrize(
    ("wanted", "set_to"),
    [
        (0.3712345678, Fraction(875, 2357)),
        (1 / 3, Fraction(1, 3)),
        ("1/4097", Fraction(1, 4096)),
        (1e-9, Fraction(0)),
        (1 - 1e-9, Fraction(1)),
        ("4095/4096", Fraction(4095, 4096)),
    ],
)
def test_what_a_router_wants_is_set_as_the_nearest_lambda_that_a_grid_could_hold(
    tiny_grid: Path, wanted: float | str, set_to: Fraction
) -> None:
    route = Router.from_grid(tiny_grid, estimator=lambda _: wanted).route("1 + 1")
    assert route.wanted is not None
    instruct, thinking = sides()
    parameters, others = blank(instruct), blank(instruct)
    live = LiveModel(parameters, instruct, thinking)
    assert live.set_lambda(route.wanted) == live.lam == set_to
    assert abs(set_to - route.wanted) <= Fraction(1, 8192)
    LiveModel(others, instruct, thinking).set_lambda(set_to)
    assert {name: raw(tensor) for name, tensor in parameters.items()} == {
        name: raw(tensor) for name, tensor in others.items()
    }


def test_all_differences_in_names_shapes_and_dtypes_are_told_at_once() -> None:
    instruct, thinking = sides()
    parameters = blank(instruct)
    parameters["gap"] = torch.zeros(4, 4)[:, :2]
    parameters["ghost"] = torch.zeros(2, device="meta")
    instruct |= {"gap": torch.zeros(4, 2), "ghost": torch.zeros(2, device="meta"), "extra": torch.zeros(1)}
    thinking |= {"gap": torch.zeros(4, 2), "ghost": torch.zeros(2), "vector": torch.zeros(12)}
    del thinking["scalar"]
    instruct["count"] = torch.zeros(3)
    with pytest.raises(InputRefused, match="'extra' is in instruct but not in the model") as caught:
        LiveModel(parameters, instruct, thinking)
    assert [problem.message for problem in caught.value.problems] == [
        "'extra' is in instruct but not in the model",
        "'scalar' is in the model but not in thinking",
        "'vector' is [12] in thinking and [11] in the model",
        "'count' is torch.float32 in instruct and torch.int64 in the model",
        "'gap' has gaps or overlaps in memory",
        "'ghost' has no data (meta device)",
        "'ghost' has no data in instruct (meta device)",
    ]


def test_a_tied_name_that_only_one_side_has_is_refused() -> None:
    shared, ones = torch.zeros(3), torch.ones(3)
    with pytest.raises(InputRefused, match="'head' is only in thinking"):
        LiveModel({"head": shared, "embed": shared}, {"embed": ones}, {"embed": ones, "head": ones})


def test_endpoints_that_differ_where_the_model_ties_are_refused() -> None:
    shared, ones = torch.zeros(3), torch.ones(3)
    ends = {"embed": ones, "head": ones.clone()}, {"embed": ones, "head": 2 * ones}
    with pytest.raises(InputRefused, match="ties 'head' and 'embed', which differ in thinking"):
        LiveModel({"head": shared, "embed": shared}, *ends)


def test_float8_is_refused() -> None:
    weights = {"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    with pytest.raises(InputRefused, match="only bfloat16, float16, float32 and float64 can be mixed"):
        LiveModel(blank(weights), weights, weights)


def test_integers_that_differ_and_nan_are_refused_by_name_and_nan_can_be_allowed() -> None:
    instruct, thinking = sides()
    thinking["count"] = thinking["count"] + 1
    instruct["vector"][3] = float("nan")
    with pytest.raises(InputRefused, match="'vector' holds NaN or Inf in instruct") as caught:
        LiveModel(blank(instruct), instruct, thinking)
    assert [problem.code for problem in caught.value.problems] == ["nonfinite", "integer-differs"]
    thinking["count"] = instruct["count"]
    parameters = blank(instruct)
    LiveModel(parameters, instruct, thinking, allow_nonfinite=True).set_lambda("1/2")
    assert parameters["vector"].isnan().tolist() == [place == 3 for place in range(11)]


def test_a_pair_that_the_grid_refuses_is_refused() -> None:
    with pytest.raises(InputRefused, match="bundled:tiny/nothing is not a bundled model"):
        load_live(BUNDLED_INSTRUCT, "bundled:tiny/nothing")


def test_a_dtype_that_is_no_weight_dtype_is_refused() -> None:
    with pytest.raises(UsageError, match="'int8' is not a dtype for weights"):
        load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, dtype="int8")


def test_without_transformers_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DamiMergeError, match="load_live needs transformers") as caught:
        load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    assert caught.value.hint == install_hint("live")


def rewritten(
    folder: Path, target: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]
) -> Path:
    """A copy of a saved model with other tensors or another config."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    change(tensors, config)
    return write_checkpoint(target, tensors, config=config)


def test_a_stored_dtype_that_the_loader_changes_is_refused_unless_a_dtype_is_named(tmp_path: Path) -> None:
    def widen(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        tensors["model.norm.weight"] = tensors["model.norm.weight"].float()

    def widen_experts(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        tensors.update({name: value.float() for name, value in tensors.items() if ".experts." in name})

    folders = saved_pair(mixture, tmp_path)
    wide = [str(rewritten(folder, tmp_path / f"wide-{folder.name}", widen)) for folder in folders]
    with pytest.raises(InputRefused, match=r"'model\.norm\.weight' from torch\.float32 to torch\.bfloat16"):
        load_live(*wide)
    model, live = load_live(*wide, dtype="bfloat16")
    assert live.set_lambda("1/2") == Fraction(1, 2)
    assert model.dtype == torch.bfloat16
    fused = [str(rewritten(folder, tmp_path / f"fused-{folder.name}", widen_experts)) for folder in folders]
    with pytest.raises(InputRefused, match=r"renamed tensors from torch\.float32 to torch\.bfloat16"):
        load_live(*fused)


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    def drop(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        del tensors["model.norm.weight"]

    folders = saved_pair(tied_dense, tmp_path)
    lacking = [str(rewritten(folder, tmp_path / f"less-{folder.name}", drop)) for folder in folders]
    with pytest.raises(
        InputRefused, match=r"'model.norm.weight' is missing from the checkpoint \(1 missing in total\)"
    ):
        load_live(*lacking)


def test_a_model_that_transformers_does_not_know_is_refused_with_the_way_out(tmp_path: Path) -> None:
    def rename(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        config["model_type"] = "of-tomorrow"

    folders = saved_pair(tied_dense, tmp_path)
    unknown = [str(rewritten(folder, tmp_path / f"new-{folder.name}", rename)) for folder in folders]
    with pytest.raises(
        InputRefused, match=r"transformers cannot load .*new-instruct: .*pass their state dicts"
    ):
        load_live(*unknown)


def test_a_generation_config_that_transformers_cannot_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "thinking"
    shutil.copytree(open_source(BUNDLED_THINKING).root, folder)
    (folder / "generation_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputRefused, match=r"transformers cannot load .*: 'list' object is not a mapping"):
        load_checkpoint(open_source(str(folder)))
