"""One folder: what it says of itself, and every reason to refuse it."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dami_merge.checkpoint.folder import open_folder, sidecar_names
from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused
from tests.checkpoints import CONFIG, random_tensors, write_checkpoint, write_json

INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


def sharded(folder: Path) -> Path:
    tensors = random_tensors(seed=0)
    names = list(tensors)
    return write_checkpoint(folder, tensors, shards=[names[:3], names[3:]])


def refused(folder: Path) -> InputRefused:
    with pytest.raises(InputRefused, match=r"^m\b") as caught:
        open_folder(folder, spec="m")
    return caught.value


def codes(error: InputRefused) -> list[str]:
    return [problem.code for problem in error.problems]


def test_a_single_file_and_a_sharded_folder_say_the_same(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    single = open_folder(write_checkpoint(tmp_path / "one", tensors), spec="one")
    double = open_folder(sharded(tmp_path / "two"), spec="two")
    assert list(single.files) == ["model.safetensors"]
    assert list(double.files) == [FIRST, SECOND]
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for checkpoint in (single, double):
        assert {name: tensor.shape for name, (_, tensor) in checkpoint.tensors().items()} == shapes
        assert checkpoint.size_bytes == sum((checkpoint.root / f).stat().st_size for f in checkpoint.files)
        assert checkpoint.config == CONFIG
        assert not checkpoint.remote
    assert {file for file, _ in double.tensors().values()} == {FIRST, SECOND}


def test_a_local_folder_is_called_by_its_name_and_never_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "toy-instruct", random_tensors(seed=0))
    checkpoint = open_folder(folder, spec=str(folder))
    assert (checkpoint.source_id, checkpoint.revision) == ("toy-instruct", "")
    monkeypatch.chdir(folder)
    assert open_folder(Path(), spec=".").source_id == "toy-instruct"


def test_sidecars_are_the_files_of_the_tokenizer_the_templates_and_the_licence(tmp_path: Path) -> None:
    wanted = [
        "LICENSE",
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
        "merges.txt",
        "modeling_x.py",
    ]
    other = ["README.md", "training_args.bin", "optimizer.index.json", "sub/tokenizer.json", "image.png"]
    folder = write_checkpoint(
        tmp_path / "m", random_tensors(seed=0), extra=dict.fromkeys([*wanted, *other], "x")
    )
    (folder / "folder.json").mkdir()
    assert sidecar_names(folder) == tuple(sorted([*wanted, "tokenizer.json", "tokenizer_config.json"]))
    assert open_folder(folder, spec="m").sidecars == sidecar_names(folder)
    assert INDEX not in sidecar_names(sharded(tmp_path / "two"))


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert str(error) == "m has no config.json (is it a model folder?)"
    assert codes(error) == ["no-config"]


def test_a_lora_adapter_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA"})
    save_file({"lora_A": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    error = refused(tmp_path)
    assert codes(error) == ["no-config"]
    assert error.problems[0].hint == "merge the LoRA adapter into its base model first"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"config\.json cannot be read: Expecting property name"),
        (b"\xff", r"config\.json cannot be read: .*utf-8.* can't decode"),
        (b"[" * 100_000, r"config\.json is nested deeper than 32 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"config\.json cannot be read: Exceeds the limit"),
        (b"[1]", r"config\.json is not a JSON object"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", r"config\.json is nested deeper than 32 levels"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, r"config\.json is nested deeper than 32 levels"),
    ],
)
def test_a_config_that_cannot_be_understood_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputRefused, match=f"^org/m: {message}"):
        open_folder(tmp_path, spec="org/m")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "config.json", CONFIG)
    (tmp_path / name).write_bytes(b"\x80\x04.")
    error = refused(tmp_path)
    assert f"m stores its weights in {name}, a pickle, which can run code when it is loaded" in str(error)
    assert codes(error) == ["not-safetensors"]
    assert "`save_pretrained`" in error.problems[0].hint


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", CONFIG)
    error = refused(tmp_path)
    assert codes(error) == ["no-weights"]
    assert f"m has neither model.safetensors nor {INDEX} (download the whole model" in str(error)


def test_a_folder_with_both_a_single_file_and_an_index_is_refused_as_ambiguous(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    error = refused(folder)
    assert f"m has both model.safetensors and {INDEX} (loaders disagree" in str(error)
    assert codes(error) == ["ambiguous"]


def test_every_missing_shard_is_named_with_its_number_of_tensors(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    for name in (FIRST, SECOND):
        (folder / name).unlink()
    error = refused(folder)
    assert codes(error) == ["missing-shard", "missing-shard"]
    assert f"m: {FIRST} is missing (3 tensors) (the download is incomplete: download the model again)" in str(
        error
    )


@pytest.mark.parametrize(
    "file",
    [
        "../outside.safetensors", "/etc/outside.safetensors", "sub/../../outside.safetensors",
        "a\\b.safetensors", "a//b.safetensors", "./a.safetensors", "nul\0.safetensors", "line\n.safetensors",
        "x" * 300 + ".safetensors", "model.bin", "", "..", 7, None, ["a.safetensors"],
    ],
)  # fmt: skip
def test_an_index_that_names_no_safetensors_file_inside_the_folder_is_refused(
    tmp_path: Path, file: object
) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    folder = sharded(tmp_path / "m")
    write_json(folder / INDEX, {"weight_map": {"a": file}})
    error = refused(folder)
    assert codes(error) == ["index-path"]
    assert error.problems[0].message == (
        f"m: the index places 'a' in {file!r}, which is not a safetensors file inside the folder"
    )


def test_a_shard_in_a_subfolder_is_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "weights").mkdir(parents=True)
    write_json(folder / "config.json", CONFIG)
    save_file({"a": torch.zeros(1)}, folder / "weights" / "a.safetensors")
    write_json(folder / INDEX, {"weight_map": {"a": "weights/a.safetensors"}})
    assert set(open_folder(folder, spec="m").files) == {"weights/a.safetensors"}


@pytest.mark.parametrize("content", [{}, [], {"weight_map": []}, {"weight_map": {}}, None])
def test_an_index_without_a_weight_map_is_refused(tmp_path: Path, content: object) -> None:
    folder = sharded(tmp_path / "m")
    write_json(folder / INDEX, content)
    error = refused(folder)
    assert str(error) == f"m: {INDEX} has no weight_map"
    assert codes(error) == ["index"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "cannot be read: Expecting"),
        ("[" * 100_000, "is nested deeper than 32 levels"),
        ('{"weight_map": {"a": "\\ud800.safetensors"}}', "holds U+D800, half of a surrogate pair"),
    ],
)
def test_an_index_that_is_not_json_is_refused_with_the_models_name(
    tmp_path: Path, content: str, fault: str
) -> None:
    folder = sharded(tmp_path / "m")
    (folder / INDEX).write_text(content)
    error = refused(folder)
    assert str(error).startswith(f"m: {INDEX} {fault}")
    assert codes(error) == ["json"]


def edit_index(folder: Path, *, add: dict[str, str], remove: str = "") -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"].update(add)
    index["weight_map"].pop(remove, None)
    write_json(folder / INDEX, index)


def test_a_tensor_that_the_index_promises_and_the_file_lacks_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    edit_index(folder, add={"ghost": FIRST})
    error = refused(folder)
    assert str(error) == f"m: the index places 'ghost' in {FIRST}, which lacks it"
    assert codes(error) == ["index"]


def test_a_tensor_that_the_file_holds_and_the_index_lacks_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    edit_index(folder, add={}, remove="lm_head.weight")
    error = refused(folder)
    assert str(error) == f"m: {SECOND} holds 'lm_head.weight', which the index does not place there"
    assert codes(error) == ["index"]


def test_a_tensor_that_two_shards_hold_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    save_file({"twice": torch.zeros(1)}, folder / FIRST)
    save_file({"twice": torch.zeros(1)}, folder / SECOND)
    write_json(folder / INDEX, {"weight_map": {"twice": FIRST, "a": SECOND}})
    error = refused(folder)
    assert f"m: 'twice' is in both {FIRST} and {SECOND}" in str(error)
    assert "duplicate-name" in codes(error)


def test_all_damaged_shards_are_reported_at_once_with_the_models_name(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    for name in (FIRST, SECOND):
        os.truncate(folder / name, (folder / name).stat().st_size - 1)
    error = refused(folder)
    assert codes(error) == ["file-size", "file-size"]
    for name, line in zip((FIRST, SECOND), str(error).splitlines(), strict=True):
        assert line.startswith(f"m: {name} is truncated: ")


def test_json_that_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"^absent\.json cannot be read: .*No such file") as caught:
        read_json(tmp_path / "absent.json")
    assert codes(caught.value) == ["json"]
