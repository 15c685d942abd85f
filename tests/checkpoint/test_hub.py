"""The Hub: the real client against a server on this machine; nothing here leaves the loopback device."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from dami_merge.checkpoint.folder import HEADERS_AT_ONCE, Checkpoint
from dami_merge.checkpoint.hub import FIRST_BYTES
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import fetched, open_source
from dami_merge.errors import DiskFull, HubError, InputRefused
from tests.checkpoints import CONFIG, random_tensors, write_checkpoint, write_json
from tests.hub_server import Hub

NAME = "org/toy-instruct"


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def large_tensors() -> dict[str, torch.Tensor]:
    return {**random_tensors(seed=0), "large": torch.zeros(1 << 19, dtype=torch.bfloat16)}


def repo_folder(folder: Path, *, sharded: bool = False) -> Path:
    """A repository with a megabyte of weights, and files that no merge takes."""
    tensors = large_tensors()
    names = list(tensors)
    extra = {"README.md": "# card\n", ".gitattributes": "*.safetensors filter=lfs\n"}
    shards = [names[:4], names[4:]] if sharded else []
    return write_checkpoint(folder, tensors, shards=shards, extra=extra)


def names_and_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, (_, tensor) in checkpoint.tensors().items()}


def problem_codes(refused: InputRefused) -> list[str]:
    return [problem.code for problem in refused.problems]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_repository_is_described_without_its_weights_being_downloaded(
    hub: Hub, tmp_path: Path, sharded: bool
) -> None:
    folder = repo_folder(tmp_path / "made", sharded=sharded)
    hub.add(NAME, folder)
    checkpoint = open_source(NAME)
    local = open_source(str(folder))
    assert checkpoint.remote
    assert checkpoint.files.keys() == local.files.keys()
    assert [f.tensors for f in checkpoint.files.values()] == [f.tensors for f in local.files.values()]
    assert [f.digest for f in checkpoint.files.values()] == [f.digest for f in local.files.values()]
    assert checkpoint.size_bytes == local.size_bytes > 1_000_000
    assert checkpoint.config == CONFIG
    asked = hub.asked(".safetensors")
    assert [request.range for request in asked] == [f"bytes=0-{FIRST_BYTES - 1}"] * len(local.files)
    assert hub.served_bytes(".safetensors") <= FIRST_BYTES * len(local.files)
    assert not list(checkpoint.root.glob("*.safetensors"))


def test_the_revision_is_pinned_to_the_commit_and_the_id_is_kept(hub: Hub, tmp_path: Path) -> None:
    repo = hub.add(NAME, repo_folder(tmp_path / "made"))
    checkpoint = open_source(NAME)
    assert (checkpoint.spec, checkpoint.source_id) == (NAME, NAME)
    assert checkpoint.revision == repo.refs["main"]
    assert {r.path.split("/")[4] for r in hub.log if "/resolve/" in r.path} == {repo.refs["main"]}


def test_a_named_revision_is_the_one_that_is_read(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "old"))
    newer = write_checkpoint(tmp_path / "new", {"only": torch.zeros(3)})
    hub.add(NAME, newer, branch="refs/pr/7")
    checkpoint = open_source(f"{NAME}@refs/pr/7")
    assert names_and_shapes(checkpoint) == {"only": (3,)}
    assert checkpoint.revision == hub.repos[NAME].refs["refs/pr/7"]
    assert checkpoint.source_id == NAME
    by_commit = open_source(f"{NAME}@{checkpoint.revision}")
    assert by_commit.files == checkpoint.files


def test_a_header_longer_than_the_first_part_takes_a_second_request(hub: Hub, tmp_path: Path) -> None:
    tensors = {f"layer.{number:050d}.weight": torch.zeros(2) for number in range(700)}
    hub.add(NAME, write_checkpoint(tmp_path / "made", tensors))
    checkpoint = open_source(NAME)
    assert len(checkpoint.tensors()) == 700
    first, second = hub.asked(".safetensors")
    assert first.range == f"bytes=0-{FIRST_BYTES - 1}"
    assert second.range.startswith(f"bytes={FIRST_BYTES}-")


def test_fetching_downloads_the_weights_and_the_result_opens_locally(hub: Hub, tmp_path: Path) -> None:
    folder = repo_folder(tmp_path / "made", sharded=True)
    hub.add(NAME, folder)
    described = open_source(NAME)
    local = fetched(described)
    assert not local.remote
    assert (local.root, local.revision, local.spec) == (described.root, described.revision, NAME)
    assert local.files == described.files
    for file in local.files:
        assert (local.root / file).read_bytes() == (folder / file).read_bytes()
    assert not (local.root / "README.md").exists()
    assert fetched(local) is local


def test_a_second_look_takes_the_weights_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    fetched(open_source(NAME))
    hub.log.clear()
    again = open_source(NAME)
    assert not again.remote
    assert not [request for request in hub.log if "/resolve/" in request.path]


def test_only_the_shards_that_are_not_cached_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made", sharded=True))
    checkpoint = fetched(open_source(NAME))
    first, second = sorted(checkpoint.files)
    (checkpoint.root / first).unlink()
    blobs = checkpoint.root.parent.parent / "blobs"
    for blob in blobs.iterdir():
        if blob.stat().st_size == checkpoint.files[first].size_bytes:
            blob.unlink()
    hub.log.clear()
    again = open_source(NAME)
    assert again.remote
    assert fetched(again).files == checkpoint.files
    assert not hub.asked(second)
    assert hub.served_bytes(first) >= checkpoint.files[first].size_bytes


@pytest.mark.parametrize("spec", [NAME, f"{NAME}@main", "commit"])
def test_offline_the_cache_is_enough(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    repo = hub.add(NAME, repo_folder(tmp_path / "made", sharded=True))
    online = fetched(open_source(NAME))
    go_offline(monkeypatch)
    hub.log.clear()
    offline = open_source(f"{NAME}@{repo.refs['main']}" if spec == "commit" else spec)
    assert (offline.files, offline.revision, offline.remote) == (online.files, online.revision, False)
    assert not hub.log


def test_a_hub_out_of_reach_is_the_same_as_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    online = fetched(open_source(NAME))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert open_source(NAME).files == online.files
    with pytest.raises(HubError, match=r"^org/other is not in the Hub's cache, and the Hub is unreachable$"):
        open_source("org/other")


def test_offline_without_the_cache_is_refused_with_the_way_out(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch)
    with pytest.raises(HubError, match="org/toy-instruct is not in the Hub's cache") as refused:
        open_source(NAME)
    assert "unset HF_HUB_OFFLINE" in refused.value.hint
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("sharded", [False, True])
def test_offline_with_the_small_files_alone_says_that_the_weights_are_missing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made", sharded=sharded))
    described = open_source(NAME)
    go_offline(monkeypatch)
    with pytest.raises(HubError, match="some weights of org/toy-instruct are not in the Hub's cache"):
        open_source(NAME)
    with pytest.raises(HubError, match=r"^org/toy-instruct: "):
        fetched(described)


def test_a_cache_that_does_not_know_what_it_lacks_is_not_taken_for_whole(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made", sharded=True))
    described = open_source(NAME)
    other = (tmp_path / "cache").rename(tmp_path / "other")  # the client remembers listings by their path
    shutil.rmtree(other / "models--org--toy-instruct" / "trees", ignore_errors=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(other))
    described = replace(described, root=other / described.root.relative_to(tmp_path / "cache"))
    go_offline(monkeypatch)
    message = r"model-00001-of-00002\.safetensors was not downloaded \(2 of 2 files missing\)$"
    with pytest.raises(HubError, match=message) as refused:
        fetched(described)
    assert refused.value.hint == "go online and run the same command again"


def test_offline_a_cached_checkpoint_with_a_fault_is_refused_for_its_fault(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    root = fetched(open_source(NAME)).root
    (root / "config.json").unlink()
    (root / "config.json").write_text("not json")
    go_offline(monkeypatch)
    with pytest.raises(InputRefused, match=r"org/toy-instruct: config\.json cannot be read"):
        open_source(NAME)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        ((403, "GatedRepo"), "^org/toy-instruct is gated$", "accept the terms on its Hub page"),
        (
            (404, "RepoNotFound"),
            "^org/toy-instruct is neither a local folder nor a model on the Hub that you can access$",
            "check the spelling",
        ),
        ((500, ""), "org/toy-instruct: the request to the Hub failed: .*500", "try again later"),
        ((429, ""), "org/toy-instruct: the request to the Hub failed: .*429", "try again later"),
    ],
)
def test_an_error_of_the_hub_is_told_in_the_users_words(
    hub: Hub, tmp_path: Path, error: tuple[int, str], message: str, hint: str
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made")).listing_error = error
    with pytest.raises(HubError, match=message) as refused:
        open_source(NAME)
    assert hint in refused.value.hint


def test_a_repository_that_is_not_there_is_said_to_be_missing_or_private(hub: Hub) -> None:
    with pytest.raises(
        HubError, match=r"^org/nobody is neither a local folder nor a model on the Hub that you can access$"
    ):
        open_source("org/nobody")


def test_a_revision_that_is_not_there_is_said_to_be_missing(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    with pytest.raises(HubError, match=r"^org/toy-instruct@v9: the repository has no revision of this name$"):
        open_source(f"{NAME}@v9")


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_that_lists_its_files_is_still_said_to_be_gated(
    hub: Hub, tmp_path: Path, status: int
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made")).file_error = (status, "GatedRepo")
    with pytest.raises(HubError, match=r"^org/toy-instruct is gated$") as refused:
        open_source(NAME)
    assert "hf auth login" in refused.value.hint


def test_a_download_that_is_refused_leaves_an_error_and_no_weights(hub: Hub, tmp_path: Path) -> None:
    repo = hub.add(NAME, repo_folder(tmp_path / "made"))
    described = open_source(NAME)
    repo.file_error = (403, "GatedRepo")
    with pytest.raises(HubError, match=r"^org/toy-instruct is gated$"):
        fetched(described)
    assert not list(described.root.glob("*.safetensors"))


@pytest.mark.parametrize("id_", ["org/a--b", "org/a..b", "org/name.git", "örg/ü"])
def test_an_id_that_the_hub_does_not_allow_is_refused_without_a_request(hub: Hub, id_: str) -> None:
    with pytest.raises(
        InputRefused, match=f"{id_} (is not a valid Hub id|is neither an existing folder nor a Hub id)"
    ) as refused:
        open_source(id_)
    assert problem_codes(refused.value) == ["no-such-model"]
    assert not hub.log


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        (
            ["pytorch_model.bin"],
            "not-safetensors",
            r"has neither .*, only pytorch_model\.bin, a pickle, which can run code",
        ),
        (
            ["model.ckpt", "a.pt"],
            "not-safetensors",
            r"has neither .*, only a\.pt, a pickle, which can run code",
        ),
        ([], "no-weights", r"has neither model\.safetensors nor model\.safetensors\.index\.json"),
        (
            ["model.safetensors", "model.safetensors.index.json"],
            "ambiguous",
            r"has both model\.safetensors and model\.safetensors\.index\.json",
        ),
    ],
)
def test_a_repository_without_usable_weights_is_refused_before_anything_is_downloaded(
    hub: Hub, tmp_path: Path, files: list[str], code: str, message: str
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    for name in files:
        (folder / name).write_bytes(b"\x80\x04.")
    hub.add(NAME, folder)
    with pytest.raises(InputRefused, match=f"org/toy-instruct {message}") as refused:
        open_source(NAME)
    assert problem_codes(refused.value) == [code]
    assert not [request for request in hub.log if "/resolve/" in request.path]


def test_a_quantised_repository_is_recognised_before_its_weights_move(hub: Hub, tmp_path: Path) -> None:
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}
    hub.add(NAME, write_checkpoint(tmp_path / "made", large_tensors(), config=config))
    checkpoint = open_source(NAME)
    with pytest.raises(InputRefused, match=r"org/toy-instruct is quantised \(fp8\)") as refused:
        join(checkpoint, checkpoint)
    assert problem_codes(refused.value) == ["quantized", "quantized"]
    assert hub.served_bytes(".safetensors") <= FIRST_BYTES


def test_a_shard_that_the_repository_lacks_is_named(hub: Hub, tmp_path: Path) -> None:
    folder = repo_folder(tmp_path / "made", sharded=True)
    (folder / "model-00002-of-00002.safetensors").unlink()
    hub.add(NAME, folder)
    with pytest.raises(InputRefused, match=r"model-00002-of-00002.safetensors is not in") as refused:
        open_source(NAME)
    assert problem_codes(refused.value) == ["missing-shard"]


def test_other_safetensors_files_of_a_repository_are_left_alone(hub: Hub, tmp_path: Path) -> None:
    folder = repo_folder(tmp_path / "made")
    (folder / "consolidated.safetensors").write_bytes(b"x" * 100)
    hub.add(NAME, folder)
    local = fetched(open_source(NAME))
    assert set(local.files) == {"model.safetensors"}
    assert not hub.asked("consolidated.safetensors")
    assert not open_source(NAME).remote


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "header-length"), (b"\xff" * 100, "header-length"), (b"version https://git-lfs", "lfs-pointer")],
)
def test_damaged_weights_are_refused_from_the_hub_as_from_the_disk(
    hub: Hub, tmp_path: Path, content: bytes, code: str
) -> None:
    folder = repo_folder(tmp_path / "made")
    (folder / "model.safetensors").write_bytes(content)
    hub.add(NAME, folder)
    with pytest.raises(InputRefused, match=r"org/toy-instruct: model\.safetensors") as refused:
        open_source(NAME)
    assert problem_codes(refused.value) == [code]


def test_a_branch_that_moves_while_it_is_read_is_not_mixed_up(hub: Hub, tmp_path: Path) -> None:
    repo = hub.add(NAME, repo_folder(tmp_path / "one"))
    old = repo.refs["main"]
    hub.add(NAME, write_checkpoint(tmp_path / "two", {"only": torch.zeros(3)}), branch="next")
    repo.moves_to = repo.refs["next"]
    with pytest.raises(HubError, match=f"org/toy-instruct moved from commit {old} to {repo.refs['next']}"):
        open_source(NAME)


def test_a_server_that_cannot_serve_parts_is_refused_before_it_sends_the_whole_file(
    hub: Hub, tmp_path: Path
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    hub.ranges = False
    with pytest.raises(
        HubError, match=r"did not serve the requested byte range of model\.safetensors"
    ) as refused:
        open_source(NAME)
    assert "hf download" in refused.value.hint


def test_a_connection_lost_within_a_header_is_an_error_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    hub.cut = True
    lost = r"org/toy-instruct: model\.safetensors could not be read in 6 attempts: peer closed connection"
    with pytest.raises(HubError, match=lost):
        open_source(NAME)


def test_a_web_page_instead_of_an_answer_is_an_error_of_the_hub(hub: Hub) -> None:
    hub.html = True
    with pytest.raises(HubError, match="org/toy-instruct: the request to the Hub failed"):
        open_source(NAME)


def test_a_full_disk_is_foreseen_before_the_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    described = open_source(NAME)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    hub.log.clear()
    with pytest.raises(
        DiskFull, match=r"downloading org/toy-instruct needs 1\.05 MB, but .* has 10 B free"
    ) as full:
        fetched(described)
    assert "HF_HOME" in full.value.hint
    assert not hub.log


def test_a_disk_that_fills_on_the_way_is_reported_as_full(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))
    described = open_source(NAME)

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.move", no_room)
    monkeypatch.setattr("os.replace", no_room)
    with pytest.raises(DiskFull, match=r"the disk of .* is full"):
        fetched(described)


def test_a_cache_that_cannot_be_written_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made"))

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("os.makedirs", refuse)
    with pytest.raises(HubError, match=r"the Hub's cache is not writable: .*cache") as refused:
        open_source(NAME)
    assert "HF_HOME" in refused.value.hint


def test_the_environment_of_a_fresh_process_is_obeyed(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, repo_folder(tmp_path / "made", sharded=True))
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "home" / "hub"),
    }
    script = (
        "import json, sys\n"
        "from dami_merge.checkpoint.source import fetched, open_source\n"
        "opened = open_source(sys.argv[1])\n"
        "local = fetched(opened)\n"
        "print(json.dumps([opened.remote, local.remote, local.revision, sorted(local.files)]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", script, NAME]
    online = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert json.loads(online.stdout) == [True, False, hub.repos[NAME].refs["main"], shards]
    hub.log.clear()
    environment["HF_HUB_OFFLINE"] = "1"
    offline = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(offline.stdout) == [False, False, hub.repos[NAME].refs["main"], shards]
    assert not hub.log


def test_headers_of_many_shards_are_read_at_once_and_their_problems_told_in_order(
    hub: Hub, tmp_path: Path
) -> None:
    tensors = {f"layer.{number}.weight": torch.full((4,), float(number)) for number in range(20)}
    folder = write_checkpoint(tmp_path / "made", tensors, shards=[[name] for name in tensors])
    hub.add(NAME, folder)
    assert names_and_shapes(open_source(NAME)) == dict.fromkeys(tensors, (4,))
    for number in (17, 3, 9):
        (folder / f"model-{number:05d}-of-00020.safetensors").write_bytes(b"\xff" * 100)
    hub.add("org/damaged", folder)
    hub.slow_s = 0.02
    with pytest.raises(InputRefused, match="model-00003-of-00020") as refused:
        open_source("org/damaged")
    assert [problem.message.split(":")[1] for problem in refused.value.problems] == [
        f" model-{number:05d}-of-00020.safetensors" for number in (3, 9, 17)
    ]
    assert 4 <= hub.most_at_once <= HEADERS_AT_ONCE


def test_of_several_shards_that_the_hub_refuses_the_first_is_told(hub: Hub, tmp_path: Path) -> None:
    tensors = {f"layer.{number}.weight": torch.zeros(4) for number in range(20)}
    folder = write_checkpoint(tmp_path / "made", tensors, shards=[[name] for name in tensors])
    hub.add(NAME, folder)
    hub.commit_claim = "f" * 40
    with pytest.raises(HubError, match=r"model-00001-of-00020\.safetensors changed"):
        open_source(NAME)
