"""Turn the errors of the client into messages that say what to do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dami_merge.errors import BackendError
from dami_merge.router.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

_SHOWN_MODELS = 12
_SHOWN = 300
_LISTING_S = 10.0
_KEY = "pass a valid --api-key, or set OPENAI_API_KEY"
_SETTING = "the server rejects the model or a setting; not every server accepts top_k: --top-k 0 omits it"
_SERVE = "`transformers serve` knows a checkpoint by its folder: pass --model-name '{path}'"
_HINTS = {400: _SETTING, 401: _KEY, 403: _KEY, 422: _SETTING}


async def explained(
    error: "APIError", client: "AsyncOpenAI", endpoint: Endpoint, retries: int
) -> BackendError:
    """Turn an error of the client into a BackendError; for an unknown model, list the server's models.

    Args:
        error: The client's error after all retries.
        client: Lists the server's models if the endpoint was not found.
        endpoint: The endpoint of the request.
        retries: Maximum number of retries.
    """
    import openai

    url = endpoint.base_url
    after = _after(retries)
    if isinstance(error, openai.APITimeoutError):
        hint = "use a larger --timeout or a smaller --concurrency"
        return BackendError(f"{url} did not answer in time{after}", hint=hint)
    if isinstance(error, openai.APIConnectionError):
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return BackendError(
            f"{url} cannot be reached{after}{cause}", hint="check that the server is running at this URL"
        )
    if not isinstance(error, openai.APIStatusError):
        return BackendError(f"{url} returned an unusable answer: {error.message[:_SHOWN]}")
    said = f"{url} returned {error.status_code}: {error.response.text[:_SHOWN].strip()}"
    if error.status_code in {404, 500}:
        known = await _models(client)
        hint = f"{known}; {_SERVE}" if error.status_code == 500 else known
        tried = _after(retries_of(error.response.request.headers)) if error.status_code == 500 else ""
        return BackendError(f"{said} (model {endpoint.model!r}){tried}", hint=hint)
    hint = _HINTS.get(error.status_code, "")
    return BackendError(
        said if hint else said + _after(retries_of(error.response.request.headers)), hint=hint
    )


def retries_of(headers: Mapping[str, str]) -> int:
    """Return how often a request was sent before, as the client counts in its headers."""
    counted = headers.get("x-stainless-retry-count", "0")
    return int(counted) if counted.isdecimal() else 0


def _after(retries: int) -> str:
    return f" (after {retries} {'retry' if retries == 1 else 'retries'})" if retries else ""


async def _models(client: "AsyncOpenAI") -> str:
    """Return the models of the server as a hint."""
    from openai import APIError

    try:
        page = await client.with_options(max_retries=0, timeout=_LISTING_S).models.list()
        names = [model.id for model in page.data]
    except (APIError, ValueError, AttributeError, TypeError):  # the list is unsupported or malformed
        return "check the base URL; it usually ends in /v1"
    more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
    return f"available: {', '.join(names[:_SHOWN_MODELS])}{more}" if names else "the server lists no models"
