"""What the client says when a server fails, in words that tell what to do."""

from typing import TYPE_CHECKING

from dami_merge.errors import BackendError
from dami_merge.router.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

_SHOWN_MODELS = 12
_SHOWN = 300
_LISTING_S = 10.0
_KEY = "give an API key that it accepts, or set OPENAI_API_KEY"
_SETTING = "it refuses a model or a setting; not every server takes a top_k"
_HINTS = {400: _SETTING, 401: _KEY, 403: _KEY, 422: _SETTING}


async def explained(
    error: "APIError", client: "AsyncOpenAI", endpoint: Endpoint, retries: int
) -> BackendError:
    """The error as one of ours; for a model that is not there, with those that are.

    Args:
        error: From the client, its retries done.
        client: Asked for the server's models, if the endpoint was not found.
        endpoint: What was asked.
        retries: How many there were, at most.
    """
    import openai

    url, after = endpoint.base_url, f" (after {retries} retries)" if retries else ""
    if isinstance(error, openai.APITimeoutError):
        hint = "allow more time, or fewer requests at once"
        return BackendError(f"{url} did not answer in time{after}", hint=hint)
    if isinstance(error, openai.APIConnectionError):
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return BackendError(f"{url} cannot be reached{after}{cause}", hint="is the server running there?")
    if not isinstance(error, openai.APIStatusError):
        return BackendError(f"{url} gave no usable answer: {error.message[:_SHOWN]}")
    hint = _HINTS.get(error.status_code, "")
    said = f"{url} answers {error.status_code}: {error.response.text[:_SHOWN].strip()}"
    if error.status_code == 404:
        said, hint = f"{said} (model {endpoint.model!r})", await _models(client)
    return BackendError(said if hint else said + after, hint=hint)


async def _models(client: "AsyncOpenAI") -> str:
    """Which models the server has, as a hint."""
    from openai import APIError

    try:
        page = await client.with_options(max_retries=0, timeout=_LISTING_S).models.list()
        names = [model.id for model in page.data]
    except (APIError, ValueError, AttributeError, TypeError):  # it has no such list, or one of another form
        return "is the base URL right? It usually ends in /v1"
    more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
    return f"it has {', '.join(names[:_SHOWN_MODELS])}{more}" if names else "it lists no model at all"
