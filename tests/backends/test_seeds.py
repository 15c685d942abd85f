"""The seed of an answer names it, and stays what it is."""

from fractions import Fraction

from dami_merge.backends.seeds import answer_seed
from dami_merge.evaluation.generation import Request
from dami_merge.evaluation.questions.question import Message, Question


def request(name: str = "q", sample: int = 0, text: str = "2+2?") -> Request:
    return Request(Question(name, (Message("user", text),), "4"), sample)


def test_seed_question_lambda_and_sample_each_change_it_and_nothing_else_does() -> None:
    half = Fraction(1, 2)
    base = answer_seed(0, half, request())
    others = [
        answer_seed(1, half, request()),
        answer_seed(0, Fraction(3, 5), request()),
        answer_seed(0, half, request("r")),
        answer_seed(0, half, request(sample=1)),
    ]
    assert len({base, *others}) == 5
    assert answer_seed(0, half, request(text="2 + 2?")) == base


def test_it_is_the_same_on_every_machine_and_of_128_bits() -> None:
    seeds = [answer_seed(0, Fraction(3, 10), request(f"{number}")) for number in range(50)]
    assert seeds[0] == 29425055869062153418232044930022324727
    assert max(seeds) < 2**128
    assert max(seeds) > 2**120
