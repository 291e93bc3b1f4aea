"""How long a warm choice takes: milliseconds by `pgv_jax.Guide`, texts of 60 words.

    python benchmarks/guide.py ARTIFACT [--choices 100] [-n 8]

``new``: every thought is one that was never met; ``known``: the same thoughts again.
"""

from __future__ import annotations

import argparse
import json
import random
import time

import numpy as np

import pgv_jax

WORDS = [f"word{i}" for i in range(400)]


def milliseconds(guide: pgv_jax.Guide, thoughts: list[list[str]]) -> dict[str, float]:
    """p50 and p99 of one choice a list of thoughts."""
    messages = [{"role": "user", "content": "Book a flight to Oslo."}]
    found = []
    for each in thoughts:
        started = time.perf_counter()
        guide.choose(messages, each)
        found.append(1000 * (time.perf_counter() - started))
    return {f"p{q}": round(float(np.percentile(found, q)), 2) for q in (50, 99)}


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("--choices", type=int, default=100)
    parser.add_argument("-n", type=int, default=8)
    given = parser.parse_args()
    draw = random.Random(0)

    def fresh() -> list[list[str]]:
        told = [" ".join(draw.choices(WORDS, k=60)) for _ in range(given.choices * given.n)]
        return [told[i : i + given.n] for i in range(0, len(told), given.n)]

    guide = pgv_jax.Guide.load(given.artifact)
    guide.warm_up(given.n)
    milliseconds(guide, fresh()[:5])
    thoughts = fresh()
    new = milliseconds(guide, thoughts)
    print(json.dumps({"new": new, "known": milliseconds(guide, thoughts), "n": given.n}))


if __name__ == "__main__":
    main()
