"""Where the models of a sweep run: in this process, or on a server. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InProcess:
    """Run the models in this process, with transformers.

    Attributes:
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: `bfloat16`, `float16`, `float32` or `float64`; None keeps the stored dtype.
        batch_size: Answers generated at once; None means as many as fit in memory.
    """

    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """Run the models on any OpenAI-compatible server.

    Attributes:
        base_url: URL such as `http://127.0.0.1:8000/v1`, a template of `{lambda}` and `{name}`.
        model_name: Name of the model on the server, a template of `{lambda}`, `{name}` and, for a grid,
            `{model}` and `{path}`; empty means `{model}`.
        api_key: API key; None uses OPENAI_API_KEY.
        concurrency: Maximum number of requests in flight.
        timeout_s: Seconds without a byte from the server.
    """

    base_url: str
    model_name: str = ""
    api_key: str | None = None
    concurrency: int = 32
    timeout_s: float = 3600.0
