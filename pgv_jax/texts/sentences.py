"""Splitting a text into sentences: one rule for goals, notes and pooled embeddings alike."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def _sentences(text: str) -> tuple[str, ...]:
    # Imported here: a machine that only trains reads arrays and needs no segmenter.
    from sentencex import segment

    found: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped:
            found.extend(piece for part in segment("en", stripped) if (piece := part.strip()))
    return tuple(found)


def sentences(text: str) -> list[str]:
    """Split a text into its sentences, in order; newlines end sentences, empty ones are dropped.

    Rules of the ``sentencex`` segmenter for English. Notes repeat a lot, so results are cached.
    """
    return list(_sentences(text))
