"""The model of a λ in this process: the same answers from a grid and live, in batches of any size."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers import AutoTokenizer

from dami_merge.backends.hf import HfBackend
from dami_merge.backends.models import LiveModels
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.source import open_both, open_source
from dami_merge.errors import BackendError, GridUnreadable, InputRefused, LambdaError, UsageError
from dami_merge.evaluation.generation import Generation, Request
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.optional import install_hint
from dami_merge.sampling import SamplingSettings
from tests.tiny import GREEDY, LAMBDAS, SAMPLED, at, questions, requests

THINKING = Fraction(1)
Answers = dict[tuple[str, int], tuple[str, int, str]]


def answers(backend: HfBackend, lam: Fraction, wanted: list[Request], settings: SamplingSettings) -> Answers:
    made = [(request, answer) for request, answer in backend.generate(at(lam, wanted), settings)]
    assert sorted((r.question.id, r.sample) for r, _ in made) == sorted(
        (r.question.id, r.sample) for r in wanted
    )
    return {(r.question.id, r.sample): (a.text, a.tokens, a.finish) for r, a in made}


def bundled(*, batch_size: int | None = None) -> HfBackend:
    return HfBackend.live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu", batch_size=batch_size)


def edited_models(folder: Path, edit: Callable[[Path], object]) -> LiveModels:
    """The bundled pair with something changed in both folders."""
    for side, spec in (("instruct", BUNDLED_INSTRUCT), ("thinking", BUNDLED_THINKING)):
        shutil.copytree(open_source(spec).root, folder / side)
        edit(folder / side)
    return LiveModels(
        open_source(str(folder / "instruct")), open_source(str(folder / "thinking")), device="cpu"
    )


def edited_pair(folder: Path, edit: Callable[[Path], object]) -> HfBackend:
    return HfBackend(edited_models(folder, edit))


def generation_config(**changes: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def test_a_grid_and_the_live_pair_give_the_same_answers_greedy_and_sampled(tiny_grid: Path) -> None:
    grid, live = HfBackend.from_grid(tiny_grid, device="cpu"), bundled()
    lengths = []
    for lam in (*LAMBDAS, LAMBDAS[0]):
        for settings in (GREEDY, SAMPLED):
            found = answers(grid, lam, requests(15, 2), settings)
            assert found == answers(live, lam, requests(15, 2), settings)
            lengths.append(sum(tokens for _, tokens, _ in found.values()) / len(found))
    assert lengths[0] < lengths[2] < lengths[4]  # it thinks more as λ rises
    assert lengths[0] == lengths[6]  # and no more than before when it is back at 0


def test_a_sample_is_the_same_alone_in_a_batch_of_64_and_beside_other_questions() -> None:
    wanted = requests(20, 2)
    together = answers(bundled(batch_size=64), Fraction(2, 5), wanted, SAMPLED)
    assert together == answers(bundled(batch_size=1), Fraction(2, 5), wanted, SAMPLED)
    some = answers(bundled(batch_size=7), Fraction(2, 5), wanted[::-3], SAMPLED)
    assert some.items() <= together.items()
    assert len({text for text, _, _ in together.values()}) > 15
    assert any(together[name, 0] != together[name, 1] for name, _ in together)


def test_samples_change_with_the_seed_and_greedy_answers_do_not() -> None:
    backend = bundled()
    other_seed = answers(backend, THINKING, requests(20), msgspec.structs.replace(SAMPLED, seed=1))
    assert other_seed != answers(backend, THINKING, requests(20), SAMPLED)
    greedy = answers(
        backend, THINKING, requests(20), msgspec.structs.replace(GREEDY, seed=1, top_p=0.1, top_k=1)
    )
    assert greedy == answers(backend, THINKING, requests(20), GREEDY)


def test_text_has_its_thinking_tags_and_no_end_token_which_is_counted() -> None:
    tokenizer = AutoTokenizer.from_pretrained(open_source(BUNDLED_THINKING).root)
    found = answers(bundled(), THINKING, requests(12), GREEDY)
    right = {question.id: question.answer for question in questions(12)}
    for (name, _), (text, tokens, finish) in found.items():
        assert text.startswith("<think>")
        assert text.endswith(f"</think>{right[name]}")
        assert (tokens, finish) == (len(tokenizer(text)["input_ids"]) + 1, "stop")


def test_a_cap_cuts_an_answer_and_one_that_ends_at_the_cap_is_whole() -> None:
    (question,) = questions(1)
    (whole,) = answers(bundled(), THINKING, [Request(question, THINKING, 0)], GREEDY).values()
    text, tokens, _ = whole
    exact = msgspec.structs.replace(GREEDY, max_tokens=tokens)
    assert answers(bundled(), THINKING, [Request(question, THINKING, 0)], exact) == {(question.id, 0): whole}
    short = msgspec.structs.replace(GREEDY, max_tokens=tokens - 1)
    found = answers(bundled(), THINKING, [Request(question, THINKING, 0)], short)
    assert found == {(question.id, 0): (text, tokens - 1, "length")}


def test_any_end_token_of_the_generation_config_ends_an_answer(tmp_path: Path) -> None:
    backend = edited_pair(tmp_path, generation_config(eos_token_id=[3, 6]))  # 6 is </think>
    for text, _, finish in answers(backend, THINKING, requests(8), GREEDY).values():
        assert text.startswith("<think>")
        assert "</think>" not in text
        assert finish == "stop"


def test_a_batch_ends_when_every_row_has_any_of_its_end_tokens(tmp_path: Path) -> None:
    def steps(end: list[int]) -> int:
        folder = tmp_path / str(len(end))
        models = edited_models(folder, generation_config(eos_token_id=end))
        forwards = 0

        def count(*_: object) -> None:
            nonlocal forwards
            forwards += 1

        models.at(THINKING).register_forward_hook(count)
        list(HfBackend(models).generate(at(THINKING, requests(4)), GREEDY))
        return forwards

    assert steps([28, 6]) < steps([28]) == 96  # the second of the two is </think>


def test_nothing_else_of_the_generation_config_is_used_and_the_notes_say_so(tmp_path: Path) -> None:
    own = {"temperature": 0.7, "repetition_penalty": 9.0, "min_p": 0.9, "max_new_tokens": 3}
    backend = edited_pair(tmp_path, generation_config(**own))
    for settings in (GREEDY, SAMPLED):
        found = answers(backend, THINKING, requests(8), settings)
        assert found == answers(bundled(), THINKING, requests(8), settings)
    assert backend.notes([Fraction(0), THINKING], SAMPLED) == (
        "the model's generation_config says temperature 0.7, max_new_tokens 3; 1 and 96 are used",
        "the model's generation_config says repetition_penalty 9.0, min_p 0.9, which are not used",
    )
    assert bundled().notes(LAMBDAS, msgspec.structs.replace(SAMPLED, temperature=0.6)) == ()


def test_a_template_that_opens_the_thinking_block_is_told(tmp_path: Path) -> None:
    def open_block(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text().replace("%}<|assistant|>{% endif", "%}<|assistant|><think>{% endif"))

    backend = edited_pair(tmp_path, open_block)
    made: list[Generation] = [answer for _, answer in backend.generate(at(THINKING, requests(4)), GREEDY)]
    assert [answer.prefilled for answer in made] == [True] * 4
    assert all("</think>" in answer.text and "<think>" not in answer.text for answer in made)
    assert not any(answer.prefilled for _, answer in bundled().generate(at(THINKING, requests(4)), GREEDY))


def test_instruct_is_asked_in_its_own_template_and_every_other_lambda_in_thinkings(tmp_path: Path) -> None:
    def open_block(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        if folder.name == "thinking":
            path.write_text(path.read_text().replace("<|assistant|>{% endif", "<|assistant|><think>{% endif"))

    backend = edited_pair(tmp_path, open_block)
    wanted = [
        request for lam in (Fraction(0), Fraction(1, 4096), THINKING) for request in at(lam, requests(1))
    ]
    found = {request.lam: answer.prefilled for request, answer in backend.generate(wanted, GREEDY)}
    assert found == {Fraction(0): False, Fraction(1, 4096): True, THINKING: True}


def test_answers_come_batch_by_batch_the_longest_prompts_first() -> None:
    models = LiveModels(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING), device="cpu")
    forwards = 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    models.at(THINKING).register_forward_hook(count)
    wanted = requests(6)
    running = HfBackend(models, batch_size=2).generate(at(THINKING, wanted), GREEDY)
    assert forwards == 0
    first = [next(running), next(running)]
    after_two = forwards
    next(running)
    assert forwards > after_two > 0
    running.close()
    lengths = sorted((len(request.question.messages[0].content) for request in wanted), reverse=True)
    assert [len(request.question.messages[0].content) for request, _ in first] == lengths[:2]
    assert first[0][1].seconds == first[1][1].seconds > 0


def test_no_request_needs_no_model() -> None:
    assert list(bundled().generate(at(THINKING, []), GREEDY)) == []


def test_the_callers_random_numbers_and_threads_stay_as_they_are() -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    answers(bundled(), THINKING, requests(4), SAMPLED)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_lambda_that_the_grid_lacks_is_refused_with_those_it_has(tiny_grid: Path) -> None:
    backend = HfBackend.from_grid(tiny_grid, device="cpu")
    with pytest.raises(LambdaError, match=r"λ = 0\.30 is not in this grid") as refused:
        list(backend.generate(at(Fraction(3, 10), requests(1)), GREEDY))
    assert refused.value.hint == "available: 0.00, 0.40, 1.00"


def test_a_folder_without_a_grid_or_a_grid_without_a_checkpoint_is_refused(
    tiny_grid: Path, tmp_path: Path
) -> None:
    with pytest.raises(GridUnreadable, match=r"grid\.json"):
        HfBackend.from_grid(tmp_path)
    shutil.copytree(tiny_grid, tmp_path / "grid")
    shutil.rmtree(tmp_path / "grid" / "lambda-0.40")
    backend = HfBackend.from_grid(tmp_path / "grid", device="cpu")
    with pytest.raises(GridUnreadable, match=r"lambda-0\.40 is listed in grid\.json but missing on disk"):
        list(backend.generate(at(Fraction(2, 5), requests(1)), GREEDY))


def test_more_tokens_than_the_context_holds_are_refused_with_what_would_fit() -> None:
    long = Question("long", (Message("user", "1a+1" * 5),), "0")
    wanted = [*requests(3), Request(long, THINKING, 0)]
    fits = msgspec.structs.replace(GREEDY, max_tokens=512 - 22)
    assert next(bundled().generate(at(THINKING, wanted), fits))[0].question == long
    with pytest.raises(UsageError, match=r"'long' \(22 tokens\) .* up to 491 .* context of 512") as refused:
        list(bundled().generate(at(THINKING, wanted), msgspec.structs.replace(GREEDY, max_tokens=491)))
    assert refused.value.hint == "use --max-tokens 490 or less"
    endless = Question("endless", (Message("user", "1a+1" * 200),), "0")
    with pytest.raises(UsageError, match=r"'endless' \(802 tokens\)") as refused:
        list(bundled().generate(at(THINKING, [Request(endless, THINKING, 0)]), GREEDY))
    assert refused.value.hint == "leave the question out"


def test_every_question_that_the_template_refuses_is_named() -> None:
    odd = [Question(name, (Message("system", "be brief"),), "0") for name in ("s1", "s2")]
    wanted = [*requests(2), *(Request(question, THINKING, 0) for question in odd)]
    with pytest.raises(
        InputRefused, match=r"'s1' is rejected by .* roles user and assistant only"
    ) as refused:
        list(bundled().generate(at(THINKING, wanted), GREEDY))
    assert len(refused.value.problems) == 2


def test_a_model_that_computes_nan_gives_an_error_and_no_answer() -> None:
    models = LiveModels(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING), device="cpu")
    with torch.no_grad():
        next(models.at(THINKING).parameters()).fill_(torch.nan)
    for settings in (GREEDY, SAMPLED):
        with pytest.raises(BackendError, match=r"the model of λ = 1\.00 computes NaN in torch\.float32"):
            list(HfBackend(models).generate(at(THINKING, requests(2)), settings))


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(UsageError, match="the batch size must be at least 1, got 0"):
        bundled(batch_size=0)


def test_the_description_changes_with_weights_sidecars_and_dtype_and_with_nothing_else(
    tiny_grid: Path, tmp_path: Path
) -> None:
    def described(**options: Any) -> Mapping[str, str]:
        return HfBackend.from_grid(tiny_grid, device="cpu", **options).describe()

    def digests(folder: Path, edit: Callable[[Path], object]) -> tuple[str, str]:
        found = edited_pair(folder, edit).describe()
        return found["weights"], found["sidecars"]

    def new_weights(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    grid = described()
    assert (grid["backend"], grid["dtype"]) == ("hf", "stored")
    assert described() == grid
    assert described(dtype="bfloat16") == {**grid, "dtype": "bfloat16"}
    plain = bundled().describe()
    same = digests(tmp_path / "same", lambda folder: (folder / "README.md").write_text("other"))
    weights = digests(tmp_path / "weights", new_weights)
    sidecars = digests(tmp_path / "sidecars", generation_config(eos_token_id=[3, 6]))
    assert same == (plain["weights"], plain["sidecars"])
    assert weights[0] != same[0]
    assert weights[1] == same[1]
    assert sidecars[0] == same[0]
    assert sidecars[1] != same[1]


def test_a_dtype_is_the_models(tiny_grid: Path) -> None:
    with pytest.raises(UsageError, match="'int8' is not a dtype for weights"):
        list(HfBackend.from_grid(tiny_grid, dtype="int8").generate(at(THINKING, requests(1)), GREEDY))
    narrow = HfBackend.from_grid(tiny_grid, device="cpu", dtype="bfloat16")
    found = answers(narrow, THINKING, requests(10), GREEDY)
    assert sum(text.startswith("<think>") for text, _, _ in found.values()) == 10


def test_both_backends_are_imported_without_transformers_and_without_openai() -> None:
    code = (
        "import sys, dami_merge.backends.hf, dami_merge.backends.openai; "
        "print(sorted({'transformers', 'openai', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_transformers_the_extra_is_named(tiny_grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackendError, match="needs transformers") as refused:
        list(HfBackend.from_grid(tiny_grid, device="cpu").generate(at(THINKING, requests(1)), GREEDY))
    assert refused.value.hint == install_hint("sweep")
