"""Read a short answer and its probabilities from a reply of a chat completions endpoint."""

from math import exp, log, log1p
from typing import TYPE_CHECKING, Any

from dami_merge.backends.reply import read_reply
from dami_merge.errors import BackendError
from dami_merge.estimators.probing import NAMED_TOKENS, ProbeSettings, ShortAnswer, counted_tokens

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

_NO_LOGPROBS = (
    "use a server that returns logprobs and top_logprobs, such as vLLM, or probe in this process (HfProber)"
)
_LEAST = 1e-12


def read_short_answer(reply: object, settings: ProbeSettings, *, seconds: float = 0.0) -> ShortAnswer:
    """Check a reply and return its answer.

    A server may report probabilities from before it forbade the hidden texts, as vLLM does by default: those
    of the other tokens are then divided by the share that is left.

    Args:
        reply: The reply as parsed by the client.
        settings: What was asked for.
        seconds: Wall time of the request.

    Raises:
        BackendError: The reply has no answer or no log-probabilities, or contains a hidden text.
    """
    read = read_reply(reply, max_tokens=settings.max_tokens, seconds=seconds)
    seen = next((text for text in settings.hidden if text in read.text), None)
    if seen is not None:
        raise BackendError(
            f"the server generated {seen!r}, though logit_bias forbids it",
            hint="use a server that honours logit_bias, or probe in this process (HfProber)",
        )
    tokens = _tokens(reply)
    if not tokens:
        raise BackendError("the server returns no log-probabilities of its tokens", hint=_NO_LOGPROBS)
    ended = read.finish == "stop" and "".join(each.token for each in tokens[:-1]).strip() == read.text.strip()
    kept = tokens[counted_tokens(len(tokens) - ended, skip_first=settings.skip_first)]
    pairs = [_measures(each, settings.hidden) for each in kept]
    return ShortAnswer(
        read.text, read.tokens, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    )


def _tokens(reply: object) -> "list[ChatCompletionTokenLogprob]":
    choices: Any = getattr(reply, "choices", None)
    found: Any = getattr(choices[0].logprobs, "content", None)
    return list(found) if isinstance(found, list) else []


def _measures(token: "ChatCompletionTokenLogprob", hidden: tuple[str, ...]) -> tuple[float, float]:
    """The log-probability of a token among what may be generated, and the entropy there, in nats."""
    named = {each.token: min(each.logprob, 0.0) for each in token.top_logprobs or []}
    if not named:
        raise BackendError("the server returns no alternatives (top_logprobs) of a token", hint=_NO_LOGPROBS)
    named[token.token] = min(token.logprob, 0.0)
    lost = sum(exp(value) for text, value in named.items() if text in hidden)
    left = log1p(-min(lost, 1 - _LEAST))
    every = sorted((value for text, value in named.items() if text not in hidden), reverse=True)
    shares = [min(exp(value - left), 1.0) for value in every[:NAMED_TOKENS]]
    rest = 1 - sum(shares)
    spread = [share for share in (*shares, rest) if share > _LEAST]
    return min(token.logprob - left, 0.0), -sum(share * log(share) for share in spread)
