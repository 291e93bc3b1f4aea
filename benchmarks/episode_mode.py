"""One pass an episode against one pass a prefix, by a small causal model with random weights.

``python benchmarks/episode_mode.py [--dataset DATASET] [--steps 2 4 8 16] [--rounds 3]`` prints one
JSON line a length: episodes cut after so many steps, every observation and thought embedded both
ways, in alternating rounds. "separate" is what encoding prefixes as texts costs: the same model,
each prefix once, in batches of a token budget. Without ``--dataset`` (made by ``pgv import``)
episodes are generated. Needs torch and transformers to write the model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from entry import begin

from pgv_jax.embed.episode_mode import EpisodeEncoder
from pgv_jax.embed.model_files import minilm_folder, open_folder
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.texts.segments import split
from pgv_jax.texts.templates import EPISODE, observation_text, thought_text
from pgv_jax.types import Episode, Step

WINDOW = 8192
WORDS = "door key hall lamp table book cup red open closed on in the a is you see"
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 768,
    "max_position_embeddings": WINDOW,
    "vocab_size": 30522,
}


def write_model(folder: Path) -> None:
    """A Qwen3 with random weights, and MiniLM's vocabulary."""
    import torch
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    Qwen3Model(Qwen3Config(**SIZES)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm_folder() / name, folder / name)


def generated(count: int, steps: int) -> list[Episode]:
    """Episodes of ``steps`` steps with observations of 60 words."""
    rng = random.Random(0)

    def text(length: int) -> str:
        return " ".join(rng.choices(WORDS.split(), k=length))

    return [
        Episode(
            f"e{i}",
            f"t{i}",
            text(40),
            tuple(Step(text(60), text(20), text(5)) for _ in range(steps)),
            text(60),
        )
        for i in range(count)
    ]


def read(dataset: Path | None, count: int, steps: int) -> list[Episode]:
    """The first ``count`` episodes with at least ``steps`` steps."""
    if dataset is None:
        return generated(count, steps)
    from pgv_jax.data.episodes import read_episodes

    long = [episode for episode in read_episodes(dataset) if len(episode.steps) >= steps]
    return long[:count]


def prefixes_of(episode: Episode, steps: int) -> list[str]:
    """Every observation and thought of the first ``steps`` steps, as prefixes."""
    cut = dataclasses.replace(episode, steps=episode.steps[:steps], final_observation="")
    seen = [observation_text(cut, t, EPISODE) for t in range(steps)]
    said = [
        thought_text(text, step.thought, EPISODE)
        for text, step in zip(seen, cut.steps, strict=True)
    ]
    return [*seen, *said]


def seconds(encode: Callable[[list[str]], object], parts: list[list[str]]) -> float:
    """Wall time of encoding each episode's texts."""
    started = time.perf_counter()
    for texts in parts:
        encode(texts)
    return time.perf_counter() - started


def main() -> None:
    """Print one JSON line for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder)
        once = open_folder(folder, "once", f"mode=episode&max_tokens={WINDOW}", budget=WINDOW)
        apart = open_folder(folder, "apart", f"max_tokens={WINDOW}&pooling=last", budget=WINDOW)
    assert isinstance(once, EpisodeEncoder) and isinstance(apart, TextEncoder)
    episodes = read(options.dataset, options.episodes, max(options.steps))
    for steps in options.steps:
        parts = [prefixes_of(episode, steps) for episode in episodes]
        plain = [["".join(split(prefix)) for prefix in prefixes] for prefixes in parts]
        alone = np.concatenate([once.encode([prefix]) for prefix in parts[0]])
        difference = float(np.abs(once.encode(parts[0]) - alone).max())
        before = once.stats.tokens, apart.stats.tokens
        seconds(once.encode, parts), seconds(apart.encode, plain)  # compiles
        tokens = once.stats.tokens - before[0], apart.stats.tokens - before[1]
        times = [
            (seconds(once.encode, parts), seconds(apart.encode, plain))
            for _ in range(options.rounds)
        ]
        ratios = [separate / one for one, separate in times]
        line = {
            "steps": steps,
            "episodes": len(episodes),
            "source": "generated" if options.dataset is None else "dataset",
            "tokens_an_episode": round(tokens[0] / len(episodes)),
            "tokens_separate": round(tokens[1] / len(episodes)),
            "seconds": [round(statistics.median(column), 3) for column in zip(*times, strict=True)],
            "speed_up": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "max_abs_difference": difference,
            "load": round(os.getloadavg()[0], 2),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    begin(main)
