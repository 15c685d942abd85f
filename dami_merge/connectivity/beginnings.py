"""Measure what a live model begins to write at every λ, and short answers on request.

Nothing is sampled: the probabilities are exact, and the short answers greedy. `dial` says what follows from
them.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dami_merge.connectivity.dial import Dial, ShortAnswers, Start
from dami_merge.connectivity.encoding import batches, encode_prompts, padded
from dami_merge.connectivity.texts import DEFAULTS, PathSettings, Text
from dami_merge.live import LiveModel
from dami_merge.live.generating import continued

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_PROMPTS = 64
"""Maximum number of prompts, taken evenly from all texts."""

SEARCHED_TOKENS = 16
"""Number of tokens within which the greedy answers of the two models are searched for where they part."""


class Beginnings:
    """What a live model begins to write; call `measure` at every λ from 0 to 1, then `result`."""

    def __init__(
        self,
        model: "PreTrainedModel",
        live: LiveModel,
        tokenizer: "PreTrainedTokenizerBase",
        texts: Sequence[Text],
        settings: PathSettings = DEFAULTS,
    ) -> None:
        """Compare the two models themselves, which sets the live model to λ = 0 and to λ = 1.

        Args:
            model: Model whose parameters `live` writes.
            live: The live model that `load_live` returned together with the model.
            tokenizer: Tokenizer of the model, with a chat template if a text has a prompt.
            texts: Those with a prompt are used, at most `MOST_PROMPTS` of them.
            settings: Temperature, and lengths; prompts longer than `max_tokens` are left out.

        Raises:
            InputRefused: A text has a prompt, but the tokenizer has no chat template.

        Peak memory: the logits of 1024 tokens, and the float32 logits of two tokens for each prompt.
        """
        self._model, self._live, self._tokenizer = model, live, tokenizer
        self._temperature, self._written_tokens = settings.temperature, settings.written_tokens
        with_prompt = [number for number, text in enumerate(texts) if text.prompt]
        stride = -(-len(with_prompt) // MOST_PROMPTS) or 1
        asked = with_prompt[::stride]
        found = encode_prompts(tokenizer, [texts[n].prompt for n in asked], settings.max_tokens)
        encoded = dict(zip(asked, found, strict=True))
        prompts = {number: ids for number, ids in encoded.items() if len(ids) <= settings.max_tokens}
        self._numbers, self._prompts = list(prompts), list(prompts.values())
        self._lambdas: list[Fraction] = []
        self._found: list[tuple[Tensor, Tensor]] = []
        self._written_lambdas: list[Fraction] = []
        self._answers: list[list[list[int]]] = []
        if self._prompts:
            self._compare_ends()

    def _compare_ends(self) -> None:
        """Find where each prompt's answers part; most do so at once, which needs no further token."""
        live, every = self._live, range(len(self._prompts))
        self._shared: list[list[int]] = [[] for _ in every]
        live.set_lambda(1)
        high = self._next_tokens(every)
        live.set_lambda(0)
        low = self._next_tokens(every)
        alike = (low.argmax(dim=1) == high.argmax(dim=1)).nonzero()[:, 0].tolist()
        if alike:
            instruct = self._greedy(alike, SEARCHED_TOKENS)
            live.set_lambda(1)
            thinking = self._greedy(alike, SEARCHED_TOKENS)
            for row, *sides in zip(alike, instruct, thinking, strict=True):
                self._shared[row] = _shared(*sides)
            high[alike] = self._next_tokens(alike)
            live.set_lambda(0)
            low[alike] = self._next_tokens(alike)
        self._toward = high > low
        self._apart = (high - low).clamp(min=0).sum(dim=1).tolist()
        self._ends = low.argmax(dim=1).tolist(), high.argmax(dim=1).tolist()

    def measure(self, lam: Fraction, *, write: bool = True) -> None:
        """Measure at one λ, to which the live model is set; short answers are written if `write`."""
        if not self._prompts:
            return
        every = range(len(self._prompts))
        tokens = self._next_tokens(every)
        share = (tokens * self._toward).sum(dim=1)
        greedy = self._toward.gather(1, tokens.argmax(dim=1, keepdim=True))[:, 0]
        self._lambdas.append(lam)
        self._found.append((share, greedy))
        if write and self._written_tokens:
            self._written_lambdas.append(lam)
            self._answers.append(self._greedy(every, self._written_tokens))

    def result(self) -> Dial | None:
        """Return what was found, λ ascending; locates a switch first, which sets the live model to other λ.

        Returns:
            None if no text has a prompt of at most `max_tokens`.
        """
        if not self._prompts:
            return None
        while (lam := (dial := self._dial()).next_lambda) is not None:
            self._live.set_lambda(lam)
            self.measure(lam, write=False)
        return dial

    def _dial(self) -> Dial:
        order = sorted(range(len(self._lambdas)), key=self._lambdas.__getitem__)
        decode = self._tokenizer.decode
        starts = tuple(
            Start(
                number=number,
                shared=str(decode(self._shared[row])),
                instruct=str(decode([self._ends[0][row]])),
                thinking=str(decode([self._ends[1][row]])),
                apart=self._apart[row],
                shares=tuple(float(self._found[place][0][row]) for place in order),
                greedy=tuple(bool(self._found[place][1][row]) for place in order),
            )
            for row, number in enumerate(self._numbers)
        )
        written = tuple(
            _written(number, [answers[row] for answers in self._answers], decode)
            for row, number in enumerate(self._numbers)
            if self._answers
        )
        lambdas = tuple(self._lambdas[place] for place in order)
        return Dial(lambdas, starts, self._temperature, written, tuple(self._written_lambdas))

    @torch.no_grad()
    def _next_tokens(self, rows: Sequence[int]) -> Tensor:
        """Return the distributions after prompt and shared beginning, shape [rows, vocabulary]."""
        found = []
        for batch in batches([([*self._prompts[row], *self._shared[row]], 0) for row in rows]):
            ids, mask, _ = padded(batch, self._model.device)
            out: Any = self._model(input_ids=ids, attention_mask=mask, use_cache=False)
            last = mask.sum(dim=1) - 1
            logits = out.logits[torch.arange(len(batch), device=ids.device), last].float()
            found.append(torch.softmax(logits / self._temperature, dim=1).cpu())
        return torch.cat(found)

    def _greedy(self, rows: Sequence[int], new_tokens: int) -> list[list[int]]:
        """Return greedy answers to some prompts, with their end token."""
        ends = _end_tokens(self._model, self._tokenizer)
        answers: list[list[int]] = []
        for batch in batches([(self._prompts[row], 0) for row in rows]):
            added = continued(
                self._model,
                [ids for ids, _ in batch],
                new_tokens=new_tokens,
                end_ids=ends,
                pad_id=(*ends, 0)[0],
            )
            answers += [_ended(answer, ends) for answer in added]
        return answers


def _ended(answer: list[int], ends: Sequence[int]) -> list[int]:
    """Cut an answer after its first end token, where padding begins."""
    stops = (place for place, token in enumerate(answer, 1) if token in ends)
    return answer[: next(stops, len(answer))]


def _end_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    config: Any = model.generation_config
    stated = None if config is None else config.eos_token_id
    ends: Any = tokenizer.eos_token_id if stated is None else stated
    if ends is None:
        return []
    return [int(end) for end in (ends if isinstance(ends, list) else [ends])]


def _agreed(left: Sequence[int], right: Sequence[int]) -> int:
    """Return for how many tokens two answers agree."""
    pairs = zip(left, right, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _shared(instruct: Sequence[int], thinking: Sequence[int]) -> list[int]:
    """Return the tokens before the two answers part; none if they do not."""
    agreed = _agreed(instruct, thinking)
    return list(instruct[:agreed]) if agreed < max(len(instruct), len(thinking)) else []


def _written(number: int, answers: Sequence[Sequence[int]], decode: Callable[[Any], Any]) -> ShortAnswers:
    agreed = [(_agreed(answer, answers[0]), _agreed(answer, answers[-1])) for answer in answers]
    likes = tuple(None if low == high else high > low for low, high in agreed)
    return ShortAnswers(number, tuple(str(decode(answer)) for answer in answers), likes)
