"""Texts side by side in rows: each text once, no row too full, a program only where it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.embed.batches import Buckets, packed, packed_arrays, packed_shapes, slots
from tests.embed.test_text_mode import open_text


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=80),
    longest=st.sampled_from([200, 256]),
    budget=st.integers(1, 600),
    multiple=st.integers(1, 4),
)
def test_every_text_stands_once_in_a_row_that_holds_it(
    lengths: list[int], longest: int, budget: int, multiple: int
) -> None:
    buckets = Buckets.up_to(longest, budget, multiple)
    plans = list(packed(buckets, lengths))
    rows = [(plan.length, row) for plan in plans for row in plan.texts]
    assert sorted(i for _, row in rows for i in row) == list(range(len(lengths)))
    assert all(0 < len(row) <= slots(length) for length, row in rows)
    assert all(sum(lengths[i] for i in row) <= length for length, row in rows)
    for plan in plans:
        assert (plan.rows, plan.length) in packed_shapes(buckets)
        assert len(plan.texts) <= plan.rows and plan.rows % multiple == 0


def test_best_fit_by_hand() -> None:
    # rows of 64: 40 + 24 and 33 + 30; the 1 fits beside the second pair, the row with less room
    (plan,) = packed(Buckets.up_to(64, 128), [30, 24, 40, 33, 1])
    assert plan.texts == [[2, 1], [3, 0, 4]]
    assert (plan.rows, plan.length) == (2, 64)


def test_a_length_of_its_own_is_for_many_texts() -> None:
    buckets = Buckets.up_to(256, 1024)  # four batches of padding are 4,096 tokens

    def used(lengths: list[int]) -> list[int]:
        return sorted({plan.length for plan in packed(buckets, lengths)})

    # 64 tokens less in each row of 192 than of 256
    assert used([256] + [180] * 64) == [256]
    assert used([256] + [180] * 65) == [192, 256]
    # 128 less in each row of 64 than of 192
    assert used([180] + [10] * 32) == [192]
    assert used([180] + [10] * 33) == [64, 192]


def test_tokens_and_the_numbers_of_their_texts() -> None:
    (plan,) = packed(Buckets.up_to(8, 16), [3, 4, 5])
    ids = [[np.arange(1, 6), np.arange(11, 14)], [np.arange(21, 25)]]
    ids_BL, text_BL = packed_arrays(plan, ids)
    assert plan.texts == [[2, 0], [1]]
    np.testing.assert_array_equal(ids_BL, [[1, 2, 3, 4, 5, 11, 12, 13], [21, 22, 23, 24, *[0] * 4]])
    np.testing.assert_array_equal(text_BL, [[1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 1, *[0] * 4]])


def test_a_packed_text_has_the_vector_that_it_has_alone(bert: Path) -> None:
    texts = [chr(97 + i % 26) * (1 + i % 29) for i in range(60)]
    for options in ("max_tokens=32", "max_tokens=32&pooling=cls", "max_tokens=32&pooling=last"):
        encoder = open_text(bert, options)
        together = encoder.encode(texts)
        assert encoder.compilations == 1
        alone = np.concatenate([encoder.encode([text]) for text in texts[:29]])
        np.testing.assert_allclose(together[:29], alone, atol=1e-5)
