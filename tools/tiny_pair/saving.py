"""The pair's files: models with their tokenizer, the cards, and JSON.

Knows how each is written, not where its values come from. Overwrites what is there.
"""

import json
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from tiny_pair.card import model_card
from tiny_pair.model import ROPE_THETA, TEMPERATURE, decoding, load_model
from tiny_pair.tokenizer import make_tokenizer


def write_json(path: Path, value: Any) -> None:
    """Sorted and indented, UTF-8, ending in a newline."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Weights, configuration and tokenizer, as transformers loads them."""
    model.generation_config = decoding(TEMPERATURE)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    # The same facts under the names that transformers 4 reads.
    for file, facts in {
        "config.json": {"rope_theta": ROPE_THETA},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }.items():
        write_json(folder / file, json.loads((folder / file).read_text("utf-8")) | facts)


def save_cards(output: Path, table: dict[str, Any]) -> None:
    """A README.md for each model."""
    for name in ("instruct", "thinking"):
        text = model_card(name, load_model(output / name).num_parameters(), table)
        (output / name / "README.md").write_text(text, encoding="utf-8")
