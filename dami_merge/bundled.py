"""Where the bundled pair and its questions lie, and the names by which users ask for them."""

from pathlib import Path

from dami_merge.errors import InputRefused, Problem

BUNDLED_PREFIX = "bundled:"
BUNDLED_INSTRUCT = "bundled:tiny/instruct"
BUNDLED_THINKING = "bundled:tiny/thinking"

BUNDLED_SPLITS = ("train", "validation", "test")

_DATA = Path(__file__).parent / "data"


def bundled_id(name: str) -> str:
    """The id that a bundled model has in place of a Hub id: `dami-merge/tiny-instruct`.

    Args:
        name: What follows the prefix: `tiny/instruct`.
    """
    return f"dami-merge/{name.replace('/', '-')}"


def is_bundled_pair(instruct_id: str, thinking_id: str) -> bool:
    """Whether two model ids are those of the bundled pair."""
    names = (BUNDLED_INSTRUCT, BUNDLED_THINKING)
    return (instruct_id, thinking_id) == tuple(
        bundled_id(name.removeprefix(BUNDLED_PREFIX)) for name in names
    )


def bundled_questions() -> Path:
    """The bundled pair's questions: JSONL of `id`, `prompt`, `answer` and `group`."""
    return _DATA / "tiny" / "questions.jsonl"


def bundled_split(name: str) -> Path:
    """One of the bundled pair's three sets of held-out questions, like `bundled_questions` with a `kind`.

    No question is in two of them; each has equally many of every group, and so has, nearly, any first part.

    Args:
        name: `train`, `validation` or `test`.

    Raises:
        InputRefused: It is none of these.
    """
    if name not in BUNDLED_SPLITS:
        fact = f"{BUNDLED_PREFIX}{name} is no set of bundled questions"
        raise InputRefused([Problem("no-such-questions", fact, f"there are {', '.join(BUNDLED_SPLITS)}")])
    return _DATA / "tiny" / f"{name}.jsonl"


def bundled_model(name: str) -> Path:
    """The folder of one side of the bundled pair.

    Args:
        name: What follows the prefix: `tiny/instruct`.

    Raises:
        InputRefused: No such model is bundled.
    """
    folder = _DATA / name
    if ".." in Path(name).parts or Path(name).is_absolute() or not (folder / "config.json").is_file():
        raise InputRefused(
            [
                Problem(
                    "no-such-model",
                    f"{BUNDLED_PREFIX}{name} is not bundled",
                    f"there are {BUNDLED_INSTRUCT} and {BUNDLED_THINKING}",
                )
            ]
        )
    return folder
