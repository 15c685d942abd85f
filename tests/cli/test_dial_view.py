"""What the command line shows of the beginnings of answers."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dami_merge.cli.dial_view import answers_table, dial_table
from dami_merge.cli.lmc_value import _dial_value
from dami_merge.connectivity.dial import Dial, ShortAnswers, Start
from tests.cli.test_grid import run
from tests.twins import stretched_pair

LAMBDAS = (Fraction(0), Fraction(1, 2), Fraction(1))
START = Start(0, "", "4", "<think>\x1b[2J", 1.0, (0.0, 0.25, 1.0), (False, False, True))
DIAL = Dial(
    LAMBDAS,
    (START,) * 8,
    0.6,
    (
        ShortAnswers(0, ("4", "4", "4"), (None, None, None)),
        ShortAnswers(3, ("4\n", "5", "<think>"), (False, None, True)),
    ),
    LAMBDAS,
)


def _printed(part: object) -> str:
    from rich.console import Console

    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(part)
    return captured.get()


def test_the_table_has_a_row_for_each_lambda_and_names_both_beginnings() -> None:
    lines = [line.split() for line in _printed(dial_table(DIAL)).splitlines()]
    assert ["0.00", "0.0%"] in lines
    assert ["0.50", "25.0%", "0"] in lines
    assert ["1.00", "100.0%", "8"] in lines
    text = _printed(dial_table(DIAL))
    assert 'Instruct begins with "4", Thinking with "<think>\\u001b[2J"' in text
    assert "8 prompts, temperature 0.6" in text


def test_the_answers_shown_are_those_of_the_first_prompt_whose_two_models_differ() -> None:
    text = _printed(answers_table(DIAL))
    assert "greedy answer to text 4" in text
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["0.00", '"4\\n"'],
        ["0.50", '"5"'],
        ["1.00", '"<think>"'],
    ]


def test_the_json_value_has_every_number() -> None:
    value: Any = _dial_value(DIAL)
    assert value["kind"] == "switch"
    assert value["steepest"] == {"from": "1/2", "to": "1/1", "part": 0.75, "prompts": 8}
    assert value["points"] == [
        {"lambda": "0/1", "share": 0.0, "turned": 0},
        {"lambda": "1/2", "share": 0.25, "turned": 0},
        {"lambda": "1/1", "share": 1.0, "turned": 8},
    ]
    assert {each["turns"] for each in value["prompts"]} == {"1/1"}
    assert json.loads(json.dumps(value))["answers"]["share"] == [0.0, 0.5, 1.0]


def test_a_switch_exits_with_one_though_every_other_answer_is_yes(tmp_path: Path) -> None:
    sides = stretched_pair(tmp_path, 2)
    result = run("check-lmc", *sides, "--texts", "bundled", "--limit", 40, "--answers", 8, "--json")
    value = json.loads(result.stdout)
    assert [answer["said"] for answer in value["answers"]] == ["yes", "yes", "yes", "no", "no"]
    assert result.exit_code == 1
    assert value["next"][0].startswith("serve the two models themselves and route between them")
    assert not any("lowest loss" in step for step in value["next"]), "a low loss is no reason to choose a λ"
    assert len(value["path"]["dial"]["answers"]["prompts"]) == 40


@pytest.mark.parametrize("option", [("--steps", 5), ("--limit", 5), ("--answers", 5)])
def test_options_of_the_walk_need_texts(option: tuple[str, int]) -> None:
    result = run("check-lmc", *option)
    assert result.exit_code == 2
    assert "--steps, --limit and --answers need --texts" in result.stderr
