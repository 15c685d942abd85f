"""One answer of a chat completions endpoint, checked: text, tokens, finish. Knows nothing of connections."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dami_merge.errors import BackendError
from dami_merge.evaluation.generation import Finish, Generation
from dami_merge.evaluation.grading.thinking import BEGIN, END

if TYPE_CHECKING:
    from openai.types.chat.chat_completion import Choice

_REASONING_FIELDS = ("reasoning_content", "reasoning")
"""As vLLM, SGLang and transformers name what their reasoning parsers cut out."""

_SHOWN = 200


def read_reply(
    reply: object, *, max_tokens: int, seconds: float, count_tokens: Callable[[str], int] | None = None
) -> Generation:
    """Check a reply, and put its reasoning back in front of the answer.

    Reasoning without an answer is an unclosed block: whether the model closed it, such a server does not say.
    `prefilled` is told from the text: a block that is closed and never opened was opened by the template.

    Args:
        reply: What the client made of the body; anything at all.
        max_tokens: The cap that was asked for.
        seconds: Passed on.
        count_tokens: Of a text, where the server does not count.

    Raises:
        BackendError: It is no chat completion of one choice, has no usage, was cut by something else than the
            cap, or ended in another way than `stop` or `length`.
    """
    choice, usage = _parts(reply)
    text = _text(choice)
    tokens: object = getattr(usage, "completion_tokens", None)
    if tokens is None and count_tokens is not None:
        tokens = count_tokens(text)
    if not isinstance(tokens, int):
        raise BackendError(
            "the server does not say how many tokens it generated (usage.completion_tokens)",
            hint="tokens are what a sweep measures: switch usage on, or have them counted here",
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
            f"the server's answer is no chat completion of one choice: {str(reply)[:_SHOWN]}",
            hint="is the base URL that of an OpenAI-compatible API? It usually ends in /v1",
        )
    return choices[0], getattr(reply, "usage", None)


def _text(choice: "Choice") -> str:
    message: object = choice.message
    content = getattr(message, "content", None) or ""
    found = (getattr(message, name, None) for name in _REASONING_FIELDS)
    reasoning = next((value for value in found if value), "")
    if message is None or not isinstance(content, str) or not isinstance(reasoning, str):
        raise BackendError(f"the server's answer holds no text: {str(message)[:_SHOWN]}")
    if not reasoning:
        return content
    return f"{BEGIN}{reasoning}{END}{content}" if content else f"{BEGIN}{reasoning}"


def _finish(choice: "Choice", tokens: int, max_tokens: int) -> Finish:
    reason: object = choice.finish_reason
    if reason == "stop":
        return "stop"
    if reason != "length":
        raise BackendError(
            f"the server ended an answer with {reason!r}", hint="a sweep can use `stop` and `length` only"
        )
    if tokens < max_tokens:
        raise BackendError(
            f"the server cut an answer at {tokens} tokens, and {max_tokens} were allowed",
            hint="give the server a longer context, or allow fewer tokens",
        )
    return "length"
