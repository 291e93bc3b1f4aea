"""The texts that benchmarks/encoder.py embeds: a dataset's, as ``pgv embed`` reads it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.detection import detect
from pgv_jax.data.importers.pipeline import expand
from pgv_jax.data.layout import texts_of
from pgv_jax.types import Episode

DATA = Path(__file__).parents[2] / "shared" / "data"
LOGS = {
    "tau-bench": ("tau-bench/gpt-4o-airline.json",),
    "knowagent": tuple(
        f"knowagent/KnowAgent{task}_llama-2-13b_D{i}.jsonl"
        for task in ("ALFWorld", "HotpotQA")
        for i in (0, 1)
    ),
}
SOURCES = ("auto", *LOGS, "generated")
SENTENCES = (
    "the agent opens a fridge and takes one potato then cools it near the desk but nothing happens "
    "so it looks around drawer shelf cabinet microwave lamp mug clean hot goal result search click"
)


def episodes_of(source: str) -> tuple[str, list[Episode]]:
    """(where from, episodes) of a log beside the checkout; ``auto``: the first that is there."""
    for name in LOGS if source == "auto" else (source,):
        paths = [DATA / path for path in LOGS.get(name, ())]
        if paths and all(path.exists() for path in paths):
            found = []
            for path in expand(paths):
                items = detect(path).importer.read(path, Options())
                found += [item for item in items if isinstance(item, Episode)]
            return name, found
    if source in LOGS:
        raise SystemExit(f"{DATA} has no {source}; leave --source out, or put the log there.")
    return "generated", []


def every_text(episodes: Sequence[Episode], history: int) -> list[str]:
    """The texts of each episode, one after another: what recurs in another one is repeated."""
    return [text for episode in episodes for text in texts_of([episode], history) if text]


def corpus(count: int, source: str = "auto", seed: int = 0) -> tuple[str, list[str]]:
    """(where from, ``count`` texts), the same ones for the same seed; repeated ones stay."""
    rng = random.Random(seed)
    name, episodes = episodes_of(source)
    texts = every_text(episodes, 0)
    if len(texts) >= count:
        return name, rng.sample(texts, count)
    words, lengths = SENTENCES.split(), rng.choices([4, 8, 16, 16, 32, 64], k=count)
    return "generated", [" ".join(rng.choices(words, k=length)) for length in lengths]
