"""How answers are sampled: the one place where a sampling parameter is declared.

`Sampling` is what a file or a command states, with every parameter optional. `SamplingSettings` is what a run
uses, with every parameter set. Recipes, grid.json, sweep recipes, the settings of a rollouts file and the
backends take their parameters from here. To add one, add it to both classes.
"""

from typing import Annotated, TypeVar

import msgspec

from dami_merge.declared import check_fields

Temperature = Annotated[float, msgspec.Meta(ge=0)]
TopP = Annotated[float, msgspec.Meta(gt=0, le=1)]
TopK = Annotated[int, msgspec.Meta(ge=0)]
TokenCap = Annotated[int, msgspec.Meta(ge=1)]

Changed = TypeVar("Changed", bound="SamplingSettings")


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Sampling parameters as a file or a command states them; None means not stated.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus sampling threshold, in (0, 1].
        top_k: 0 disables it.
        max_tokens: Cap on the generated tokens of one answer; called `max_new_tokens` in files, as in
            transformers.
    """

    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    max_tokens: TokenCap | None = msgspec.field(default=None, name="max_new_tokens")

    def __post_init__(self) -> None:
        """Refuse a value of the wrong type or out of its range, with a RecipeError."""
        check_fields(self)


class SamplingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters that a run uses.

    Attributes:
        temperature: 0 is greedy; top_p and top_k then have no effect.
        top_p: Nucleus sampling threshold, in (0, 1].
        top_k: 0 disables it.
        max_tokens: Cap on the generated tokens of one answer; an answer that reaches it is truncated.
        seed: Seed of every random draw.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 20
    max_tokens: int = 81920
    seed: int = 0

    def changed(self: Changed, stated: Sampling, *, seed: int | None = None) -> Changed:
        """Replace the parameters that `stated` states, and the seed if it is given.

        Example:
            >>> SamplingSettings().changed(Sampling(temperature=0, max_tokens=96)).top_p
            0.95
        """
        values = {name: getattr(stated, name) for name in FILE_NAMES.values()} | {"seed": seed}
        return msgspec.structs.replace(self, **{k: v for k, v in values.items() if v is not None})


FILE_NAMES = dict(zip(Sampling.__struct_encode_fields__, Sampling.__struct_fields__, strict=True))
"""Maps a parameter's name in files and generation_config.json, such as `max_new_tokens`, to its name here."""
