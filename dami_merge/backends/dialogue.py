"""The conversion from a question to token ids, and from generated ids back to text.

Uses one donor's tokenizer, chat template and end tokens; knows nothing about weights or sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dami_merge.backends.own_settings import GENERATION_CONFIG, json_object
from dami_merge.checkpoint.folder import CONFIG_FILE
from dami_merge.checkpoint.rendering import Rendered, rendered
from dami_merge.errors import BackendError, InputRefused, Problem
from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import BEGIN
from dami_merge.evaluation.questions.question import Question
from dami_merge.harmless import without_surrogates
from dami_merge.optional import needed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PART_CHARACTERS = 1 << 18
"""Characters that are counted at once: about 100 MB of a tokenizer's memory."""

_LONGEST_CONTEXT = 1 << 21
"""Tokens that a model is assumed to take if its config does not say."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the model reads it.

    Attributes:
        ids: Token ids, including the start of the assistant's turn.
        prefilled: Whether the template opens a `<think>` block, inside which the answer begins.
    """

    ids: tuple[int, ...]
    prefilled: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded answer.

    Attributes:
        text: Text without the end token, but with all other special tokens: in some models, thinking tags are
            special tokens.
        tokens: Number of tokens, including the end token.
        finish: `length` if there is no end token, else `stop`.
    """

    text: str
    tokens: int
    finish: Finish


class Dialogue:
    """The tokenizer, template and end tokens of one folder.

    Attributes:
        end_ids: Tokens that end an answer, from the generation config, else from the config or tokenizer.
        pad_id: Token that pads a batch; it is masked.
    """

    def __init__(self, folder: Path, *, spec: str) -> None:
        """Load the tokenizer.

        Args:
            folder: Folder with the sidecars of a checkpoint.
            spec: The user's name for the checkpoint.

        Raises:
            InputRefused: The checkpoint has no usable tokenizer, no chat template or no end token.
            BackendError: transformers is not installed.
        """
        self._tokenizer = _tokenizer(folder, spec)
        self._spec = spec
        if self._tokenizer.chat_template is None:
            message = f"{spec} has no chat template, which is needed to ask questions"
            raise InputRefused([Problem("no-template", message, "add its chat_template.jinja")])
        self._context = _context(folder)
        self.end_ids = _end_ids(folder, self._tokenizer)
        if not self.end_ids:
            hint = "set eos_token_id in its generation_config.json"
            raise InputRefused([Problem("no-end", f"{spec} does not define an end token", hint)])
        pad: Any = self._tokenizer.pad_token_id
        self.pad_id: int = self.end_ids[0] if pad is None else pad

    def prompts(self, questions: Sequence[Question]) -> dict[Question, Prompt]:
        """Render every question, within the bounds of `checkpoint.rendering`.

        Raises:
            InputRefused: The template rejects questions, for instance for an unknown role, or prompts are too
                long or hold a lone surrogate; all are reported. Or the template takes too much time or
                memory.
        """
        asked = list(dict.fromkeys(questions))
        prompts, problems = {}, []
        for question, found in zip(asked, rendered(self._text, asked), strict=False):
            prompt = self._prompt(question, found)
            if isinstance(prompt, Problem):
                problems.append(prompt)
            else:
                prompts[question] = prompt
        if problems:
            raise InputRefused(problems)
        return prompts

    def _text(self, question: Question) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        text: Any = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return str(text)

    def _prompt(self, question: Question, found: Rendered) -> Prompt | Problem:
        whose = f"the chat template of {self._spec}"
        if found.refused == "error":
            return Problem("template", f"question {question.id!r} is rejected by {whose}: {found.text}")
        if found.refused:
            hint = "read the template before you trust the model, or replace its chat_template.jinja"
            return Problem("template", f"{whose} {found.text} for question {question.id!r}", hint)
        if without_surrogates(found.text) != found.text:
            message = f"the prompt of question {question.id!r} holds a lone surrogate, which is no character"
            return Problem("surrogate", message, "correct the text of the question or of the template")
        if self._is_too_long(found.text):
            size = f"{len(found.text):,} characters"
            message = f"question {question.id!r}: {size} do not fit in a context of {self._context:,} tokens"
            return Problem("too-long", message, "shorten the question, or leave it out")
        ids: Any = self._tokenizer(found.text, add_special_tokens=False)["input_ids"]
        return Prompt(tuple(ids), found.text.rstrip().endswith(BEGIN))

    def _is_too_long(self, text: str) -> bool:
        """Count the tokens of a long text part by part, since a tokenizer takes 400 bytes for a character.

        Parts may split a token in two, so each may count one more than the whole text would.
        """
        if len(text) <= _PART_CHARACTERS:
            return False
        tokens = 0
        for start in range(0, len(text), _PART_CHARACTERS):
            part: Any = self._tokenizer(text[start : start + _PART_CHARACTERS], add_special_tokens=False)
            tokens += len(part["input_ids"]) - 1
            if tokens > self._context:
                return True
        return False

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text that stands alone, without special tokens around it."""
        found: Any = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(found)

    def can_write(self, text: str) -> bool:
        """Return whether the tokenizer has tokens for all of a text."""
        unknown: Any = self._tokenizer.unk_token_id
        return unknown is None or unknown not in self.ids(text)

    def answer(self, generated: Sequence[int]) -> Decoded:
        """Decode one row; everything after its end token is padding."""
        ends = (place for place, token in enumerate(generated) if token in self.end_ids)
        end = next(ends, None)
        kept = list(generated[:end])
        text = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), "one row decodes to one text"  # noqa: S101
        return Decoded(text, len(kept) + (end is not None), "length" if end is None else "stop")


class Dialogues:
    """The dialogue of each folder, loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[Path, Dialogue] = {}

    def of(self, folder: Path) -> Dialogue:
        """Return the dialogue of a folder.

        Raises:
            DamiMergeError: Same as `Dialogue`.
        """
        if folder not in self._loaded:
            self._loaded[folder] = Dialogue(folder, spec=str(folder))
        return self._loaded[folder]


def _tokenizer(folder: Path, spec: str) -> "PreTrainedTokenizerBase":
    library = needed("transformers", "a model in this process", extra="sweep", error=BackendError)
    try:
        tokenizer: PreTrainedTokenizerBase = library.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        message = f"transformers cannot load the tokenizer of {spec}: {reason}"
        raise InputRefused([Problem("tokenizer", message)]) from error
    return tokenizer


def _context(folder: Path) -> int:
    """Return the context that the config states; where it states none, a bound for any model."""
    config: Any = json_object(folder / CONFIG_FILE)
    for place in (config, config.get("text_config")):
        stated = place.get("max_position_embeddings") if isinstance(place, dict) else None
        if isinstance(stated, int) and not isinstance(stated, bool):
            return stated
    return _LONGEST_CONTEXT


def _end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Return the end tokens from the first place that defines any, in the order of transformers."""
    config: Any = json_object(folder / CONFIG_FILE)
    places: list[Any] = [json_object(folder / GENERATION_CONFIG), config, config.get("text_config", {})]
    named: list[Any] = [*(place.get("eos_token_id") for place in places), tokenizer.eos_token_id]
    for found in named:
        if found is not None:
            ids = found if isinstance(found, list) else [found]
            if not all(isinstance(each, int) and not isinstance(each, bool) for each in ids):
                message = (
                    f"{folder} states {found!r} as eos_token_id, which is not a token id or a list of them"
                )
                raise InputRefused([Problem("end", message, "correct it in its generation_config.json")])
            return tuple(ids)
    return ()
