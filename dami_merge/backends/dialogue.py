"""The conversion from a question to token ids, and from generated ids back to text.

Uses one donor's tokenizer, chat template and end tokens; knows nothing about weights or sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dami_merge.backends.own_settings import GENERATION_CONFIG, json_object
from dami_merge.checkpoint.folder import CONFIG_FILE
from dami_merge.errors import BackendError, InputRefused, Problem
from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import BEGIN
from dami_merge.evaluation.questions.question import Question
from dami_merge.optional import needed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
        self.end_ids = _end_ids(folder, self._tokenizer)
        if not self.end_ids:
            hint = "set eos_token_id in its generation_config.json"
            raise InputRefused([Problem("no-end", f"{spec} does not define an end token", hint)])
        pad: Any = self._tokenizer.pad_token_id
        self.pad_id: int = self.end_ids[0] if pad is None else pad

    def prompts(self, questions: Sequence[Question]) -> dict[Question, Prompt]:
        """Render every question.

        Raises:
            InputRefused: The template rejects questions, for instance for an unknown role; all are reported.
        """
        from jinja2 import TemplateError

        prompts, problems = {}, []
        for question in dict.fromkeys(questions):
            turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
            try:
                text: Any = self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            except TemplateError as error:
                message = (
                    f"question {question.id!r} is rejected by the chat template of {self._spec}: {error}"
                )
                problems.append(Problem("template", message))
                continue
            ids: Any = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            prompts[question] = Prompt(tuple(ids), text.rstrip().endswith(BEGIN))
        if problems:
            raise InputRefused(problems)
        return prompts

    def answer(self, generated: Sequence[int]) -> Decoded:
        """Decode one row; everything after its end token is padding."""
        ends = (place for place, token in enumerate(generated) if token in self.end_ids)
        end = next(ends, None)
        kept = list(generated[:end])
        text = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), "one row decodes to one text"  # noqa: S101
        return Decoded(text, len(kept) + (end is not None), "length" if end is None else "stop")


def _tokenizer(folder: Path, spec: str) -> "PreTrainedTokenizerBase":
    library = needed("transformers", "a model in this process", extra="sweep", error=BackendError)
    try:
        tokenizer: PreTrainedTokenizerBase = library.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        message = f"transformers cannot load the tokenizer of {spec}: {reason}"
        raise InputRefused([Problem("tokenizer", message)]) from error
    return tokenizer


def _end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Return the end tokens from the first place that defines any, in the order of transformers."""
    config: Any = json_object(folder / CONFIG_FILE)
    places: list[Any] = [json_object(folder / GENERATION_CONFIG), config, config.get("text_config", {})]
    named: list[Any] = [*(place.get("eos_token_id") for place in places), tokenizer.eos_token_id]
    for found in named:
        if found is not None:
            return (found,) if isinstance(found, int) else tuple(found)
    return ()
