"""Two checkpoints: joined, or refused with every reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.checkpoint.folder import open_folder
from dami_merge.checkpoint.pair import Pair, join
from dami_merge.checkpoint.tensor_sets import UNTIE
from dami_merge.errors import InputRefused, Problem
from tests.checkpoints import CONFIG, TOKENIZER, TOKENIZER_CONFIG, near, random_tensors, write_checkpoint

NORM = "model.norm.weight"


class Sides:
    """Both sides on disk; a test changes one of them before they are joined."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tensors = random_tensors(seed=0)
        self.other = near(self.tensors)
        self.config: dict[str, object] = dict(CONFIG)
        self.other_config: dict[str, object] = dict(CONFIG)
        self.other_tokenizer: dict[str, object] = dict(TOKENIZER)
        self.other_tokenizer_config: dict[str, object] = dict(TOKENIZER_CONFIG)

    def join(self, *allow: str, mixed_dtypes: bool = False) -> Pair:
        instruct = write_checkpoint(self.root / "i", self.tensors, config=self.config)
        thinking = write_checkpoint(
            self.root / "t",
            self.other,
            config=self.other_config,
            tokenizer=self.other_tokenizer,
            tokenizer_config=self.other_tokenizer_config,
        )
        left, right = open_folder(instruct, spec="org/i"), open_folder(thinking, spec="org/t")
        return join(left, right, allow=allow, mixed_dtypes=mixed_dtypes)

    def problems(self, *allow: str, mixed_dtypes: bool = False) -> tuple[Problem, ...]:
        with pytest.raises(InputRefused, match=r"\w") as refused:
            self.join(*allow, mixed_dtypes=mixed_dtypes)
        return refused.value.problems


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def test_a_connected_pair_is_joined_without_a_word(sides: Sides) -> None:
    pair = sides.join()
    assert (pair.instruct.spec, pair.thinking.spec) == ("org/i", "org/t")
    assert (pair.notes, pair.allowed) == ((), ())


def test_sides_that_are_sharded_differently_are_matched_by_name(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    names = list(tensors)
    instruct = write_checkpoint(tmp_path / "i", tensors, shards=[names[:2], names[2:]])
    thinking = write_checkpoint(tmp_path / "t", tensors, shards=[names[5:], names[1:5], names[:1]])
    pair = join(open_folder(instruct, spec="i"), open_folder(thinking, spec="t"))
    assert pair.notes == ()


def set_shape(sides: Sides) -> None:
    sides.other[NORM] = torch.zeros(2, 4, dtype=torch.bfloat16)


def set_dtype(sides: Sides) -> None:
    sides.other[NORM] = sides.other[NORM].to(torch.float32)


def set_integer(sides: Sides) -> None:
    sides.other[NORM] = torch.zeros(8, dtype=torch.int64)


def set_complex(sides: Sides) -> None:
    sides.tensors["z"] = sides.other["z"] = torch.zeros(2, dtype=torch.complex64)


def add_left(sides: Sides) -> None:
    sides.tensors["extra"] = torch.zeros(1)


def add_right(sides: Sides) -> None:
    sides.other["extra"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "code", "message", "hint"),
    [
        (set_shape, "shape", f"'{NORM}' is [8] in instruct and [2, 4] in thinking", ""),
        (
            set_dtype,
            "dtype",
            f"'{NORM}' is BF16 in instruct and F32 in thinking",
            "choose the dtype to write with --dtype",
        ),
        (set_integer, "dtype", f"'{NORM}' is BF16 in instruct and I64 in thinking", ""),
        (
            set_complex,
            "dtype",
            "'z' is C64, which is neither a plain float nor an integer",
            "use an unquantised repository of the same model",
        ),
        (add_left, "key-set", "'extra' is only in instruct", ""),
        (add_right, "key-set", "'extra' is only in thinking", ""),
    ],
)
def test_a_tensor_that_differs_is_refused_with_both_values(
    sides: Sides, change: Callable[[Sides], None], code: str, message: str, hint: str
) -> None:
    change(sides)
    assert sides.problems() == (Problem(code, message, hint),)


def test_float_dtypes_may_differ_when_the_dtype_to_write_is_given(sides: Sides) -> None:
    set_dtype(sides)
    assert sides.join(mixed_dtypes=True).allowed == ()


def test_an_integer_against_a_float_is_refused_even_when_the_dtype_to_write_is_given(sides: Sides) -> None:
    set_integer(sides)
    assert [problem.code for problem in sides.problems(mixed_dtypes=True)] == ["dtype"]


def test_integers_of_one_dtype_are_joined(sides: Sides) -> None:
    sides.tensors["position_ids"] = sides.other["position_ids"] = torch.arange(4)
    assert "position_ids" in sides.join().instruct.tensors()


@pytest.mark.parametrize(
    ("left", "right", "code", "message", "hint"),
    [
        (
            {"tie_word_embeddings": False},
            {"tie_word_embeddings": True},
            "tied-embeddings",
            "tie_word_embeddings: False in instruct, True in thinking; one side's output layer would be lost",
            UNTIE,
        ),
        (
            {"text_config": {"tie_word_embeddings": True}},
            {"text_config": {}},
            "tied-embeddings",
            "text_config.tie_word_embeddings: True in instruct, None in thinking;"
            " one side's output layer would be lost",
            UNTIE,
        ),
        (
            {},
            {"architectures": ["Qwen3ForCausalLM"]},
            "architecture",
            "architectures: ['LlamaForCausalLM'] in instruct, ['Qwen3ForCausalLM'] in thinking",
            "interpolate two fine-tunes of one base",
        ),
        (
            {},
            {"model_type": "qwen3"},
            "architecture",
            "model_type: 'llama' in instruct, 'qwen3' in thinking",
            "interpolate two fine-tunes of one base",
        ),
    ],
)
def test_another_architecture_or_tie_is_refused_and_cannot_be_waived(
    sides: Sides, left: dict[str, object], right: dict[str, object], code: str, message: str, hint: str
) -> None:
    sides.config.update(left)
    sides.other_config.update(right)
    allow = ("tie_word_embeddings", "text_config.tie_word_embeddings", "architectures", "model_type")
    assert sides.problems(*allow) == (Problem(code, message, hint),)


@pytest.mark.parametrize(
    ("field", "left", "right"),
    [
        ("rope_theta", 10000.0, 500000.0),
        ("rms_norm_eps", 1e-5, 1e-6),
        ("num_attention_heads", 2, 4),
        ("sliding_window", None, 4096),
    ],
)
def test_a_config_field_of_the_forward_pass_is_refused_and_can_be_waived(
    sides: Sides, field: str, left: object, right: object
) -> None:
    sides.config[field], sides.other_config[field] = left, right
    expected = Problem(
        "config",
        f"config {field}: {left!r} in instruct, {right!r} in thinking",
        f"if both define the same forward pass, pass --allow-config {field}",
        field,
    )
    assert sides.problems() == (expected,)
    sides.root = sides.root / "again"
    pair = sides.join(field)
    assert pair.allowed == (field,)
    assert pair.notes == ()


def test_the_newer_rope_layout_of_the_same_meaning_is_no_difference(sides: Sides) -> None:
    del sides.other_config["rope_theta"]
    sides.other_config["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "default"}
    assert sides.join().notes == ()


def test_a_waived_field_waives_no_other_one(sides: Sides) -> None:
    sides.other_config.update(rope_theta=1.0, hidden_act="gelu")
    assert [problem.field for problem in sides.problems("rope_theta")] == ["hidden_act"]


def test_several_waived_fields_are_recorded_in_order(sides: Sides) -> None:
    sides.other_config.update(rope_theta=1.0, hidden_act="gelu")
    sides.other_tokenizer_config["eos_token"] = "<pad>"
    pair = sides.join("tokenizer.eos_token", "rope_theta", "hidden_act", "rope_theta")
    assert pair.allowed == ("hidden_act", "rope_theta", "tokenizer.eos_token")


def test_a_waiver_that_was_not_needed_is_a_note(sides: Sides) -> None:
    pair = sides.join("rope_theta", "hidden_size")
    assert pair.allowed == ()
    assert pair.notes == tuple(
        f"--allow-config {field} was not needed: it waives no difference"
        for field in ("hidden_size", "rope_theta")
    )


def test_an_empty_waiver_does_not_waive_what_cannot_be_waived(sides: Sides) -> None:
    add_left(sides)
    assert [problem.code for problem in sides.problems("")] == ["key-set"]


def test_neutral_fields_are_notes(sides: Sides) -> None:
    sides.other_config.update(transformers_version="5.0", max_position_embeddings=262144)
    assert sides.join().notes == (
        "config max_position_embeddings: None in instruct, 262144 in thinking;"
        " the forward pass does not depend on it",
        "config transformers_version: None in instruct, '5.0' in thinking;"
        " the forward pass does not depend on it",
    )


def test_the_context_length_is_refused_where_the_angles_depend_on_it(sides: Sides) -> None:
    rope = {"rope_scaling": {"type": "yarn", "factor": 4.0}}
    sides.config.update(rope, max_position_embeddings=4096)
    sides.other_config.update(rope, max_position_embeddings=8192)
    (problem,) = sides.problems()
    assert (problem.code, problem.field) == ("config", "max_position_embeddings")


def test_a_quantised_side_is_refused_with_its_name(sides: Sides) -> None:
    sides.other_config["quantization_config"] = {"quant_method": "gptq"}
    (problem,) = sides.problems()
    assert problem.code == "quantized"
    assert problem.message.startswith("org/t is quantised (gptq)")


def test_special_tokens_and_templates_reach_the_report(sides: Sides) -> None:
    sides.other_tokenizer_config.update(eos_token="<pad>", chat_template="{{ x }}")
    pair = sides.join("tokenizer.eos_token")
    assert pair.allowed == ("tokenizer.eos_token",)
    assert pair.notes == ("the chat templates differ: each checkpoint takes its donor's",)


def test_one_folder_for_both_sides_is_joined_with_a_warning(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", random_tensors(seed=0))
    (tmp_path / "link").symlink_to(folder)
    pair = join(open_folder(folder, spec="m"), open_folder(tmp_path / "link", spec="link"))
    assert pair.notes == ("warning: both sides are the same checkpoint, so every λ gives that checkpoint",)


def test_every_difference_is_collected_and_five_are_shown_with_the_count(sides: Sides) -> None:
    add_left(sides)
    set_shape(sides)
    sides.other_config.update(rope_theta=1.0, hidden_act="gelu", model_type="qwen3", tie_word_embeddings=True)
    sides.other_config["quantization_config"] = {"quant_method": "awq"}
    sides.other_tokenizer_config["eos_token"] = "<pad>"
    with pytest.raises(InputRefused, match=r"… and 3 more \(--json lists all 8\)$") as refused:
        sides.join()
    assert [problem.code for problem in refused.value.problems] == [
        "quantized", "config", "architecture", "config", "tied-embeddings", "key-set", "shape",
        "special-token",
    ]  # fmt: skip
    assert len(str(refused.value).splitlines()) == 6


def test_a_pair_of_another_size_names_all_tensors_that_differ_with_layers_counted(sides: Sides) -> None:
    wider: dict[str, Tensor] = {
        name: tensor.repeat_interleave(2, 0) for name, tensor in sides.tensors.items()
    }
    sides.other = wider
    assert [problem.message for problem in sides.problems()] == [
        "'lm_head.weight' is [12, 8] in instruct and [24, 8] in thinking",
        "'model.embed_tokens.weight' is [12, 8] in instruct and [24, 8] in thinking",
        "'model.layers.*.input_layernorm.weight' (2 tensors) is [8] in instruct and [16] in thinking",
        "'model.layers.*.mlp.up_proj.weight' (2 tensors) is [16, 8] in instruct and [32, 8] in thinking",
        "'model.layers.*.self_attn.q_proj.weight' (2 tensors) is [8, 8] in instruct and [16, 8] in thinking",
        "'model.norm.weight' is [8] in instruct and [16] in thinking",
    ]


def test_a_pair_of_two_dtypes_is_one_problem(sides: Sides) -> None:
    sides.other = {name: tensor.float() for name, tensor in sides.other.items()}
    sides.other["model.norm.weight"] = sides.other["model.norm.weight"].half()
    assert [(problem.message, problem.hint) for problem in sides.problems()] == [
        (
            "8 tensors, such as 'lm_head.weight', are BF16 in instruct and F32 in thinking",
            "choose the dtype to write with --dtype",
        ),
        (
            "'model.norm.weight' is BF16 in instruct and F16 in thinking",
            "choose the dtype to write with --dtype",
        ),
    ]


def test_a_layer_that_only_one_side_has_is_counted_by_kind(sides: Sides) -> None:
    for layer in (2, 3):
        for part in ("self_attn.q_proj.weight", "mlp.up_proj.weight"):
            sides.other[f"model.layers.{layer}.{part}"] = torch.zeros(1, dtype=torch.bfloat16)
    sides.other_config["num_hidden_layers"] = 4
    names = [problem.message for problem in sides.problems() if problem.code == "key-set"]
    assert names == [
        "'model.layers.*.mlp.up_proj.weight' (2 tensors) is only in thinking",
        "'model.layers.*.self_attn.q_proj.weight' (2 tensors) is only in thinking",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight"],
        ["model.layers.2.eh_proj.weight", "model.layers.2.embed_tokens.weight"],
        ["model.mtp_block.0.weight", "model.nextn.0.weight"],
    ],
)
@pytest.mark.parametrize("side", ["instruct", "thinking"])
def test_an_mtp_head_on_one_side_is_one_problem_that_says_what_to_do(
    names: list[str], side: str, sides: Sides
) -> None:
    where = sides.tensors if side == "instruct" else sides.other
    where.update((name, torch.zeros(2)) for name in names)
    assert sides.problems() == (
        Problem(
            "key-set",
            f"2 tensors of an MTP head (multi-token prediction) are only in {side}, such as {names[0]!r}",
            f"answers do not depend on it: give a copy of {side} without it, as shown under 'Tensors on one"
            " side only' in dami_merge/grid/README.md",
        ),
    )


def test_an_mtp_head_on_both_sides_is_interpolated(sides: Sides) -> None:
    sides.tensors["mtp.fc.weight"] = sides.other["mtp.fc.weight"] = torch.ones(2)
    assert "mtp.fc.weight" in sides.join().instruct.tensors()


def test_a_layer_of_a_vision_tower_is_no_mtp_head(sides: Sides) -> None:
    sides.other["model.visual.layers.9.weight"] = torch.ones(2)
    assert [problem.message for problem in sides.problems()] == [
        "'model.visual.layers.9.weight' is only in thinking"
    ]


@pytest.mark.parametrize(
    ("tied", "other_tied", "hint"),
    [
        (True, True, "thinking is tied and does not use it: give a copy of thinking without it, as shown"),
        (True, False, "in a copy of the tied side, add an lm_head.weight that equals its embeddings"),
        (False, False, "instruct lacks weights: download it again"),
    ],
)
def test_an_output_layer_on_one_side_says_what_to_do(
    tied: bool, other_tied: bool, hint: str, sides: Sides
) -> None:
    del sides.tensors["lm_head.weight"]
    sides.config["tie_word_embeddings"], sides.other_config["tie_word_embeddings"] = tied, other_tied
    (problem,) = [problem for problem in sides.problems() if problem.code == "key-set"]
    assert problem.message == "the output layer 'lm_head.weight' is only in thinking"
    assert problem.hint.startswith(hint)


def test_an_output_layer_under_another_prefix_is_not_called_missing(sides: Sides) -> None:
    sides.other["language_model.lm_head.weight"] = sides.other.pop("lm_head.weight")
    assert [problem.message for problem in sides.problems()] == [
        "'lm_head.weight' is only in instruct",
        "'language_model.lm_head.weight' is only in thinking",
    ]


def pad(sides: Sides, rows: int, *, nested: bool = False) -> None:
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more = torch.zeros(rows - 12, 8, dtype=torch.bfloat16)
        sides.other[name] = torch.cat([sides.other[name], more])
    if nested:
        for config, size in ((sides.config, 12), (sides.other_config, rows)):
            del config["vocab_size"]
            config["text_config"] = {"vocab_size": size}
    else:
        sides.other_config["vocab_size"] = rows


@pytest.mark.parametrize("nested", [False, True])
def test_vocabularies_that_are_padded_differently_are_one_problem_that_says_what_to_do(
    nested: bool, sides: Sides
) -> None:
    pad(sides, 16, nested=nested)
    field = "text_config.vocab_size" if nested else "vocab_size"
    assert sides.problems(field) == (
        Problem(
            "shape",
            f"{field} is 12 in instruct and 16 in thinking, but both tokenizers have only 4 tokens: the other"
            " rows of 'lm_head.weight' and 'model.embed_tokens.weight' are padding",
            "cut the padding of thinking: load it with transformers, call resize_token_embeddings(12) and"
            " save_pretrained, copy its tokenizer files beside them, and give this copy",
        ),
    )


def test_more_rows_for_more_tokens_are_not_padding(sides: Sides) -> None:
    pad(sides, 16)
    vocabulary: dict[str, object] = {
        "model": {"type": "BPE", "vocab": {f"t{number}": number for number in range(14)}}
    }
    sides.other_tokenizer = vocabulary
    codes = [problem.code for problem in sides.problems()]
    assert codes[:4] == ["config", "shape", "shape", "vocabulary"]


def test_without_a_fast_tokenizer_no_row_is_called_padding(sides: Sides) -> None:
    pad(sides, 16)
    sides.other_tokenizer = {}
    assert "padding" not in " ".join(problem.message for problem in sides.problems())
