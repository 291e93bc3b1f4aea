"""The page of ``pgv fit``: four questions of a newcomer, answered in their order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgv_jax.files import write_whole
from pgv_jax.report.alternatives import ATTEMPT, DONE, OFFERED, SAME, Comparison, Reconsidered
from pgv_jax.report.answers import UNKNOWN, Answers, five_lines
from pgv_jax.report.description import Description, shortened
from pgv_jax.report.pages.dataset import fact_lines
from pgv_jax.report.pages.html import render
from pgv_jax.texts.templates import SUCCESS, History

TASK, SEEN, THOUGHT = 300, 700, 400
"""Characters of a task, an observation and a thought that are shown."""
CLOSE = 0.01
"""Where the widest gap is below this, the critic is said to hardly tell the thoughts apart."""
WHENCE = {
    DONE: "done",
    OFFERED: "offered",
    SAME: "another attempt, in the same place",
    ATTEMPT: "another attempt, at this step",
}
ENDED = {True: "that attempt succeeded", False: "that attempt failed", None: ""}


def write_fit(
    path: Path,
    *,
    answers: Answers,
    compared: Comparison | None,
    said: Description,
    health: Mapping[str, Any] | None,
    artifact: Path,
    history: History,
    command: str,
    warnings: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Write the page: one file that loads nothing.

    ``compared`` is None where no outcome says what a better decision is, or no task is held out;
    ``health`` is the health report, whose figures stand at the end, or None. ``history`` is the
    critic's, and ``command`` what made the page.
    """
    shown = [_decision(decision) for decision in compared.shown] if compared else []
    outcomes = said.facts["outcomes"]
    known = bool(outcomes["success"] or outcomes["failure"])
    top = max([option["value"] for each in shown for option in each["options"]] or [1.0])
    write_whole(
        path,
        render(
            "fit.html",
            answers=answers,
            decisions=shown,
            scale=top if top > 0 else 1.0,
            compared=compared,
            close=CLOSE if compared and all(each.gap < CLOSE for each in compared.shown) else None,
            same=not (outcomes["success"] and outcomes["failure"]),
            unknown=[*answers.unknown, *warnings],
            problems=said.problems,
            commands=_commands(answers, artifact, history, command, shown, known),
            rows=fact_lines(said.facts),
            health=health,
            seconds=dict(seconds or {}),
        ),
    )


def _decision(decision: Reconsidered) -> dict[str, Any]:
    episode, step = decision.episode, decision.episode.steps[decision.t]
    return {
        "episode": episode.episode_id,
        "number": decision.t + 1,
        "of": len(episode.steps),
        "ended": {True: "succeeded", False: "failed", None: "has no known outcome"}[
            episode.success
        ],
        "task": shortened(episode.task, TASK),
        "seen": shortened(step.observation, SEEN),
        "v": decision.v,
        "options": [
            {
                "thought": shortened(option.thought, THOUGHT),
                "value": option.q,
                "done": option.origin == DONE,
                "whence": WHENCE[option.origin],
                "ended": "" if option.origin == DONE else ENDED[option.success],
            }
            for option in decision.options
        ],
    }


def _commands(
    answers: Answers,
    artifact: Path,
    history: History,
    command: str,
    shown: Sequence[Mapping[str, Any]],
    known: bool,
) -> list[tuple[str, str]]:
    """What to do next, and the command or the lines that do it."""
    out = artifact.parents[1]
    episode = shlex.quote(shown[0]["episode"]) if shown else "ID"
    look = (
        "See one episode step by step, with its values",
        f"pgv show {out}/dataset --episode {episode} --artifact {artifact} "
        f"--out {out}/episode.html",
    )
    goal = SUCCESS if known else "A sentence of what your agent shall see."
    use = ("Ask it in your own program", five_lines(str(artifact), history, goal))
    if not known:
        join = (
            "Say how the episodes ended, in a table with episode_id and reward",
            f"{command} --rewards outcomes.csv",
        )
        return [join, use, look]
    again = ("When there are more logs, the same command learns from all of them", command)
    if answers.level in ("trust", "trust for ranking only"):
        compare = (
            "Then measure: let it choose in half of your episodes, and compare the two folders",
            "pgv compare runs/plain runs/guided",
        )
        return [use, compare, look]
    if answers.tasks is not None or answers.level == UNKNOWN:
        return [again, look, use]
    return [look, again, use]
