"""How a checkpoint is spoken to: from a question to token ids, and from generated ids back to text.

Knows one donor's tokenizer, chat template and end tokens; nothing of weights or of sampling.
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
from dami_merge.optional import install_hint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the model reads it.

    Attributes:
        ids: Tokens, the start of the assistant's turn included.
        prefilled: The template opened a `<think>` block, in which the answer begins.
    """

    ids: tuple[int, ...]
    prefilled: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """Generated ids, read.

    Attributes:
        text: Without the end token, and with every other: thinking tags are special tokens in some models.
        tokens: With the end token.
        finish: `length` where no end token came.
    """

    text: str
    tokens: int
    finish: Finish


class Dialogue:
    """The tokenizer, template and end tokens of one folder.

    Attributes:
        end_ids: Any of these ends an answer; of the generation config, else of the config or tokenizer.
        pad_id: Fills a batch; never seen by the model, which masks it.
    """

    def __init__(self, folder: Path, *, spec: str) -> None:
        """Load them.

        Args:
            folder: With the sidecars of a checkpoint.
            spec: What the user calls it.

        Raises:
            InputRefused: There is no usable tokenizer, no chat template, or no end token.
            BackendError: transformers is not installed.
        """
        self._tokenizer = _tokenizer(folder, spec)
        self._spec = spec
        if self._tokenizer.chat_template is None:
            message = f"{spec} has no chat template: a question cannot be asked"
            raise InputRefused([Problem("no-template", message, "add its chat_template.jinja")])
        self.end_ids = _end_ids(folder, self._tokenizer)
        if not self.end_ids:
            hint = "give eos_token_id in its generation_config.json"
            raise InputRefused([Problem("no-end", f"{spec} names no token that ends an answer", hint)])
        pad: Any = self._tokenizer.pad_token_id
        self.pad_id: int = self.end_ids[0] if pad is None else pad

    def prompts(self, questions: Sequence[Question]) -> dict[Question, Prompt]:
        """Render every question.

        Raises:
            InputRefused: The template refuses some of them, such as a role that it does not know; all named.
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
                message = f"question {question.id!r}: the chat template of {self._spec} refuses it: {error}"
                problems.append(Problem("template", message))
                continue
            ids: Any = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            prompts[question] = Prompt(tuple(ids), text.rstrip().endswith(BEGIN))
        if problems:
            raise InputRefused(problems)
        return prompts

    def answer(self, generated: Sequence[int]) -> Decoded:
        """Read one row; what stands after its end token is padding."""
        ends = (place for place, token in enumerate(generated) if token in self.end_ids)
        end = next(ends, None)
        kept = list(generated[:end])
        text = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), "one row decodes to one text"  # noqa: S101
        return Decoded(text, len(kept) + (end is not None), "length" if end is None else "stop")


def _tokenizer(folder: Path, spec: str) -> "PreTrainedTokenizerBase":
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        message = "running a model in this process needs transformers, which is not installed"
        raise BackendError(message, hint=install_hint("sweep")) from error
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        message = f"transformers cannot load the tokenizer of {spec}: {reason}"
        raise InputRefused([Problem("tokenizer", message)]) from error
    return tokenizer


def _end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """As transformers looks for them: the first place that names any."""
    config: Any = json_object(folder / CONFIG_FILE)
    places: list[Any] = [json_object(folder / GENERATION_CONFIG), config, config.get("text_config", {})]
    named: list[Any] = [*(place.get("eos_token_id") for place in places), tokenizer.eos_token_id]
    for found in named:
        if found is not None:
            return (found,) if isinstance(found, int) else tuple(found)
    return ()
