"""Preference pairs from a critic's scores, for whoever fine-tunes an open model.

One line of JSON a pair, in TRL's conversational format with an explicit prompt, which
``DPOTrainer`` reads: ``{"prompt": [message, ...], "chosen": [message], "rejected": [message],
"margin": float}``, a message being ``{"role", "content"}``. The column ``margin`` is the
difference of the two scores.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.errors import PgvError
from pgv_jax.files import aside
from pgv_jax.texts.templates import SUCCESS, History, StepForm, observation_text, step_text
from pgv_jax.types import Candidate, Episode

Prompt = Callable[[str, str, Sequence[tuple[str, str]]], list[dict[str, Any]]]
"""(task, observation, past turns) -> the messages that a model is asked with."""
Score = Callable[[str, str, list[str], list[str]], np.ndarray]
"""``ValueFunction.q``."""


def preferences(
    episodes: Iterable[Episode],
    prompt: Prompt,
    *,
    score: Score | None = None,
    critic_history: History = 0,
    critic_step: StepForm = "thought",
    model_history: int = 3,
    margin: float = 0.03,
    goal: str = SUCCESS,
) -> Iterator[dict[str, Any]]:
    """The pair of each step: its best candidate against its worst.

    Scores are those of ``score``, else the recorded ones. Steps whose best and worst differ by
    ``margin`` or less, and steps with fewer than two scored candidates, give none.
    """
    for episode in episodes:
        for t, step in enumerate(episode.steps):
            offered = [c for c in step.candidates if c.action]
            if score is not None and len(offered) > 1:
                seen = observation_text(episode, t, critic_history)
                thoughts = [step_text(c.thought, c.action, critic_step) for c in offered]
                scores = [float(x) for x in score(episode.task, seen, thoughts, [goal])[:, 0]]
            else:
                offered = [c for c in offered if goal in c.scores]
                scores = [c.scores[goal] for c in offered]
            if len(offered) < 2 or max(scores) - min(scores) <= margin:
                continue
            past = [(s.observation, s.action) for s in episode.steps[max(0, t - model_history) : t]]
            yield {
                "prompt": prompt(episode.task, step.observation, past),
                "chosen": [_answer(offered[int(np.argmax(scores))])],
                "rejected": [_answer(offered[int(np.argmin(scores))])],
                "margin": round(max(scores) - min(scores), 6),
            }


def _answer(candidate: Candidate) -> dict[str, str]:
    content = f"Thought: {candidate.thought}\nAction: {candidate.action}"
    return {"role": "assistant", "content": content}


def write_preferences(path: str | os.PathLike[str], pairs: Iterable[dict[str, Any]]) -> int:
    """Write pairs as JSON lines, whole or not at all; returns how many. None is a PgvError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with aside(path) as unfinished:
        with unfinished.open("w", encoding="utf-8") as file:
            for pair in pairs:
                file.write(json.dumps(pair, ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise PgvError(
                "No step has two candidates whose scores differ by more than the margin; give "
                "--artifact to score them, a smaller --margin, or episodes with candidates."
            )
    return count
