"""Check one answer of a chat completions endpoint: text, tokens, finish. Knows nothing about connections."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dami_merge.errors import BackendError
from dami_merge.evaluation.generation import Finish, Generation
from dami_merge.evaluation.grading.thinking import BEGIN, END
from dami_merge.harmless import without_surrogates

if TYPE_CHECKING:
    from openai.types.chat.chat_completion import Choice

_REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Fields in which vLLM, SGLang and transformers return the reasoning that their parsers separate."""

_SHOWN = 200
_MOST_TOKENS = 2**31 - 1
"""No model generates as many for one answer."""


def read_reply(
    reply: object, *, max_tokens: int, seconds: float, count_tokens: Callable[[str], int] | None = None
) -> Generation:
    """Check a reply and put its reasoning back in front of the answer.

    Reasoning without an answer counts as an unclosed block, since the server does not report whether the
    model closed it. `prefilled` is inferred from the text: a block that is closed but never opened was opened
    by the template. A lone surrogate, which no file can hold, becomes U+FFFD.

    Args:
        reply: The reply as parsed by the client; may be any object.
        max_tokens: The requested cap.
        seconds: Wall time, copied to the answer.
        count_tokens: Counts the tokens of a text if the server does not.

    Raises:
        BackendError: The reply is not a chat completion with one choice, does not report its usage, was
            truncated before the cap, or ended with another reason than `stop` or `length`.
    """
    choice, usage = _parts(reply)
    text = without_surrogates(_text(choice))  # half of a character, cut at the end of an answer
    tokens: object = getattr(usage, "completion_tokens", None)
    if tokens is None and count_tokens is not None:
        tokens = count_tokens(text)
    if not isinstance(tokens, int):
        raise BackendError(
            "the server does not report the number of generated tokens (usage.completion_tokens)",
            hint="enable usage on the server, or pass count_tokens in Python",
        )
    if not 0 <= tokens <= _MOST_TOKENS:
        raise BackendError(
            f"the server reports {tokens} generated tokens, which cannot be",
            hint="correct the server, or pass count_tokens in Python to a server that reports none",
        )
    finish = _finish(choice, tokens, max_tokens)
    closed = text.find(END)
    return Generation(text, tokens, finish, seconds, prefilled=closed >= 0 and BEGIN not in text[:closed])


def _parts(reply: object) -> "tuple[Choice, object]":
    from openai.types.chat import ChatCompletion
    from openai.types.chat.chat_completion import Choice

    choices = reply.choices if isinstance(reply, ChatCompletion) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Choice):
        raise BackendError(
            f"the server did not return a chat completion with one choice: {str(reply)[:_SHOWN]}",
            hint="check that the base URL is that of an OpenAI-compatible API; it usually ends in /v1",
        )
    return choices[0], getattr(reply, "usage", None)


def _text(choice: "Choice") -> str:
    message: object = choice.message
    content = getattr(message, "content", None) or ""
    found = (getattr(message, name, None) for name in _REASONING_FIELDS)
    reasoning = next((value for value in found if value), "")
    if message is None or not isinstance(content, str) or not isinstance(reasoning, str):
        raise BackendError(f"the server returned an answer without text: {str(message)[:_SHOWN]}")
    if not reasoning:
        return content
    return f"{BEGIN}{reasoning}{END}{content}" if content else f"{BEGIN}{reasoning}"


def _finish(choice: "Choice", tokens: int, max_tokens: int) -> Finish:
    reason: object = choice.finish_reason
    if reason == "stop":
        return "stop"
    if reason != "length":
        raise BackendError(
            f"the server ended an answer with finish_reason {reason!r}",
            hint="a sweep accepts only `stop` and `length`",
        )
    if tokens < max_tokens:
        raise BackendError(
            f"the server truncated an answer at {tokens} tokens, below the cap of {max_tokens}",
            hint="start the server with a longer context, or use a smaller --max-tokens",
        )
    return "length"
