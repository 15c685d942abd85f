"""The model of a λ in this process: a checkpoint of a grid on disk, or a live model set to the λ."""

from collections.abc import Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from dami_merge.checkpoint.folder import NOT_SIDECARS, Checkpoint, open_folder
from dami_merge.checkpoint.source import fetched
from dami_merge.errors import GridUnreadable
from dami_merge.files import digest_bytes, digest_file
from dami_merge.grid.manifest import Member, member_of, read_grid, weights_digest
from dami_merge.live.loading import load_checkpoint, load_live

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dami_merge.grid.recipe import Side


class Models(Protocol):
    """The models of a pair, one λ at a time."""

    def at(self, lam: Fraction) -> "PreTrainedModel":
        """Return the model of a λ; a model returned earlier must no longer be used.

        Raises:
            LambdaError: The λ is unavailable.
            DamiMergeError: The model cannot be loaded.
        """
        ...

    def sidecars(self, lam: Fraction) -> Path:
        """Return the folder with the tokenizer, chat template and generation config of a λ.

        Raises:
            LambdaError: The λ is unavailable.
        """
        ...

    def describe(self) -> dict[str, str]:
        """Return the weights and sidecars, by digest or revision."""
        ...


class GridModels:
    """The checkpoints of a grid; one is in memory at a time."""

    def __init__(self, folder: Path, *, device: str = "auto", dtype: str | None = None) -> None:
        """Read grid.json; nothing is loaded yet.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        self._folder = folder
        self._grid = read_grid(folder)
        self._device = device
        self._dtype = dtype
        self._loaded: tuple[Fraction, PreTrainedModel] | None = None

    def at(self, lam: Fraction) -> "PreTrainedModel":
        """Load the checkpoint, after dropping the previous one."""
        if self._loaded is None or self._loaded[0] != lam:
            folder = self.sidecars(lam)
            self._loaded = None
            checkpoint = open_folder(folder, spec=str(folder))
            self._loaded = lam, load_checkpoint(checkpoint, device=self._device, dtype=self._dtype)
        return self._loaded[1]

    def sidecars(self, lam: Fraction) -> Path:
        """Return the folder of the checkpoint."""
        folder = self._folder / member_of(self._grid, lam).path
        if not folder.is_dir():
            hint = "build the grid again; finished files are kept"
            raise GridUnreadable(f"{folder} is listed in grid.json but missing on disk", hint=hint)
        return folder

    def describe(self) -> dict[str, str]:
        """Return the digest of the parents' weights from grid.json, and that of the donors' sidecars."""
        grid = self._grid
        donors = {member.donor: member for member in grid.checkpoints}
        return {
            "backend": "hf",
            "weights": weights_digest(grid),
            "sidecars": _digest({side: _sidecars(member) for side, member in donors.items()}),
            "dtype": self._dtype or "stored",
        }


class KeptModels:
    """The checkpoints of a grid; each stays in memory once it is loaded, for a few λ that alternate."""

    def __init__(self, folder: Path, *, device: str = "auto", dtype: str | None = None) -> None:
        """Read grid.json; nothing is loaded yet.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        self._open = partial(GridModels, folder, device=device, dtype=dtype)
        self._any = self._open()
        self._kept: dict[Fraction, GridModels] = {}

    def at(self, lam: Fraction) -> "PreTrainedModel":
        """Return the model of a λ; those returned earlier stay valid."""
        if lam not in self._kept:
            self._kept[lam] = self._open()
        return self._kept[lam].at(lam)

    def sidecars(self, lam: Fraction) -> Path:
        """Return the folder of the checkpoint."""
        return self._any.sidecars(lam)

    def describe(self) -> dict[str, str]:
        """Same as `GridModels`."""
        return self._any.describe()


class LiveModels:
    """One live model, set to each λ; no grid on disk is needed."""

    def __init__(
        self,
        instruct: Checkpoint,
        thinking: Checkpoint,
        *,
        device: str = "auto",
        dtype: str | None = None,
        offload: bool = False,
    ) -> None:
        """Load both sides; download weights that are only on the Hub.

        Raises:
            DamiMergeError: Same as `load_live`.

        Peak memory: same as `load_live`.
        """
        self._sides: dict[Side, Checkpoint] = {"instruct": fetched(instruct), "thinking": fetched(thinking)}
        self._dtype = dtype
        self._model, self._live = load_live(
            *self._sides.values(), device=device, dtype=dtype, offload=offload
        )

    def at(self, lam: Fraction) -> "PreTrainedModel":
        """Set the model to a λ, unless it is already set to it."""
        if self._live.lam != lam:
            self._live.set_lambda(lam)
        return self._model

    def sidecars(self, lam: Fraction) -> Path:
        """Return the folder of Instruct at λ = 0 and of Thinking above, as in a grid."""
        return self._sides["instruct" if lam == 0 else "thinking"].root

    def describe(self) -> dict[str, str]:
        """Return both sides' weights by revision or, for a local folder, by digest: reads all files."""
        sides = self._sides.items()
        return {
            "backend": "hf live",
            "weights": _digest({side: _weights(checkpoint) for side, checkpoint in sides}),
            "sidecars": _digest({side: _digests(each.root, each.sidecars) for side, each in sides}),
            "dtype": self._dtype or "stored",
        }


def _sidecars(member: Member) -> dict[str, str]:
    names = (file for file in member.files if not file.name.endswith(".safetensors"))
    return {file.name: file.digest for file in names if file.name not in NOT_SIDECARS}


def _weights(side: Checkpoint) -> dict[str, str]:
    return {side.source_id: side.revision} if side.revision else _digests(side.root, side.files)


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: [text for _, text in digest_file(folder / name)][-1] for name in names}


def _digest(value: object) -> str:
    return digest_bytes(msgspec.json.encode(value, order="sorted"))
