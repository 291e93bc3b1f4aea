"""Small logs whose outcome is planted in the texts, and an encoder that reads it off them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pgv_jax.types import Episode, Step

DIM = 8


def lookup(texts: Sequence[str]) -> np.ndarray:
    """The numbers that a text holds, then zeros: float32 [n, DIM]."""
    out = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(out, texts, strict=True):
        numbers = [float(word) for word in text.split() if word.lstrip("-").isdigit()]
        row[: len(numbers)] = numbers
    return out


def log(
    success: Callable[[int, int, np.random.Generator], bool],
    tasks: int = 20,
    attempts: int = 6,
    steps: int = 3,
) -> list[Episode]:
    """Episodes that note two signs a and b of -1 or 1; ``success(a, b, generator)`` decides."""
    generator = np.random.default_rng(0)
    episodes = []
    for number in range(tasks * attempts):
        a, b = (int(x) for x in generator.choice([-1, 1], 2))
        seen = tuple(Step(f"seen {a} {b} .", f"try {'x' * t}", "go") for t in range(steps))
        episodes.append(
            Episode(
                f"e{number}",
                task_id=f"t{number % tasks}",
                task="The task.",
                steps=seen,
                final_observation="Over.",
                success=bool(success(a, b, generator)),
                is_terminal=True,
            )
        )
    return episodes


def linear(a: int, b: int, generator: np.random.Generator) -> bool:
    return generator.random() < (0.9 if a > 0 else 0.1)


def parity(a: int, b: int, generator: np.random.Generator) -> bool:
    return generator.random() < (0.95 if a == b else 0.05)


def chance(a: int, b: int, generator: np.random.Generator) -> bool:
    return generator.random() < 0.5
