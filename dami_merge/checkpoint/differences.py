"""How the small files of two checkpoints differ, for people to read: config, tokenizer, templates, sampling.

Refuses no difference: `pair` decides which ones forbid an interpolation.
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dami_merge.checkpoint import config
from dami_merge.checkpoint.consequences import consequence
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.json_files import read_json
from dami_merge.checkpoint.tokenizer import chat_template, tokenizer_problems
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import reading_is_clear

GENERATION_FILE = "generation_config.json"

_BETWEEN_STATEMENTS = re.compile(r"(?<=%\})(?=\{%)")


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """One field that differs between the two sides.

    Attributes:
        field: Dotted path.
        instruct: Its value in Instruct as JSON; `absent` if the field is missing.
        thinking: Its value in Thinking as JSON; `absent` if the field is missing.
        neutral: Whether the forward pass is independent of it.
        consequence: What the difference means for a merge, in one sentence.
    """

    field: str
    instruct: str
    thinking: str
    neutral: bool
    consequence: str


@dataclass(frozen=True, slots=True)
class PairDifferences:
    """How two checkpoints differ apart from their weights.

    Attributes:
        config: Differing fields of config.json, sorted by name.
        generation: Differing fields of generation_config.json: each side's recommended sampling parameters.
        tokenizer: One sentence for each difference in vocabulary, merges or special tokens.
        template: Lines of the unified diff from Instruct's chat template to Thinking's, without newlines;
            empty if the templates are equal.
    """

    config: tuple[ConfigDifference, ...]
    generation: tuple[ConfigDifference, ...]
    tokenizer: tuple[str, ...]
    template: tuple[str, ...]

    @property
    def template_lines(self) -> tuple[int, int]:
        """Number of lines that Thinking's chat template adds, and number that it removes."""
        body = self.template[2:]
        return sum(line.startswith("+") for line in body), sum(line.startswith("-") for line in body)


@reading_is_clear()
def pair_differences(instruct: Checkpoint, thinking: Checkpoint) -> PairDifferences:
    """Compare the small files of both sides.

    Raises:
        InputRefused: A file is malformed, such as a tokenizer.json that is not JSON.
    """
    return PairDifferences(
        config=tuple(
            ConfigDifference(
                each.field,
                _shown(each.instruct),
                _shown(each.thinking),
                each.neutral,
                consequence(each.field, neutral=each.neutral),
            )
            for each in config.differences(instruct.config, thinking.config)
        ),
        generation=_generation(instruct, thinking),
        tokenizer=tuple(problem.message for problem in tokenizer_problems(instruct, thinking)),
        template=_template_diff(chat_template(instruct), chat_template(thinking)),
    )


def _shown(value: object) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)


def _generation(instruct: Checkpoint, thinking: Checkpoint) -> tuple[ConfigDifference, ...]:
    left, right = _generation_config(instruct), _generation_config(thinking)
    return tuple(
        ConfigDifference(
            field,
            _shown(left.get(field)),
            _shown(right.get(field)),
            neutral=True,
            consequence="each checkpoint takes its donor's value; a fair comparison samples every λ alike",
        )
        for field in sorted(left.keys() | right.keys())
        if left.get(field) != right.get(field) and field != "transformers_version"
    )


def _generation_config(side: Checkpoint) -> Mapping[str, object]:
    path = side.root / GENERATION_FILE
    content = read_json(path, spec=side.spec) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InputRefused([Problem("generation", f"{side.spec}: {GENERATION_FILE} is not a JSON object")])
    return content


def _template_diff(instruct: str | None, thinking: str | None) -> tuple[str, ...]:
    """Diff two templates, broken into lines between statements: many templates are one long line."""
    left, right = (_BETWEEN_STATEMENTS.sub("\n", side or "").splitlines() for side in (instruct, thinking))
    names = ("instruct's chat template", "thinking's chat template")
    diff = tuple(difflib.unified_diff(left, right, *names, lineterm="", n=2))
    if not diff and instruct != thinking:
        return f"--- {names[0]}", f"+++ {names[1]}", "@@ the templates differ only in line breaks @@"
    return diff
