"""The group: help, version, module form, public names."""

import os
import subprocess
import sys

import pytest

import dami_merge
from tests.cli.test_grid import run


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    words = (
        "grid",
        "check-lmc",
        "verify",
        "sweep",
        "report",
        "pairs",
        "backbone",
        "train",
        "route",
        "evaluate",
    )
    for word in (*words, "plan-rollouts", "Exit codes"):
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
        "BackendError", "Check", "DamiMergeError", "DeviceUnfit", "DiskFull", "EstimatorError",
        "Goal", "GridUnreadable", "HubError", "InProcess", "InputRefused", "LambdaError", "OutputRefused",
        "Problem", "QueryEstimator", "Recipe", "RecipeError", "Risk", "Rollouts", "Route", "Router", "Sample",
        "Sampling", "Server", "SweepRecipe", "SweepReport", "SweptGrid", "SweptPair", "Training",
        "UsageError", "Walk", "__version__", "build_grid", "check_lmc",
        "plan_grid", "read_rollouts", "read_texts", "report_sweep", "sweep", "train_estimator", "verify",
    }  # fmt: skip


def test_every_public_name_is_there_is_listed_and_has_one_home() -> None:
    assert set(dami_merge.__all__) <= set(dir(dami_merge))
    for name in dami_merge.__all__:
        value = getattr(dami_merge, name)
        assert getattr(dami_merge, name) is value
        if name != "__version__":
            assert value.__module__.startswith("dami_merge.")
            assert value.__doc__


def test_importing_the_package_and_listing_it_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, dami_merge as d; dir(d); from dami_merge import Router;"
        "print(sorted({'torch', 'numpy', 'transformers', 'click'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_library_user_gets_the_same_report_as_a_value_and_torch_only_then() -> None:
    program = (
        "import sys, dami_merge as d; assert 'torch' not in sys.modules;"
        "report = d.check_lmc('bundled:tiny/instruct', 'bundled:tiny/thinking');"
        "print(report.weights.verdict, report.weights.worst_layer, f'{report.weights.worst_cosine:.6f}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "connected model.layers.3 0.998857\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'merge_everything'"):
        dami_merge.merge_everything  # noqa: B018 - the access is what is tested
