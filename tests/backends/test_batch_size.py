"""How many rows fit: half of the room for the longest answers, never none."""

from types import SimpleNamespace

import pytest

from dami_merge.backends.batch_size import cache_bytes, rows_that_fit
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.live import load_live


@pytest.mark.parametrize(("tokens", "rows"), [(100, 64), (1 << 16, 16), (1 << 19, 2), (1 << 30, 1)])
def test_rows_of_the_bundled_model_fill_four_gib_at_4096_bytes_a_token(tokens: int, rows: int) -> None:
    model, _ = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    assert cache_bytes(model.config, 4) == 2 * 4 * 4 * 32 * 4
    assert rows_that_fit(model, tokens) == rows


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 3}, 384),
        ({"num_attention_heads": 8, "hidden_size": 64, "num_hidden_layers": 3}, 768),
        ({"hidden_size": 64}, 0),
    ],
)
def test_grouped_heads_and_a_width_that_is_not_named_are_read_from_the_config(
    fields: dict[str, int], size: int
) -> None:
    text = SimpleNamespace(**fields)
    assert cache_bytes(SimpleNamespace(get_text_config=lambda: text), 2) == size
