"""A sentence encoder from a folder: pooling, limits, digests, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from dami_merge.errors import InputRefused
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.features.text import prompt_text
from tests.estimators.encoders import PAIR, pooled_by, save_bert
from tests.estimators.features import QUERIES, said


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("encoders") / "bert")


def states(folder: Path, text: str) -> torch.Tensor:
    """What plain transformers gives for one text alone, shape [tokens, hidden]."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).last_hidden_state[0].double()
    return found


def test_a_plain_folder_is_pooled_by_the_mean_and_padding_does_not_count(bert: Path) -> None:
    features = open_features(f"encoder:{bert}")
    vectors = features.inputs(QUERIES).vectors
    wanted = [states(bert, prompt_text(query)).mean(dim=0).numpy() for query in QUERIES]
    assert np.allclose(vectors, [row / np.linalg.norm(row) for row in wanted], atol=1e-6)
    assert features.describe()["pooling"] == "mean"


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("pooling_mode_cls_token", "first"),
        ("pooling_mode_lasttoken", "last"),
        ("pooling_mode_max_tokens", "max"),
    ],
)
def test_the_layout_of_sentence_transformers_says_how_to_pool(tmp_path: Path, mode: str, name: str) -> None:
    folder = pooled_by(save_bert(tmp_path / "bert"), mode, others=("Normalize",))
    features = open_features(f"encoder:{folder}")
    found = [states(folder, text) for text in ("2+2", "7*3-1")]
    wanted = [{"first": each[0], "last": each[-1], "max": each.amax(dim=0)}[name] for each in found]
    vectors = features.inputs([said("2+2"), said("7*3-1")]).vectors
    assert np.allclose(vectors, [(row / row.norm()).numpy() for row in wanted], atol=1e-6)
    assert (features.describe()["pooling"], features.describe()["tokens"]) == (name, "9")


def test_a_prompt_longer_than_the_model_has_places_is_cut(bert: Path) -> None:
    features = open_features(f"encoder:{bert}")
    long = "7+" * 300
    one, other = features.inputs([said(long), said(long + "999")]).vectors
    assert features.describe()["tokens"] == "64"
    assert np.array_equal(one, other)


def test_a_causal_model_without_that_layout_is_an_encoder_too() -> None:
    features = open_features("text+encoder:bundled:tiny/instruct")
    inputs = features.inputs(QUERIES)
    assert features.spec == "text+encoder:bundled:tiny/instruct"
    wanted = states(PAIR, prompt_text(QUERIES[2])).mean(dim=0).numpy()
    assert np.allclose(inputs.vectors[2, -len(wanted) :], wanted / np.linalg.norm(wanted), atol=1e-6)


def test_a_tokenizer_that_cannot_pad_gives_the_same_vectors(bert: Path, tmp_path: Path) -> None:
    twin = save_bert(tmp_path / "twin")
    config = json.loads((twin / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (twin / "tokenizer_config.json").write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(twin).pad_token is None
    one, other = (open_features(f"encoder:{folder}").inputs(QUERIES).vectors for folder in (bert, twin))
    assert np.allclose(one, other, atol=1e-6)


def test_other_weights_have_another_digest_and_another_place_has_not(bert: Path, tmp_path: Path) -> None:
    twin = save_bert(tmp_path / "a+b")
    features = open_features(f"encoder:{twin}+text")
    assert features.spec == f"text+encoder:{twin}"
    before = open_features(f"encoder:{bert}").describe()
    assert open_features(f"encoder:{twin}").describe() == before
    model = AutoModel.from_pretrained(twin)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(twin)
    after = open_features(f"encoder:{twin}").describe()
    assert {key for key in before if before[key] != after[key]} == {"weights"}


@pytest.mark.parametrize(
    ("mode", "others", "said_of_it"),
    [
        ("pooling_mode_mean_sqrt_len_tokens", (), "asks for pooling_mode_mean_sqrt_len_tokens"),
        ("pooling_mode_mean_tokens", ("Dense",), "lists a module 'Dense'"),
    ],
)
def test_what_cannot_be_pooled_here_is_refused(
    tmp_path: Path, mode: str, others: tuple[str, ...], said_of_it: str
) -> None:
    folder = pooled_by(save_bert(tmp_path / "bert"), mode, others=others)
    with pytest.raises(InputRefused, match=f"{said_of_it} .use an encoder of Transformer"):
        open_features(f"encoder:{folder}")


def test_a_layout_that_does_not_pool_or_points_outside_is_refused(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    (folder / "modules.json").write_text('[{"type": "models.Transformer"}]')
    with pytest.raises(InputRefused, match="lists no module that pools"):
        open_features(f"encoder:{folder}")
    (folder / "modules.json").write_text('[{"type": "models.Pooling", "path": "../other"}]')
    with pytest.raises(InputRefused, match="asks for no pooling"):
        open_features(f"encoder:{folder}")


def test_missing_weights_are_refused_rather_than_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_bert(tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputRefused, match=r"'encoder\.layer\.0\S+dense\.weight' is missing .*1 missing"):
        open_features(f"encoder:{folder}")


def test_pickles_and_unloadable_folders_are_refused(bert: Path, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputRefused, match="cannot load the tokenizer of"):
        open_features(f"encoder:{folder}")
    (folder / "config.json").write_text('{"model_type": "no-such"}')
    with pytest.raises(InputRefused, match="transformers cannot load the"):
        open_features(f"encoder:{folder}")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputRefused, match="a pickle, which can run code"):
        open_features(f"encoder:{folder}")


def test_features_without_an_encoder_do_not_import_torch() -> None:
    program = (
        "import sys\n"
        "from dami_merge.estimators.features.opening import open_features\n"
        "open_features('text+length+wordllama').inputs([[{'role': 'user', 'content': 'hello'}]])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
