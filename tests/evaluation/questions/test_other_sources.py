"""Questions from the Hub's library and from generators. Nothing here leaves this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dami_merge.errors import DamiMergeError, HubError, InputRefused, UsageError
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.optional import install_hint
from tests.hub_server import running_hub


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `datasets` reads as a data set of two splits, and its cache beside it."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    for split, count in (("train", 3), ("test", 2)):
        rows = [{"question": f"{split} {n}?", "answer": f"so\n#### {n}"} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_a_data_set_of_the_hubs_library_is_read_by_the_same_shapes(library: Path) -> None:
    test = read_questions(f"hf:{library}", suffix="")
    assert [(question.id, question.messages[0].content, question.answer) for question in test] == [
        ("1", "test 0?", "0"),
        ("2", "test 1?", "1"),
    ]
    train = read_questions(f"hf:{library}::train", limit=2)
    assert [question.answer for question in train] == ["0", "1"]
    assert read_questions(f"hf:{library}:default:train", limit=2) == train


def test_without_a_test_split_one_must_be_named_unless_it_is_the_only_one(library: Path) -> None:
    (library / "test.jsonl").rename(library / "validation.jsonl")
    with pytest.raises(InputRefused, match="no split 'test'; available: train, validation"):
        read_questions(f"hf:{library}")
    (library / "validation.jsonl").unlink()
    assert len(read_questions(f"hf:{library}")) == 3


def test_an_unknown_split_or_config_is_refused(library: Path) -> None:
    with pytest.raises(InputRefused, match="Unknown split"):
        read_questions(f"hf:{library}::nope")
    with pytest.raises(InputRefused, match="BuilderConfig 'nope' not found"):
        read_questions(f"hf:{library}:nope:test")


def test_a_folder_that_is_missing_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="Couldn't find any data file") as caught:
        read_questions(f"hf:{tmp_path / 'none'}")
    assert caught.value.hint


def test_a_data_set_that_is_not_on_the_hub_is_a_hub_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client against an empty Hub on this machine."""
    import datasets
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        huggingface_hub.close_session()
        with pytest.raises(HubError, match="hf:nobody/nothing: Couldn't find") as caught:
            read_questions("hf:nobody/nothing")
        huggingface_hub.close_session()
    assert "hf auth login" in caught.value.hint


def test_the_progress_bars_of_the_caller_are_as_they_were(library: Path) -> None:
    import datasets

    read_questions(f"hf:{library}")
    assert not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        read_questions(f"hf:{library}")
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()


def test_a_row_of_a_data_set_is_named(library: Path) -> None:
    (library / "test.jsonl").write_text(
        '{"question": "a", "answer": "#### 1"}\n{"question": "b", "answer": ""}'
    )
    with pytest.raises(InputRefused, match=r"row 2: .+found the format question"):
        read_questions(f"hf:{library}")


def test_offline_an_uncached_data_set_is_a_hub_error_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="hf:nobody/nothing") as caught:
        read_questions("hf:nobody/nothing")
    assert "HF_HUB_OFFLINE" in caught.value.hint


@pytest.mark.parametrize("spec", ["hf:", "hf:a:b:c:d", "hf:@main"])
def test_what_cannot_be_a_data_set_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="is not a valid dataset name"):
        read_questions(spec)


def test_generated_questions_are_the_same_for_a_seed() -> None:
    questions = read_questions("gym:chain_sum:5:seed=7")
    assert [question.id for question in questions] == [f"chain_sum-7-{n}" for n in range(5)]
    assert {(question.group, question.kind) for question in questions} == {("chain_sum", "math")}
    assert questions == read_questions("gym:chain_sum:5:seed=7")
    assert questions[:3] == read_questions("gym:chain_sum:3:seed=7")
    assert read_questions("gym:chain_sum:5")[0].messages != questions[0].messages
    assert read_questions("gym:spell_backward:3")[0].kind == "exact"


def test_an_unknown_generator_one_without_text_answers_and_one_that_fails_are_refused() -> None:
    with pytest.raises(InputRefused, match=r"no generator 'chainsum' \(available: chain_sum"):
        read_questions("gym:chainsum:5")
    with pytest.raises(InputRefused, match="only the generator's own scorer"):
        read_questions("gym:rubiks_cube:2")
    with pytest.raises(InputRefused, match=r"gym:composite:2: \w+"):
        read_questions("gym:composite:2")


@pytest.mark.parametrize("spec", ["gym:chain_sum", "gym:chain_sum:0", "gym:chain_sum:5:7", "gym::5"])
def test_what_names_no_generator_and_count_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="is not of the form gym:name:count"):
        read_questions(spec)


@pytest.mark.parametrize(("spec", "package"), [("hf:a/b", "datasets"), ("gym:a:1", "reasoning_gym")])
def test_without_the_extra_it_is_named(spec: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DamiMergeError, match=package.replace("_", "-")) as caught:
        read_questions(spec)
    assert caught.value.hint == install_hint("datasets")


def test_importing_questions_never_imports_torch(library: Path) -> None:
    program = (
        "import sys; from dami_merge.evaluation.questions.importers import read_questions;"
        "read_questions('bundled'); assert not {'datasets', 'reasoning_gym'} & sys.modules.keys(), 'early';"
        "read_questions('gym:chain_sum:2'); assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
