"""Models of transformers that read prompts: sentence encoders and classifiers. Imports torch.

Weights are safetensors, in float32; code of a folder never runs. What has not been downloaded yet is, before
anything is loaded.
"""

import logging as levels
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import fetched, open_source
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import Digest, digest_file
from dami_merge.optional import needed, without_progress_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

READ_TOKENS = 512
"""Tokens of a prompt that are read, if the model's files name no smaller number."""

_READ_AT_ONCE = 64
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError)
"""What transformers raises for files that it cannot load."""


def open_encoder_source(spec: str) -> Checkpoint:
    """Open a folder or Hub id, and download what is still on the Hub.

    Raises:
        InputRefused: It is not a model with safetensors weights.
        HubError: It cannot be downloaded.
    """
    return fetched(open_source(spec))


def load_encoder(source: Checkpoint) -> "PreTrainedModel":
    """Load the model without a head.

    Raises:
        InputRefused: transformers cannot load it, or it lacks weights that count.
    """
    model: PreTrainedModel
    model, info = _loaded(source, _library().AutoModel, labels=())
    lacking = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if lacking:
        fact = f"{source.spec}: {lacking[0]!r} is missing from the weights ({len(lacking)} missing in total)"
        raise InputRefused(
            [Problem("missing-weight", fact, "transformers would fill it with random numbers")]
        )
    return model


def load_new_classifier(source: Checkpoint, labels: Sequence[str]) -> "PreTrainedModel":
    """Load the model with a head of one output per label: a new one, unless the folder's has the same size.

    Raises:
        InputRefused: transformers has no classifier for it, or cannot load it.
    """
    model: PreTrainedModel
    model, _ = _loaded(source, _library().AutoModelForSequenceClassification, labels=labels)
    return model


def load_classifier(source: Checkpoint) -> "PreTrainedModel":
    """Load a classifier with the head that its folder has.

    Raises:
        InputRefused: transformers cannot load it, or it lacks weights, such as a head.
    """
    model: PreTrainedModel
    model, info = _loaded(source, _library().AutoModelForSequenceClassification, labels=())
    _require_all(source, info["missing_keys"])
    return model


def load_tokenizer(source: Checkpoint) -> "PreTrainedTokenizerBase":
    """Load the tokenizer. It pads on the right, with the token that ends a text if it has none to pad with.

    Raises:
        InputRefused: transformers cannot load it.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = _library().AutoTokenizer.from_pretrained(
            source.root, trust_remote_code=False, local_files_only=True
        )
    except _FAULTS as error:
        raise _not_loadable(source, "tokenizer", error) from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def tokens_read(source: Checkpoint, tokenizer: "PreTrainedTokenizerBase", asked: int | None = None) -> int:
    """How many tokens of a prompt a model reads: what is asked for, at most as many as it has places for."""
    places = source.config.get("max_position_embeddings")
    limits = [asked or READ_TOKENS, int(tokenizer.model_max_length)]
    return min([*limits, places] if isinstance(places, int) else limits)


def token_batches(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, most_tokens: int, at_once: int
) -> Iterator[tuple[NDArray[np.int64], dict[str, torch.Tensor]]]:
    """Tokenize texts, those of similar length together.

    Yields:
        The places of some texts, and what the model takes for them.
    """
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), at_once):
        places = order[start : start + at_once]
        encoded = tokenizer(
            [texts[place] for place in places.tolist()],
            truncation=True, max_length=most_tokens, padding=True, return_tensors="pt",
        )  # fmt: skip
        yield places, {name: encoded[name] for name in ("input_ids", "attention_mask")}


def source_digests(source: Checkpoint) -> dict[str, str]:
    """Digests of a model's weights and of its other files, config included; reads all of them."""
    others = sorted({"config.json", *source.sidecars})
    return {"weights": _digest(source, sorted(source.files)), "files": _digest(source, others)}


@dataclass(frozen=True, slots=True)
class PromptReader:
    """A classifier with its tokenizer.

    Attributes:
        model: The classifier.
        tokenizer: Its tokenizer.
        most_tokens: Tokens of a prompt that it reads.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    most_tokens: int

    def utilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The outputs for some texts, shape [n, Λ]."""
        found = np.zeros((len(texts), len(self.model.config.id2label or ())))
        self.model.train(mode=False)
        with torch.inference_mode():
            for places, outputs in self.outputs(texts, at_once=_READ_AT_ONCE):
                found[places] = outputs.double().cpu().numpy()
        return found

    def outputs(
        self, texts: Sequence[str], *, at_once: int
    ) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
        """The places of some texts, and their outputs, batch by batch."""
        for places, given in token_batches(
            self.tokenizer, texts, most_tokens=self.most_tokens, at_once=at_once
        ):
            inputs = {name: tensor.to(self.model.device) for name, tensor in given.items()}
            yield places, self.model(**inputs).logits


def _digest(source: Checkpoint, names: Sequence[str]) -> str:
    digest = Digest()
    for name in names:
        own = [text for _, text in digest_file(source.root / name)][-1]
        digest.update(f"{name}\n{own}\n".encode())
    return digest.text()


def _library() -> Any:
    return needed("transformers", "a model that reads prompts", extra="encoders")


def _loaded(source: Checkpoint, loader: Any, *, labels: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    names = dict(enumerate(labels))
    head = {"id2label": names, "label2id": {name: place for place, name in names.items()}} if names else {}
    try:
        with quiet_transformers():
            model, info = loader.from_pretrained(
                source.root, dtype=torch.float32, output_loading_info=True, trust_remote_code=False,
                local_files_only=True, ignore_mismatched_sizes=bool(names), **head,
            )  # fmt: skip
    except _FAULTS as error:
        raise _not_loadable(source, "model", error) from error
    return deepcopy(model).eval(), info  # safetensors maps the file, and a change would alter the weights


def _require_all(source: Checkpoint, missing: Iterable[str]) -> None:
    lacking = sorted(missing)
    if lacking:
        fact = f"{source.spec}: {lacking[0]!r} is missing from the weights ({len(lacking)} missing in total)"
        raise InputRefused(
            [Problem("missing-weight", fact, "transformers would fill it with random numbers")]
        )


def _not_loadable(source: Checkpoint, what: str, error: Exception) -> InputRefused:
    reason = str(error).partition("\n")[0] or type(error).__name__
    fact = f"transformers cannot load the {what} of {source.spec}: {reason}"
    return InputRefused([Problem("not-loadable", fact, "use another model")])


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loader's progress bar, and its report on a new head, off the caller's terminal."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(levels.ERROR)
    try:
        with without_progress_bars(
            shown=logging.is_progress_bar_enabled(),
            off=logging.disable_progress_bar,
            on=logging.enable_progress_bar,
        ):
            yield
    finally:
        logging.set_verbosity(before)
