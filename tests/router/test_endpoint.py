"""Where a λ is served: templates filled in, and those that cannot be meant."""

from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.errors import GridUnreadable, LambdaError, UsageError
from dami_merge.router.endpoint import Endpoint, Endpoints

URL = "http://localhost:8000/v1"
LAM = Fraction(2, 5)


def test_lambda_and_name_are_filled_in_on_both_sides() -> None:
    found = Endpoints("https://host/{name}/v1", "qwen-{lambda}").of(LAM)
    assert found == Endpoint("https://host/lambda-0.40/v1", "qwen-0.40")
    assert Endpoints("http://h/{lambda}/v1", "same").of(Fraction(1, 3)).base_url == "http://h/1of3/v1"


def test_a_grid_gives_the_served_names_and_the_folders(tiny_grid: Path) -> None:
    assert Endpoints(URL, grid=tiny_grid).of(LAM) == Endpoint(URL, "tiny-lambda-0.40")
    assert Endpoints(URL, "{path}", grid=tiny_grid).of(LAM).model == str(tiny_grid / "lambda-0.40")
    assert Endpoints(URL, "org/{lambda}", grid=tiny_grid).of(LAM).model == "org/0.40"


def test_a_folder_is_named_in_full_for_a_server_that_runs_elsewhere(
    tiny_grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_grid.parent)
    found = Endpoints(URL, "{path}", grid=Path(tiny_grid.name)).of(LAM).model
    assert found == str(tiny_grid.resolve() / "lambda-0.40")


def test_a_lambda_that_the_grid_lacks_is_refused(tiny_grid: Path, tmp_path: Path) -> None:
    with pytest.raises(LambdaError, match=r"λ = 0\.50 is not in this grid"):
        Endpoints(URL, grid=tiny_grid).of(Fraction(1, 2))
    with pytest.raises(GridUnreadable, match=r"grid\.json"):
        Endpoints(URL, grid=tmp_path)


@pytest.mark.parametrize(
    ("url", "model", "message"),
    [
        (URL, "", "the model name is missing"),
        (URL, "qwen", "every λ would use the same model 'qwen' at http://localhost"),
        (URL, "qwen-{lam}", "{lam} is not a known template field"),
        (URL, "{path}", "{path} is not a known template field"),
        (URL, "{}", "{} is not a known template field"),
        (URL, "qwen-{lambda", "'qwen-{lambda' is not a valid template"),
        ("localhost:8000/v1", "{lambda}", "'localhost:8000/v1' is not an HTTP URL"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(url: str, model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Endpoints(url, model)


def test_the_description_has_neither_address_nor_folder(tiny_grid: Path) -> None:
    plain = Endpoints(URL, "q-{lambda}").describe()
    assert plain == {"backend": "openai", "model": "q-{lambda}"}
    assert Endpoints("http://elsewhere/v1", "q-{lambda}").describe() == plain
    of_grid = Endpoints(URL, "{path}", grid=tiny_grid).describe()
    assert of_grid["model"] == "{path}"
    assert of_grid["weights"].startswith("blake3:")
