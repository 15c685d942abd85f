"""Texts to token ids: the vocabulary, the chat template, and the texts of a prompt and of a response.

Knows no model and no task.
"""

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, USER, ASSISTANT, END, UNKNOWN = "<pad>", "<|user|>", "<|assistant|>", "<|end|>", "<unk>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL = (PAD, USER, ASSISTANT, END, UNKNOWN)
VOCABULARY = (*SPECIAL, THINK, END_THINK, *"0123456789+-*Wabcdefgh=ABCDEFGH#^!?$;")
TOKEN_ID = {token: i for i, token in enumerate(VOCABULARY)}
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}<|user|>{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}<|end|>"
    "{% else %}{{ raise_exception('This model knows the roles user and assistant only.') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, and the tags; the thinking tags are not special, so that they show."""
    core = Tokenizer(models.WordLevel(vocab=TOKEN_ID, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    core.add_tokens([AddedToken(t, normalized=False) for t in (THINK, END_THINK)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # untyped in transformers
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )


def encode(text: str) -> list[int]:
    """The ids of a text of known tokens, as the tokenizer gives them, only faster."""
    return [TOKEN_ID[token] for token in re.findall(r"<[^>]+>|.", text)]


def prompt_text(question: str) -> str:
    """What the chat template makes of one question, ready for the answer."""
    return f"{USER}{question}{ASSISTANT}"
