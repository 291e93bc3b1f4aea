"""What a step leads to, in known sentences: the next-note model's inputs and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from pgv_jax.data.relabel import Index

GOES_ON, SUCCEEDS, FAILS, CUT_OFF, UNKNOWN = 0, 1, 2, 3, -1
"""How a step ends its episode."""


class Notes(NamedTuple):
    """The notes at steps [B] and after them, and how each step ends.

    ``now`` and ``next`` [B, L] are rows of the table's ``parts``, padded with -1. ``whole`` [B] is
    False where a note has more sentences than L, so that what is gone cannot be told. The last
    two, where they are drawn, are what ``relabel.facts`` tells of each step's own goal.
    """

    now: jax.Array
    next: jax.Array
    end: jax.Array
    whole: jax.Array
    reached: jax.Array | None = None
    next_reached: jax.Array | None = None


def notes_of(index: Index, row: Any, longest: int) -> Notes:
    """The notes around steps ``row`` [B] of a shard, of at most ``longest`` sentences each."""
    start, ids = index.part_start, index.part_ids
    assert start is not None and ids is not None

    def held(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, count = start[row], start[row + 1] - start[row]
        at = jnp.arange(longest)[None]
        found = ids[jnp.minimum(first[:, None] + at, ids.shape[0] - 1)]
        return jnp.where(at < count[:, None], found, -1), count <= longest

    episode = index.row_episode[row]
    is_last = row + 2 == index.episode_start[episode + 1]
    success, terminal = index.episode_success[episode], index.episode_terminal[episode] == 1
    last = jnp.select(
        [success == 1, (success == 0) & terminal, ~terminal], [SUCCEEDS, FAILS, CUT_OFF], UNKNOWN
    )
    (now, whole), (following, whole_after) = held(row), held(row + 1)
    return Notes(now, following, jnp.where(is_last, last, GOES_ON), whole & whole_after)
