"""The seed of an answer names it, and stays what it is."""

from fractions import Fraction

from dami_merge.backends.seeds import answer_seed
from dami_merge.evaluation.generation import Request
from dami_merge.evaluation.questions.question import Message, Question


def request(
    name: str = "q", sample: int = 0, text: str = "2+2?", *, lam: Fraction = Fraction(1, 2)
) -> Request:
    return Request(Question(name, (Message("user", text),), "4"), lam, sample)


def test_seed_question_lambda_and_sample_each_change_it_and_nothing_else_does() -> None:
    half = Fraction(1, 2)
    base = answer_seed(0, request(lam=half))
    others = [
        answer_seed(1, request(lam=half)),
        answer_seed(0, request(lam=Fraction(3, 5))),
        answer_seed(0, request("r", lam=half)),
        answer_seed(0, request(sample=1, lam=half)),
    ]
    assert len({base, *others}) == 5
    assert answer_seed(0, request(text="2 + 2?", lam=half)) == base


def test_it_is_the_same_on_every_machine_and_of_128_bits() -> None:
    seeds = [answer_seed(0, request(f"{number}", lam=Fraction(3, 10))) for number in range(50)]
    assert seeds[0] == 29425055869062153418232044930022324727
    assert max(seeds) < 2**128
    assert max(seeds) > 2**120
