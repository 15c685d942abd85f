"""The group: help, version, module form, public names."""

import os
import subprocess
import sys

import dami_merge
from tests.cli.test_grid import run


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for word in ("grid", "check-lmc", "verify", "Exit codes"):
        assert word in result.stdout


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"dami-merge, version {dami_merge.__version__}\n"


def test_the_module_form_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dami_merge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dami-merge, version {dami_merge.__version__}\n"


def test_a_stream_that_cannot_say_lambda_is_no_reason_to_stop() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dami_merge", "--help"], capture_output=True, check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert b"Build a ?-grid" in done.stdout


def test_the_public_names_are_these() -> None:
    assert dami_merge.__all__ == sorted(dami_merge.__all__)
    assert set(dami_merge.__all__) == {
        "BackendError", "DamiMergeError", "DeviceUnfit", "DiskFull", "EstimatorError", "GridUnreadable",
        "HubError", "InputRefused", "LambdaError", "OutputRefused", "Problem", "RecipeError", "Route",
        "Router", "UsageError", "__version__",
    }  # fmt: skip
