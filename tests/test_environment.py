"""No variable of the shell reaches a test."""

import os
import subprocess
import sys
from pathlib import Path

from tests.environment import is_foreign

HOSTILE = {
    "HF_HUB_OFFLINE": "1", "HF_TOKEN": "secret", "TRANSFORMERS_OFFLINE": "1", "http_proxy": "http://x:1",
    "HTTPS_PROXY": "http://x:1", "NO_COLOR": "1", "FORCE_COLOR": "1", "COLUMNS": "20", "TZ": "Asia/Tokyo",
    "PYTHONWARNINGS": "error", "OPENAI_API_KEY": "secret",
}  # fmt: skip


def test_no_foreign_variable_is_left_here() -> None:
    assert [name for name in os.environ if is_foreign(name) and name != "HF_HUB_DISABLE_PROGRESS_BARS"] == []


def test_huggingface_hub_is_imported_after_the_variables_are_gone() -> None:
    code = "import tests.conftest; from huggingface_hub import constants as c; print(c.HF_HUB_OFFLINE)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **HOSTILE}, cwd=Path(__file__).parents[1],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr


def test_what_has_nothing_to_do_with_the_program_stays() -> None:
    assert all(map(is_foreign, HOSTILE))
    assert not any(
        map(is_foreign, ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_START", "CUDA_VISIBLE_DEVICES"))
    )
