"""Compare the tokenizers of both sides: vocabulary, merges, added and special tokens, chat templates.

The embedding rows of both models are averaged, so row i must stand for the same token in both.
Parses tokenizer files as data; loads no tokenizer library.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused, Problem

_WHOLE_FILES = ("vocab.json", "merges.txt", "tokenizer.model", "vocab.txt", "tekken.json")
_SPECIAL_SOURCES = ("special_tokens_map.json", "tokenizer_config.json")


def tokenizer_problems(instruct: Checkpoint, thinking: Checkpoint) -> list[Problem]:
    """Find every difference that changes the token of an embedding row, or a special token."""
    problems = []
    if _both_have("tokenizer.json", instruct, thinking):
        if not _same_bytes("tokenizer.json", instruct, thinking):
            problems += _compare_fast(_fast(instruct), _fast(thinking))
    else:
        problems += _compare_files(instruct, thinking)
    left, right = _special_tokens(instruct), _special_tokens(thinking)
    problems += [
        _waivable(
            "special-token",
            f"{role} is {_shown(left.get(role))} in instruct and {_shown(right.get(role))} in thinking",
            f"tokenizer.{role}",
        )
        for role in sorted(left.keys() | right.keys())
        if left.get(role) != right.get(role)
    ]
    return problems


def used_rows(checkpoint: Checkpoint) -> int | None:
    """Return the number of embedding rows that tokens use: the highest token id and one; None if unknown."""
    if not (checkpoint.root / "tokenizer.json").is_file():
        return None
    tokenizer = _fast(checkpoint)
    ids = [*_vocabulary(tokenizer).values(), *_added(tokenizer)]
    return max((number + 1 for number in ids if isinstance(number, int)), default=None)


def template_note(instruct: Checkpoint, thinking: Checkpoint) -> str | None:
    """Return a note if the chat templates differ: they usually do, and the donor's is used."""
    if chat_template(instruct) == chat_template(thinking):
        return None
    return "the chat templates differ: each checkpoint takes its donor's"


def chat_template(checkpoint: Checkpoint) -> str | None:
    """Return the chat template; None if there is none.

    chat_template.jinja takes precedence over the field of tokenizer_config.json. A field with several named
    templates is returned as JSON.
    """
    path = checkpoint.root / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    config = checkpoint.root / "tokenizer_config.json"
    content = read_json(config, spec=checkpoint.spec) if config.is_file() else {}
    template = content.get("chat_template") if isinstance(content, dict) else None
    if template is None or isinstance(template, str):
        return template
    return json.dumps(template, indent=2, ensure_ascii=False)


def _shown(token: object) -> str:
    return "absent" if token is None else repr(token)


def _waivable(code: str, message: str, field: str) -> Problem:
    return Problem(code, message, f"if both define the same tokens, pass --allow-config {field}", field)


def _compare_files(instruct: Checkpoint, thinking: Checkpoint) -> list[Problem]:
    common = [name for name in _WHOLE_FILES if _both_have(name, instruct, thinking)]
    for name in ("tokenizer.json", *_WHOLE_FILES):
        if not common and ((instruct.root / name).is_file() or (thinking.root / name).is_file()):
            return [
                _waivable(
                    "vocabulary",
                    f"the vocabularies cannot be compared: {name} is on one side only",
                    "tokenizer.vocabulary",
                )
            ]
    return [
        _waivable("vocabulary", f"{name} differs", f"tokenizer.{Path(name).stem}")
        for name in common
        if not _same_bytes(name, instruct, thinking)
    ]


def _compare_fast(instruct: Mapping[str, object], thinking: Mapping[str, object]) -> list[Problem]:
    problems = []
    left, right = _vocabulary(instruct), _vocabulary(thinking)
    moved = sorted(token for token in left.keys() | right.keys() if left.get(token) != right.get(token))
    if moved:
        token = moved[0]
        problems.append(
            _waivable(
                "vocabulary",
                f"{len(moved)} token id(s) differ: {token!r} is {left.get(token, 'absent')} in instruct"
                f" and {right.get(token, 'absent')} in thinking"
                f" ({len(left)} and {len(right)} tokens in total)",
                "tokenizer.vocabulary",
            )
        )
    if _merges(instruct) != _merges(thinking):
        problems.append(_waivable("vocabulary", "the BPE merges differ", "tokenizer.merges"))
    left_added, right_added = _added(instruct), _added(thinking)
    problems += [
        _waivable(
            "special-token",
            f"added token {number} is {_shown(left_added.get(number))} in instruct"
            f" and {_shown(right_added.get(number))} in thinking",
            "tokenizer.added_tokens",
        )
        for number in sorted(left_added.keys() | right_added.keys())
        if left_added.get(number) != right_added.get(number)
    ]
    return problems


def _fast(checkpoint: Checkpoint) -> Mapping[str, object]:
    content = read_json(checkpoint.root / "tokenizer.json", spec=checkpoint.spec)
    if not isinstance(content, dict):
        raise InputRefused([Problem("json", f"{checkpoint.spec}: tokenizer.json is not a JSON object")])
    for token in _added_tokens(content):
        if not isinstance(token, dict) or not isinstance(token.get("id"), int):
            fact = f"{checkpoint.spec}: tokenizer.json has an added token without an id: {token!r}"
            raise InputRefused([Problem("json", fact)])
    return content


def _model(tokenizer: Mapping[str, object]) -> Mapping[str, object]:
    model = tokenizer.get("model")
    return model if isinstance(model, dict) else {}


def _vocabulary(tokenizer: Mapping[str, object]) -> dict[str, int]:
    vocab = _model(tokenizer).get("vocab")
    if isinstance(vocab, dict):
        return vocab
    if isinstance(vocab, list):  # Unigram: list of [piece, score]
        return {_piece(entry): number for number, entry in enumerate(vocab)}
    return {}


def _piece(entry: object) -> str:
    return str(entry[0] if isinstance(entry, list) and entry else entry)


def _merges(tokenizer: Mapping[str, object]) -> object:
    """Return the BPE merges in one form: older releases of tokenizers write `"a b"`, newer ones `["a", "b"]`.

    The older form is split like the library does it: at its only space, without `#version` lines. What the
    library refuses (several spaces) is left as it is, and so equals no pair whose parts contain spaces.
    """
    merges = _model(tokenizer).get("merges")
    if not isinstance(merges, list):
        return merges
    return [_parts(merge) for merge in merges if not str(merge).startswith("#version")]


def _parts(merge: object) -> object:
    parts = merge.split(" ") if isinstance(merge, str) else ()
    return parts if len(parts) == 2 else merge


def _added_tokens(tokenizer: Mapping[str, object]) -> Sequence[object]:
    tokens = tokenizer.get("added_tokens")
    return tokens if isinstance(tokens, list) else ()


def _added(tokenizer: Mapping[str, object]) -> dict[int, object]:
    tokens = (token for token in _added_tokens(tokenizer) if isinstance(token, dict))
    return {token["id"]: token.get("content") for token in tokens}


def _special_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """Map role to content, such as `eos_token` to `<|im_end|>`; tokenizer_config.json takes precedence."""
    roles: dict[str, str] = {}
    for name in _SPECIAL_SOURCES:
        if not (checkpoint.root / name).is_file():
            continue
        content = read_json(checkpoint.root / name, spec=checkpoint.spec)
        for role, token in content.items() if isinstance(content, dict) else ():
            text = token.get("content") if isinstance(token, dict) else token
            if role.endswith("_token") and isinstance(text, str):
                roles[role] = text
    return roles


def _both_have(name: str, instruct: Checkpoint, thinking: Checkpoint) -> bool:
    return (instruct.root / name).is_file() and (thinking.root / name).is_file()


def _same_bytes(name: str, instruct: Checkpoint, thinking: Checkpoint) -> bool:
    return (instruct.root / name).read_bytes() == (thinking.root / name).read_bytes()
