"""Tiny random encoders on disk, with the tokenizer of the bundled pair."""

import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dami_merge.bundled import bundled_model
from dami_merge.checkpoint.folder import open_folder
from dami_merge.checkpoint.tokenizer import used_rows

PAIR = bundled_model("tiny/instruct")


def small_bert() -> BertConfig:
    """A config for the tokens of the bundled pair."""
    rows = used_rows(open_folder(PAIR, spec="pair"))
    assert rows is not None
    return BertConfig(
        vocab_size=rows, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def save_bert(folder: Path) -> Path:
    """A random BERT without a head."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        BertModel(small_bert()).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PAIR / name, folder / name)
    return folder


def pooled_by(folder: Path, mode: str, *, others: tuple[str, ...] = ()) -> Path:
    """Turn a folder into one of the layout of sentence-transformers."""
    kinds = ("Transformer", "Pooling", *others)
    modules = [
        {"idx": place, "path": f"{place}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, mode: True})
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9}))
    return folder


def save_reader(folder: Path) -> Path:
    """A random BERT, without a head, that reads letters."""
    letters = ["<pad>", "<unk>", *" abcdefghijklmnopqrstuvwxyz"]
    table = {letter: place for place, letter in enumerate(letters)}
    words = Tokenizer(WordLevel(table, unk_token="<unk>"))
    words.pre_tokenizer = Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")  # type: ignore[no-untyped-call]  # untyped in transformers
    fast.save_pretrained(folder)
    config = small_bert()
    config.vocab_size = len(letters)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        BertModel(config).save_pretrained(folder)
    return folder
