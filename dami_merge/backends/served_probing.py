"""Probe the models of a pair on any OpenAI-compatible server that returns log-probabilities.

`logit_bias` forbids hidden texts, and a started assistant turn that the server continues
(`continue_final_message`, as in vLLM and SGLang) carries the inducer. No server returns prompt
states through this interface.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from dami_merge.backends.conversation import Body, Connection, Exchange
from dami_merge.backends.dialogue import Dialogues
from dami_merge.backends.short_reply import read_short_answer
from dami_merge.errors import BackendError, UsageError
from dami_merge.estimators.fitted import Conversation
from dami_merge.estimators.probing import AT_ONCE, ProbeSettings, PromptStates, ShortAnswer
from dami_merge.grid.manifest import member_of, read_grid
from dami_merge.optional import needed
from dami_merge.router.endpoint import Endpoints

ALTERNATIVES = 20
"""Likeliest tokens that are asked for at each place: the most that the interface allows."""

_FORBIDDEN = -100.0
"""A float: `transformers serve` fails on an integer."""


class OpenAIProber:
    """A `Prober` on a server (the extra `sweep`), for short answers only.

    The server must return `logprobs` with `top_logprobs`, and honour `logit_bias`. Where an inducer is used,
    it must also continue an assistant turn; `AT_ONCE` has none.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        connection: Connection | None = None,
        *,
        grid: Path | None = None,
        ids: Callable[[str], Sequence[int]] | None = None,
        begun: Mapping[Fraction, str] | None = None,
    ) -> None:
        """Configure the prober; nothing is sent yet.

        Args:
            endpoints: Maps λ to a URL and the name of a model.
            connection: How to connect; None uses the default of each setting.
            grid: Folder of grid.json, whose tokenizers then give the ids of hidden texts.
            ids: Token ids of a text, for a server without a grid on this machine.
            begun: Text with which the assistant's turn begins at a λ, before the inducer, such as a closed
                `<think>` block where the chat template opens one.
        """
        self._endpoints = endpoints
        self._connection = connection or Connection()
        self._grid = None if grid is None else (grid, read_grid(grid))
        self._ids = ids
        self._begun = dict(begun or {})
        self._dialogues = Dialogues()

    def suited(self) -> ProbeSettings:
        """Return the default settings, or `AT_ONCE` if the grid's tokenizers cannot write the inducer."""
        usual = ProbeSettings()
        if self._grid is None:
            return usual
        folders = (self._sidecars(Fraction(lam)) for lam in (0, 1))
        writes = all(self._dialogues.of(folder).can_write(usual.inducer) for folder in folders)
        return usual if writes else AT_ONCE

    def describe(self) -> dict[str, str]:
        """Return kind of backend, template of the model name and, for a grid, the digest of its weights."""
        return self._endpoints.describe()

    def short_answers(
        self, queries: Sequence[Conversation], lam: Fraction, settings: ProbeSettings
    ) -> list[ShortAnswer]:
        """Let the model of a λ answer each query at once, greedily.

        Raises:
            BackendError: The openai package is not installed; the server is unreachable or returns no
                log-probabilities; or it generates a hidden text.
            UsageError: The ids of a hidden text are unknown, or `logit_bias` cannot forbid it.
            LambdaError: The λ is not in the grid.
        """
        needed("openai", "a server", extra="sweep", error=BackendError)
        endpoint = self._endpoints.of(lam)
        shared: Body = {
            "model": endpoint.model,
            "max_tokens": settings.max_tokens,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": ALTERNATIVES,
        }
        forbidden = self._forbidden(lam, settings)
        if forbidden:
            shared["logit_bias"] = forbidden
        start = self._begun.get(lam, "") + settings.inducer
        if start:
            shared["extra_body"] = {"add_generation_prompt": False, "continue_final_message": True}
        work = [(place, shared | {"messages": _turns(query, start)}) for place, query in enumerate(queries)]
        if not work:
            return []

        def read(reply: object, seconds: float) -> ShortAnswer:
            return read_short_answer(reply, settings, seconds=seconds)

        with closing(Exchange(endpoint, self._connection, work, read)) as running:
            found = dict(running.results())
        return [found[place] for place in range(len(work))]

    def prompt_states(
        self, queries: Sequence[Conversation], lam: Fraction, layers: Sequence[int] | None = None
    ) -> PromptStates:
        """Refuse: servers do not return the states of a prompt.

        Raises:
            BackendError: Always.
        """
        del queries, lam, layers
        raise BackendError(
            "a server does not return the states of a prompt",
            hint="compute them in this process (HfProber), or use the features `conf` or `text`",
        )

    def _sidecars(self, lam: Fraction) -> Path:
        if self._grid is None:
            raise UsageError(
                "the ids of hidden texts are unknown",
                hint="pass the grid's folder, a function `ids`, or hide no text (hidden=())",
            )
        folder, grid = self._grid
        return folder / member_of(grid, lam).path

    def _forbidden(self, lam: Fraction, settings: ProbeSettings) -> dict[str, float]:
        """`logit_bias` for the hidden texts."""
        if not settings.hidden:
            return {}
        texts = settings.hidden
        ids = self._ids
        if ids is None:
            dialogue = self._dialogues.of(self._sidecars(lam))
            texts = tuple(text for text in texts if dialogue.can_write(text))
            ids = dialogue.ids
        forbidden: dict[str, float] = {}
        for text in texts:
            found: Any = ids(text)
            if len(found) != 1:
                raise UsageError(
                    f"{text!r} has {len(found)} tokens; logit_bias of a server forbids single tokens only",
                    hint="probe in this process (HfProber), or leave it out of `hidden`",
                )
            forbidden[str(found[0])] = _FORBIDDEN
        return forbidden


def _turns(query: Conversation, start: str) -> list[dict[str, str]]:
    turns = [dict(turn) for turn in query]
    return [*turns, {"role": "assistant", "content": start}] if start else turns
