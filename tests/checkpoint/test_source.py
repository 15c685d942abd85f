"""What a user may name as a model."""

from pathlib import Path

import pytest

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import fetched, open_both, open_source
from dami_merge.errors import InputRefused
from tests.checkpoints import random_tensors, write_checkpoint


def test_a_folder_is_opened_and_has_nothing_to_fetch(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "toy", random_tensors(seed=0))
    checkpoint = open_source(str(folder))
    assert (checkpoint.spec, checkpoint.source_id, checkpoint.remote) == (str(folder), "toy", False)
    assert fetched(checkpoint) is checkpoint


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "toy", random_tensors(seed=0))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("~/toy").source_id == "toy"


def test_an_existing_folder_wins_over_a_hub_id_of_the_same_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "org" / "toy", random_tensors(seed=0))
    monkeypatch.chdir(tmp_path)
    checkpoint = open_source("org/toy")
    assert (checkpoint.source_id, checkpoint.revision, checkpoint.root) == ("toy", "", Path("org/toy"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("./absent", r"^\./absent is neither an existing folder nor a Hub id"),
        ("/absent/model", "^/absent/model is neither an existing folder nor a Hub id"),
        ("gpt2", "^gpt2 is neither an existing folder nor a Hub id"),
        ("a/b/c", "^a/b/c is neither an existing folder nor a Hub id"),
        ("", r"^ is neither an existing folder|^ has no config\.json"),
        ("~nobody-of-this-name/m", "is not a valid path: Could not determine home directory"),
        ("x" * 5000, "is not a valid path: .*File name too long"),
        ("a\0b", "(is not a valid path|is neither an existing folder)"),
    ],
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputRefused, match=message) as refused:
        open_source(spec)
    assert {problem.code for problem in refused.value.problems} <= {"no-such-model", "no-config"}


def test_a_file_is_refused_as_a_file_even_where_it_is_spelt_like_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputRefused, match=r"^org/model\.safetensors is a file") as refused:
        open_source("org/model.safetensors")
    assert refused.value.problems[0].hint == "give a model folder or org/name"


def test_the_bundled_pair_is_opened_under_a_name_without_a_path() -> None:
    opened = open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    assert [checkpoint.source_id for checkpoint in opened] == [
        "dami-merge/tiny-instruct", "dami-merge/tiny-thinking",
    ]  # fmt: skip
    assert join(*opened).allowed == ()


@pytest.mark.parametrize("name", ["tiny/nobody", "", "../checkpoint", "tiny/../../checkpoint"])
def test_a_model_that_is_not_bundled_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InputRefused, match=f"^bundled:{name} is not a bundled model") as refused:
        open_source(f"bundled:{name}")
    assert refused.value.problems[0].code == "no-such-model"
    assert refused.value.problems[0].hint == "choose bundled:tiny/instruct or bundled:tiny/thinking"


def test_a_path_of_this_machine_is_not_a_bundled_model(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "toy", random_tensors(seed=0))
    with pytest.raises(InputRefused, match="is not a bundled model"):
        open_source(f"bundled:{folder}")


def test_both_sides_are_opened_in_their_order(pair_folders: tuple[Path, Path]) -> None:
    instruct, thinking = pair_folders
    opened = open_both(str(instruct), str(thinking))
    assert [checkpoint.root for checkpoint in opened] == [instruct, thinking]


def test_what_is_wrong_with_either_side_is_reported_together(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputRefused, match="has no config") as refused:
        open_both(str(empty), "./absent")
    assert [problem.code for problem in refused.value.problems] == ["no-config", "no-such-model"]


def test_one_good_side_does_not_hide_the_other_ones_fault(pair_folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputRefused, match=r"^\./absent is neither an existing folder nor a Hub id"):
        open_both(str(pair_folders[0]), "./absent")
