"""The sampling settings in a checkpoint's generation_config.json, and how a sweep differs from them."""

from collections.abc import Mapping
from pathlib import Path

from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused, Problem
from dami_merge.sampling import FILE_NAMES, SamplingSettings

GENERATION_CONFIG = "generation_config.json"

_NEUTRAL: Mapping[str, object] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "no_repeat_ngram_size": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "num_beams": 1,
}


def json_object(path: Path) -> dict[str, object]:
    """Read a small JSON file that holds an object; return an empty dict if the file does not exist.

    Raises:
        InputRefused: The file is not a JSON object.
    """
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise InputRefused([Problem("json", f"{path.name} is not a JSON object")])
    return value


def own_settings(folder: Path) -> dict[str, object]:
    """Read the fields of a checkpoint's generation_config.json that affect sampling; empty without the file.

    Raises:
        InputRefused: The file is not a JSON object.
    """
    known = {"do_sample", *FILE_NAMES, *_NEUTRAL}
    said = json_object(folder / GENERATION_CONFIG)
    return {name: value for name, value in sorted(said.items()) if name in known}


def settings_notes(own: Mapping[str, object], sampling: SamplingSettings) -> tuple[str, ...]:
    """Describe how a sweep differs from the settings that the model recommends, one sentence each.

    Example:
        >>> settings_notes({"temperature": 0.7, "min_p": 0.05}, SamplingSettings())
        ("the model's generation_config says temperature 0.7; 0.6 is used", \
"the model's generation_config says min_p 0.05, which is not used")
    """
    used = {name: getattr(sampling, field) for name, field in FILE_NAMES.items()}
    if sampling.temperature == 0:
        used = {name: used[name] for name in ("temperature", "max_new_tokens")}
    other = {name: own[name] for name in used if own.get(name) is not None and own[name] != used[name]}
    notes = []
    if other:
        said = ", ".join(f"{name} {value}" for name, value in other.items())
        taken = " and ".join(str(used[name]) for name in other)
        notes.append(f"the model's generation_config says {said}; {taken} {_are(len(other))} used")
    if own.get("do_sample") is False and sampling.temperature > 0:
        temperature = sampling.temperature
        notes.append(f"the model's generation_config says greedy; temperature {temperature} is used")
    dropped = [
        f"{name} {own[name]}"
        for name in _NEUTRAL
        if own.get(name) is not None and own[name] != _NEUTRAL[name]
    ]
    if dropped:
        which = f"which {_are(len(dropped))} not used"
        notes.append(f"the model's generation_config says {', '.join(dropped)}, {which}")
    return tuple(notes)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
