"""Judge the critics that a run has just trained, on its own held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.report.health.baselines import fit_baselines
from pgv_jax.report.health.evaluation import judge
from pgv_jax.texts.templates import worded
from pgv_jax.types import Episode
from pgv_jax.workflows.training import Bar, silent


def judge_offline(
    dataset: Path,
    critics: Mapping[str, ValueFunction],
    embedded: EmbeddingStore,
    seed: int,
    bar: Bar = silent,
    played: Sequence[Episode] = (),
) -> dict[str, Any]:
    """The health report of ``critics["critic"]`` on the test split, the other critics beside it.

    ``played`` are more episodes of held-out games, which no critic of these had a part in. Texts
    that have no embedding yet, such as those of candidates that were not taken, get one.
    """
    step = critics["critic"].step
    train = [worded(episode, step) for episode in read_episodes(dataset, "train")]
    test = [worded(episode, step) for episode in (*read_episodes(dataset, "test"), *played)]
    _embed(test, embedded, bar)
    manifest = critics["critic"].manifest
    gamma = manifest["objective"]["gamma"]
    with bar("judging on held-out games", 1) as report:
        baselines, notes = fit_baselines(train, embedded.lookup, seed=seed)
        health = judge(
            test,
            critics["critic"],
            baselines=baselines,
            critics={name: critic for name, critic in critics.items() if name != "critic"},
            gamma=manifest.get("recipe", {}).get("gamma", gamma),
            goal_gamma=gamma,
            v_head=True,
            notes=notes,
            seed=seed,
        )
        report(1)
    return health


def _embed(episodes: Sequence[Episode], embedded: EmbeddingStore, bar: Bar) -> None:
    texts: list[str] = []
    for episode in episodes:
        texts.append(episode.task)
        for step in episode.steps:
            texts += [step.observation, step.thought, *(c.thought for c in step.candidates)]
    missing = len(embedded.missing(texts))
    if missing:
        with bar(f"embedding {missing} texts of held-out games", missing) as report:
            embedded.add(texts, lambda done, of: report(done))
