"""Five small episodes, a lookup that remembers its texts, and their table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.types import Candidate, Episode, Step

DIM = 3


class Book:
    """A lookup that remembers which text got which vector."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.largest = 0

    def __call__(self, wanted: Sequence[str]) -> np.ndarray:
        self.largest = max(self.largest, len(wanted))
        numbers = [self.ids.setdefault(text, len(self.ids)) for text in wanted]
        return np.asarray([[n, -n, 1] for n in numbers], np.float32)

    def text(self, vector: np.ndarray) -> str:
        return list(self.ids)[int(vector[0])]


def episodes() -> list[Episode]:
    notes = ["You are in the hall. The door is open.", "The door is open. The door is open.", ""]
    return [
        Episode(
            f"e{i}",
            f"t{i}",
            f"task {i % 2}",
            tuple(
                Step(
                    notes[(i + t) % 3],
                    f"why {t}",
                    f"act {t}",
                    candidates=(Candidate(f"idea {t}"),) if t == 0 else (),
                )
                for t in range(1 + i)
            ),
            "The end.",
            success=(True, False, None)[i % 3],
            is_terminal=i % 2 == 0,
        )
        for i in range(5)
    ]


def build(folder: Path, book: Book, **options: Any) -> Table:
    settings: dict[str, Any] = {
        "split": "train",
        "shards": 2,
        "history": 1,
        "encoder": {"name": "book", "fingerprint": "f", "extra": 1},
        "data_fingerprint": "d",
    }
    return build_table(folder, episodes(), book, **{**settings, **options})
