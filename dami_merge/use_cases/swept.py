"""The models of a sweep: the checkpoints of a grid on disk, or a pair in memory. Imports no torch."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from dami_merge.bundled import is_bundled_pair
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_both
from dami_merge.errors import UsageError
from dami_merge.grid.manifest import Grid, read_grid
from dami_merge.grid.recipe import bundled_recipe
from dami_merge.lambdas import DEFAULT_STEPS, even_grid, require_available
from dami_merge.router.endpoint import Endpoints
from dami_merge.sampling import Sampling, SamplingSettings
from dami_merge.use_cases.engines import InProcess, Server

if TYPE_CHECKING:
    from dami_merge.backends.hf import HfBackend

BUNDLED_QUESTIONS = "bundled"


@dataclass(frozen=True, slots=True)
class SweptGrid:
    """The checkpoints of a grid.

    Attributes:
        folder: Folder of grid.json.
        grid: Contents of grid.json.
    """

    folder: Path
    grid: Grid

    @classmethod
    def open(cls, folder: str | Path) -> "SweptGrid":
        """Read grid.json.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        return cls(Path(folder), read_grid(Path(folder)))

    @property
    def sampling(self) -> SamplingSettings:
        """The sampling settings in the recipe of the grid, over the defaults."""
        return SamplingSettings().changed(self.grid.recipe.sampling)

    @property
    def questions(self) -> str | None:
        """The questions that come with the models; None for a user's own pair."""
        bundled = is_bundled_pair(self.grid.instruct.id, self.grid.thinking.id)
        return BUNDLED_QUESTIONS if bundled else None

    def choose(self, lambdas: tuple[Fraction, ...] | None) -> tuple[Fraction, ...]:
        """Return the λ to sweep; None means all λ of the grid.

        Raises:
            LambdaError: A λ is not in the grid.
        """
        available = tuple(member.lam for member in self.grid.checkpoints)
        if lambdas is None:
            return available
        require_available(lambdas, available, hint="build it, or sweep the pair with --live")
        return lambdas

    def in_process(self, engine: InProcess) -> "HfBackend":
        """Run the checkpoints in this process, one in memory at a time."""
        from dami_merge.backends.hf import HfBackend

        return HfBackend.from_grid(
            self.folder, device=engine.device, dtype=engine.dtype, batch_size=engine.batch_size
        )

    def endpoints(self, server: Server) -> Endpoints:
        """Return where each λ is served.

        Raises:
            UsageError: A template is invalid.
        """
        return Endpoints(server.base_url, server.model_name, grid=self.folder)


@dataclass(frozen=True, slots=True)
class SweptPair:
    """Two models in memory, interpolated for each λ; no grid on disk.

    Attributes:
        instruct: Model at λ = 0.
        thinking: Model at λ = 1.
    """

    instruct: Checkpoint
    thinking: Checkpoint

    @classmethod
    def open(cls, instruct: str | Checkpoint, thinking: str | Checkpoint) -> "SweptPair":
        """Open both sides: folders, Hub ids, or `bundled:tiny/instruct`.

        Raises:
            InputRefused: Carries the problems of both sides.
            HubError: A Hub id cannot be read.
        """
        return cls(*open_both(instruct, thinking))

    @property
    def sampling(self) -> SamplingSettings:
        """The sampling settings of the bundled pair over the defaults; for any other pair, the defaults."""
        return SamplingSettings().changed(bundled_recipe().sampling if self.questions else Sampling())

    @property
    def questions(self) -> str | None:
        """The questions that come with the models; None for a user's own pair."""
        bundled = is_bundled_pair(self.instruct.source_id, self.thinking.source_id)
        return BUNDLED_QUESTIONS if bundled else None

    def choose(self, lambdas: tuple[Fraction, ...] | None) -> tuple[Fraction, ...]:
        """Return the λ to sweep; None means 0, 0.1, …, 1."""
        return even_grid(DEFAULT_STEPS) if lambdas is None else lambdas

    def in_process(self, engine: InProcess) -> "HfBackend":
        """Load both sides into this process.

        Raises:
            DamiMergeError: Same as `load_live`.
        """
        from dami_merge.backends.hf import HfBackend

        return HfBackend.live(
            self.instruct,
            self.thinking,
            device=engine.device,
            dtype=engine.dtype,
            batch_size=engine.batch_size,
        )

    def endpoints(self, server: Server) -> Endpoints:
        """Return where each λ is served.

        Raises:
            UsageError: A template is invalid, or no model name was given.
        """
        return Endpoints(server.base_url, server.model_name)


Swept = SweptGrid | SweptPair


def swept(models: "Swept | str | Path") -> Swept:
    """Return the models of a sweep; a path is the folder of a grid.

    Raises:
        GridUnreadable: grid.json is missing, unreadable or malformed.
    """
    return SweptGrid.open(models) if isinstance(models, str | Path) else models


def questions_of(models: Swept, named: str | None) -> str:
    """Return the source of the questions.

    Raises:
        UsageError: No questions were given, and none come with the models.
    """
    source = named or models.questions
    if source is None:
        raise UsageError(
            "no questions were given", hint="add --questions; only the bundled pair comes with questions"
        )
    return source
