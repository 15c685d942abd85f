"""A checkpoint's tensors as elements: the bytes of the files, whatever pieces are asked for."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.checkpoint.source import open_source
from dami_merge.errors import InputRefused
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.sources import FileSource, Piece, source_of
from tests.checkpoints import random_tensors, write_checkpoint


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return random_tensors(seed=0) | {
        "wide": torch.arange(7, dtype=torch.float64),
        "half": torch.ones(3).half(),
    }


@pytest.fixture
def folder(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    names = sorted(tensors)
    return write_checkpoint(tmp_path / "m", tensors, shards=[names[::2], names[1::2]])


def test_pieces_of_any_tensor_come_in_its_own_dtype_at_the_places_asked_for(
    folder: Path, tensors: dict[str, Tensor]
) -> None:
    checkpoint = open_source(str(folder))
    infos = {name: info for name, (_, info) in checkpoint.tensors().items()}
    chance = random.Random(0)
    buffer = memoryview(bytearray(1 << 16))
    placed, position = [], 0
    for name in chance.choices(sorted(tensors), k=60):
        first = chance.randrange(tensors[name].numel())
        count = chance.randint(1, tensors[name].numel() - first)
        position += -position % 8
        placed.append((Piece(name, first, count), position))
        position += count * tensors[name].element_size()
    with source_of(checkpoint) as source:
        filled = sum(len(part) for part in source.fill(placed, buffer))
    assert filled == sum(piece.count * tensors[piece.name].element_size() for piece, _ in placed)
    for piece, at in placed:
        dtype = FLOAT_DTYPES[infos[piece.name].dtype]
        found = torch.frombuffer(buffer, dtype=dtype, count=piece.count, offset=at)
        assert found.equal(tensors[piece.name].flatten()[piece.first : piece.first + piece.count])


def test_neighbours_in_file_and_buffer_are_one_read_and_a_gap_in_either_makes_two(folder: Path) -> None:
    checkpoint = open_source(str(folder))
    source = FileSource(checkpoint)
    file, header = next(iter(checkpoint.files.items()))
    left, right = [info for info in header.tensors if info.dtype == "BF16"][:2]
    assert right.start == left.start + left.size_bytes
    pieces = [Piece(left.name, 0, left.elements), Piece(right.name, 0, right.elements)]
    together = list(source.reads(zip(pieces, (0, left.size_bytes), strict=True)))
    assert [(read.file, read.size_bytes) for read in together] == [(file, left.size_bytes + right.size_bytes)]
    assert len(list(source.reads(zip(pieces, (0, left.size_bytes + 8), strict=True)))) == 2
    assert len(list(source.reads([(pieces[0], 0), (Piece(right.name, 1, 1), left.size_bytes)]))) == 2


def test_places_sort_pieces_as_they_lie(folder: Path) -> None:
    checkpoint = open_source(str(folder))
    source = FileSource(checkpoint)
    for file, header in checkpoint.files.items():
        places = [source.place(Piece(info.name, 0, 1)) for info in header.tensors]
        assert places == sorted(places)
        assert {place[0] for place in places} == {file}


def test_a_file_that_was_cut_after_it_was_opened_is_refused(folder: Path) -> None:
    checkpoint = open_source(str(folder))
    file, header = next(iter(checkpoint.files.items()))
    (folder / file).write_bytes((folder / file).read_bytes()[:-2])
    buffer = memoryview(bytearray(64))
    with source_of(checkpoint) as source, pytest.raises(InputRefused, match="changed while it was read"):
        list(source.fill([(Piece(header.tensors[0].name, 0, 1), 0)], buffer))
