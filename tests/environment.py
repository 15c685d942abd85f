"""The tests do not depend on the shell that starts them.

Imported before everything that reads its settings at import, such as huggingface_hub. A test that is about a
variable sets it.
"""

import os
import tempfile
from pathlib import Path

_PREFIXES = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "TRANSFORMERS_", "OPENAI_", "CLICOLOR", "PYTORCH_")
_NAMES = frozenset(
    {"NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "TERM", "TZ"}
    | {"PYTHONWARNINGS", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONOPTIMIZE", "LANGUAGE"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"}
)


def is_foreign(name: str) -> bool:
    """Whether an environment variable changes what the program or a library of it does."""
    return name.upper() in _NAMES or name.startswith(_PREFIXES)


for _name in list(filter(is_foreign, os.environ)):
    del os.environ[_name]

if not os.access(Path.home(), os.W_OK):  # Triton keeps what it compiles in a folder there
    os.environ.setdefault("TRITON_CACHE_DIR", tempfile.mkdtemp(prefix="triton-"))
