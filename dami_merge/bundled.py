"""Paths of the bundled pair and its questions, and the names that users type for them."""

from pathlib import Path

from dami_merge.errors import InputRefused, Problem

BUNDLED_PREFIX = "bundled:"
BUNDLED_INSTRUCT = "bundled:tiny/instruct"
BUNDLED_THINKING = "bundled:tiny/thinking"

BUNDLED_ESTIMATORS = ("default", "pref", "conf")
"""Estimators that ship with the bundled pair."""

BUNDLED_SPLITS = ("train", "validation", "test", "heldout", "paraphrased")

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
    """Return the bundled pair's question file: JSONL of `id`, `prompt`, `answer` and `group`."""
    return _DATA / "tiny" / "questions.jsonl"


def bundled_split(name: str) -> Path:
    """Return one of the bundled pair's sets of questions: JSONL with an extra field `kind`.

    The pair was trained on none of them, and no two share a prompt. Each has the same number of questions
    from every group, and the groups are nearly balanced in any prefix of a set. A group is a skill and a
    size, such as `chain-4`.

    Args:
        name: `train`, `validation` or `test`; `heldout`, which asks a skill that these three do not ask; or
            `paraphrased`, the questions of `test` in another form, with `-p` after their ids.

    Raises:
        InputRefused: `name` is not one of these.
    """
    if name not in BUNDLED_SPLITS:
        fact = f"{BUNDLED_PREFIX}{name} is not a bundled question set"
        raise InputRefused([Problem("no-such-questions", fact, f"choose one of {', '.join(BUNDLED_SPLITS)}")])
    return _DATA / "tiny" / f"{name}.jsonl"


def bundled_estimator(name: str) -> Path:
    """Return the folder of an estimator that was fitted for the bundled pair.

    Args:
        name: One of `BUNDLED_ESTIMATORS`.

    Raises:
        InputRefused: There is no such estimator.
    """
    folder = _DATA / "tiny" / "estimators" / name
    if name not in BUNDLED_ESTIMATORS or not folder.is_dir():
        fact = f"{BUNDLED_PREFIX}{name} is not a bundled estimator"
        hint = f"choose one of {', '.join(BUNDLED_ESTIMATORS)}, or the folder of your own"
        raise InputRefused([Problem("no-such-estimator", fact, hint)])
    return folder


def bundled_model(name: str) -> Path:
    """Return the folder of one side of the bundled pair.

    Args:
        name: The part after the prefix: `tiny/instruct`.

    Raises:
        InputRefused: No bundled model has this name.
    """
    folder = _DATA / name
    if ".." in Path(name).parts or Path(name).is_absolute() or not (folder / "config.json").is_file():
        raise InputRefused(
            [
                Problem(
                    "no-such-model",
                    f"{BUNDLED_PREFIX}{name} is not a bundled model",
                    f"choose {BUNDLED_INSTRUCT} or {BUNDLED_THINKING}",
                )
            ]
        )
    return folder
