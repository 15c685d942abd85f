"""Optional packages: the hint installs what is missing, and progress bars come back."""

import importlib.metadata
import subprocess
import sys

import pytest

from dami_merge.errors import DamiMergeError
from dami_merge.optional import install_hint, require_installed, without_progress_bars


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("live", {"transformers"}),
        ("sweep", {"math-verify", "openai", "transformers"}),
        ("report", {"altair", "vl-convert-python"}),
        ("datasets", {"datasets", "reasoning-gym"}),
    ],
)
def test_the_hint_names_the_packages_of_the_extra_and_not_ours(extra: str, packages: set[str]) -> None:
    words = install_hint(extra).split()
    assert words[:2] == ["pip", "install"]
    assert {word.strip("'").partition(">")[0] for word in words[2:]} == packages


def test_the_hint_is_a_command_that_a_shell_and_pip_accept() -> None:
    command = install_hint("live").removeprefix("pip ") + " --dry-run --quiet --no-deps --no-index"
    done = subprocess.run(
        f"{sys.executable} -m pip {command}", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_an_extra_that_is_not_ours_is_named_and_without_metadata_every_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert install_hint("nothing") == "install dami-merge with the extra 'nothing'"

    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert install_hint("live") == "install dami-merge with the extra 'live'"


def test_a_package_is_required_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    require_installed("antigravity", "flight", extra="live")  # importing it would open a browser
    assert "antigravity" not in sys.modules
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        DamiMergeError, match=r"^--texts needs transformers, which is not installed$"
    ) as refused:
        require_installed("transformers", "--texts", extra="live")
    assert refused.value.hint == install_hint("live")


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_off_inside_and_as_before_afterwards_also_after_an_error(shown: bool) -> None:
    calls: list[str] = []
    bars = without_progress_bars(shown=shown, off=lambda: calls.append("off"), on=lambda: calls.append("on"))

    def fail_inside() -> None:
        with bars:
            assert calls == ["off"]
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail_inside()
    assert calls == (["off", "on"] if shown else ["off"])
