"""A classifier that is fine-tuned to say a utility for every λ: what it learns, what it leaves on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dami_merge.errors import DamiMergeError, InputRefused, OutputRefused
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.features.backbone import BackboneFeatures
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.backbone import BackboneFit, BackboneOptions, fit_backbone
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.pretrained import open_encoder_source
from dami_merge.lambdas import label
from tests.estimators.encoders import PAIR, save_bert, save_reader
from tests.estimators.world import LAMBDAS, world

QUICK = BackboneOptions(epochs=8, rate=0.01, batch=8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("models") / "reader")


@pytest.fixture(scope="module")
def measured() -> Examples:
    return world(120, 4, seed=1)


@pytest.fixture(scope="module")
def fitted(reader: Path, measured: Examples, tmp_path_factory: pytest.TempPathFactory) -> BackboneFit:
    return tuned(reader, measured, tmp_path_factory.mktemp("tuned") / "backbone")


def tuned(
    start: Path, examples: Examples, output: Path, options: BackboneOptions = QUICK, seed: int = 0
) -> BackboneFit:
    return fit_backbone(examples, open_encoder_source(str(start)), output, options, seed, device="cpu")


def read(features: BackboneFeatures, examples: Examples) -> Inputs:
    prompts = [[{"role": m.role, "content": m.content} for m in q.messages] for q in examples.questions]
    found = features.inputs(prompts)
    return Inputs(found.vectors, found.spent, examples.groups)


def test_it_learns_from_the_text_which_queries_need_a_large_lambda(fitted: BackboneFit) -> None:
    """The loss falls below that of the best utilities that are the same for every query."""
    assert fitted.losses[fitted.chosen] == min(fitted.losses) < 0.85 * fitted.unread < fitted.losses[0]
    unseen = world(60, 4, seed=2)
    best = np.array(read(BackboneFeatures(str(fitted.folder)), unseen).vectors).argmax(axis=1)
    chosen = {kind: best[np.array(unseen.groups) == kind] for kind in ("easy", "middle", "hard")}
    assert (chosen["easy"] == 0).mean() > 0.9
    assert (chosen["middle"] == 2).mean() > 0.9
    assert (chosen["hard"] == 4).mean() > 0.9


def test_plain_transformers_loads_it_and_its_labels_are_the_lambdas(fitted: BackboneFit) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(fitted.folder)
    tokenizer = AutoTokenizer.from_pretrained(fitted.folder)
    assert model.config.id2label == dict(enumerate(map(label, LAMBDAS)))
    texts = ["aba pqr", "efe pqrstu"]
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    queries = [[{"role": "user", "content": text}] for text in texts]
    features = BackboneFeatures(str(fitted.folder))
    assert np.allclose(features.inputs(queries).vectors, logits.numpy(), atol=1e-5)
    assert features.spec == f"backbone:{fitted.folder}"
    assert features.labels == ("0.00", "0.25", "0.50", "0.75", "1.00")
    weights = {path.name for path in fitted.folder.iterdir()}
    assert "model.safetensors" in weights
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in weights)


@pytest.mark.parametrize("kind", ["pref", "curve"])
def test_every_estimator_reads_its_utilities_as_features(
    fitted: BackboneFit, measured: Examples, kind: str
) -> None:
    features = open_features(f"backbone:{fitted.folder}")
    assert isinstance(features, BackboneFeatures)
    unseen = world(90, 4, seed=3)
    estimate = FITS[kind](measured, read(features, measured), {"draws": 4, "ridge": 0.01}, 0).estimate(
        read(features, unseen)
    )
    value = estimate.value if kind == "pref" else estimate.value - 0.2 * estimate.cost / 100
    rows = np.arange(len(unseen))
    chosen = value.argmax(axis=1)
    assert unseen.accuracy[rows, chosen].mean() > 0.85
    assert unseen.tokens[rows, chosen].mean() < 65
    assert estimate.gap_error(4)[:, 0].min() > 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(reader: Path, tmp_path: Path) -> None:
    few, options = world(24, 4, seed=1), BackboneOptions(epochs=1, rate=0.01)
    fits = [tuned(reader, few, tmp_path / f"{place}", options, seed) for place, seed in enumerate((0, 0, 1))]
    one, again, other = ((each.folder / "model.safetensors").read_bytes() for each in fits)
    assert one == again != other
    described = [BackboneFeatures(str(each.folder)).describe() for each in fits[:2]]
    assert described[0] == described[1]
    assert described[0]["labels"] == "0.00 0.25 0.50 0.75 1.00"


def test_it_stops_once_held_out_queries_no_longer_gain_and_keeps_the_best_pass(
    reader: Path, tmp_path: Path
) -> None:
    hopeless = world(40, 1, seed=4, kinds=("hidden",))
    options = BackboneOptions(epochs=60, patience=1, rate=0.05, batch=8, rule="hard")
    seen: list[tuple[int, float]] = []
    fit = fit_backbone(
        hopeless, open_encoder_source(str(reader)), tmp_path / "tuned", options, 0,
        device="cpu", progress=lambda epoch, loss: seen.append((epoch, loss)),
    )  # fmt: skip
    assert len(fit.losses) - 1 == fit.chosen + 1 < 60
    assert fit.losses[fit.chosen] == min(fit.losses)
    assert seen == list(enumerate(fit.losses))[1:]


def test_lora_is_merged_before_it_is_saved(reader: Path, measured: Examples, tmp_path: Path) -> None:
    options = BackboneOptions(epochs=6, rate=0.03, batch=8, lora=4)
    fit = tuned(reader, measured, tmp_path / "tuned", options)
    assert fit.losses[fit.chosen] < 0.9 * fit.unread
    model = AutoModelForSequenceClassification.from_pretrained(fit.folder)
    before = AutoModelForSequenceClassification.from_pretrained(reader, num_labels=len(LAMBDAS)).state_dict()
    after = model.state_dict()
    assert after.keys() == before.keys()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved
    assert "bert.embeddings.word_embeddings.weight" not in moved
    assert not (fit.folder / "adapter_config.json").exists()


def test_the_bundled_pair_itself_is_a_backbone(tmp_path: Path) -> None:
    options = BackboneOptions(epochs=1, batch=16)
    fit = tuned(PAIR, world(24, 2, seed=5), tmp_path / "tuned", options)
    features = BackboneFeatures(str(fit.folder))
    vectors = features.inputs([[{"role": "user", "content": text}] for text in ("1+1", "1+1-2*3")]).vectors
    assert vectors.shape == (2, 5)
    alone = features.inputs([[{"role": "user", "content": "1+1"}]]).vectors
    assert np.allclose(alone[0], vectors[0], atol=1e-5)


def test_a_folder_without_a_head_is_refused_as_features(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"'classifier\.bias' is missing from the weights \(2 missing"):
        open_features(f"backbone:{save_bert(tmp_path / 'bert')}")


def test_an_output_that_exists_is_kept(reader: Path, measured: Examples, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputRefused, match="mine exists already"):
        tuned(reader, measured, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_fitted_is_refused(reader: Path, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="1 queries are too few to hold 20% of them out"):
        tuned(reader, world(1, 4, seed=1), tmp_path / "tuned")
    with pytest.raises(InputRefused, match="leaves no pair of 8 queries"):
        tuned(reader, world(8, 4, seed=1, kinds=("vain",)), tmp_path / "tuned")
    (tmp_path / "odd").mkdir()
    save_reader(tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "no-such"}')
    with pytest.raises(InputRefused, match="transformers cannot load the"):
        tuned(tmp_path / "odd", world(8, 4, seed=1), tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_lora_names_the_package_that_it_lacks(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(DamiMergeError, match="LoRA needs peft, which is not installed"):
        tuned(reader, world(8, 4, seed=1), tmp_path / "tuned", BackboneOptions(lora=2))
