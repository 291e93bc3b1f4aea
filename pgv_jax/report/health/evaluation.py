"""The health report: does a critic know anything on tasks that it was not trained on?

Every test is run for the critic and for each baseline on the same rows, with intervals over
tasks; a test without enough data says "not testable" instead of a number.
docs/health.md explains each figure to a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.critic.calibration import apply
from pgv_jax.report.health import controls, leaks, ranking
from pgv_jax.report.health.alike import alike
from pgv_jax.report.health.baselines import Baseline, Constant, Critic
from pgv_jax.report.health.choices import choices
from pgv_jax.report.health.reliability import calibration
from pgv_jax.report.health.rewording import rewording
from pgv_jax.report.health.sections import (
    CANDIDATES,
    CRITIC,
    OUTCOMES,
    Thresholds,
    few,
    finite,
    not_testable,
)
from pgv_jax.report.health.state_goals import (
    GoalRows,
    Popularity,
    goal_rows,
    judge_goals,
    q_goals,
    similarity,
)
from pgv_jax.report.health.trust import Limits, trust
from pgv_jax.report.health.verdict import verdict
from pgv_jax.report.rows import Rows, Scorer, decisions, step_rows
from pgv_jax.report.stats import rounded
from pgv_jax.texts.templates import FAILURE, SUCCESS, History
from pgv_jax.types import Episode

__all__ = ["Reference", "Thresholds", "judge"]

CALIBRATED = "critic_calibrated"


@dataclass(frozen=True)
class Reference:
    """What a critic is held against beside its baselines, all of it optional.

    ``train`` are the episodes that it learned from, ``embed`` its embeddings (distances, and the
    baselines of state goals); ``calibration`` as ``pgv_jax.critic.calibration`` reads it, fitted
    elsewhere; ``group`` maps an episode to the kind of its task.
    """

    train: Sequence[Episode] = ()
    embed: Callable[[Sequence[str]], np.ndarray] | None = None
    calibration: Mapping[str, Any] | None = None
    group: Callable[[Episode], str] | None = None


@dataclass(frozen=True)
class _Judged:
    """The rows, everybody's scores and the settings of one judgement."""

    episodes: list[Episode]
    rows: Rows
    asked: GoalRows
    scores: dict[str, np.ndarray]
    columns: list[Baseline]
    scorer: Scorer
    beside: Reference
    history: History
    gamma: float | None
    goal_gamma: float | None
    limits: Thresholds
    seed: int

    def calibrated(self) -> np.ndarray | None:
        """The critic's scores of success as likelihoods, where a calibrator is known: [B]."""
        known = (self.beside.calibration or {}).get("outcomes", {}).get(SUCCESS)
        return None if known is None else apply(known, self.scores[CRITIC])


def judge(
    episodes: Iterable[Episode],
    scorer: Scorer,
    *,
    baselines: Sequence[Baseline] = (),
    critics: Mapping[str, Scorer] | None = None,
    reference: Reference | None = None,
    history: History = 0,
    gamma: float | None = None,
    goal_gamma: float | None = None,
    v_head: bool = False,
    split: str = "test",
    notes: Sequence[str] = (),
    at_steps: Sequence[int] = ranking.AT_STEPS,
    thresholds: Thresholds | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge ``scorer`` on held-out episodes; returns the JSON-able health report.

    ``baselines`` come fitted (``fit_baselines``), ``critics`` are other artifacts by name (a
    Monte-Carlo head, one of success alone). ``gamma`` is the discount in Q of success (1: a chance)
    and below 1 adds calibration against gamma^steps-to-success; ``goal_gamma`` is that in Q of
    state goals, by default the same. ``v_head`` judges V(s, success) as a column of its own.
    ``thresholds`` say how much data a test needs, ``limits`` what the verdict demands. Raises
    PgvError where a score is not finite.
    """
    episodes = list(episodes)
    rows = step_rows(episodes, history)
    columns = _columns(rows, scorer, baselines, critics or {})
    scores = {column.name: finite(column.name, column.score(rows)) for column in columns}
    if v_head:
        scores["critic_v"] = finite("critic_v", _v_success(scorer, rows))
    judged = _Judged(
        episodes=episodes,
        rows=rows,
        asked=goal_rows(episodes, history, seed=seed),
        scores=scores,
        columns=columns,
        scorer=scorer,
        beside=reference or Reference(),
        history=history,
        gamma=gamma,
        goal_gamma=gamma if goal_gamma is None else goal_gamma,
        limits=thresholds or Thresholds(),
        seed=seed,
    )
    report = _sections(judged, critics or {}, at_steps, split)
    report["notes"] = list(notes)
    report = {"verdict": verdict(report), **report}
    report["verdict"] |= trust(report, limits)
    return report


def _columns(
    rows: Rows, scorer: Scorer, baselines: Sequence[Baseline], critics: Mapping[str, Scorer]
) -> list[Baseline]:
    """Everybody who scores each step; the mean of the outcomes is always among them."""
    columns: list[Baseline] = [Critic(CRITIC, scorer), *baselines]
    if not any(isinstance(column, Constant) for column in columns):
        columns.append(Constant(float(rows.success_B.mean()) if len(rows) else 0.0))
    return columns + [Critic(name, other) for name, other in critics.items()]


def _sections(
    judged: _Judged, critics: Mapping[str, Scorer], at_steps: Sequence[int], split: str
) -> dict[str, Any]:
    """What was found, without a verdict; ``choices`` is there where other critics are."""
    episodes, rows, scorer = judged.episodes, judged.rows, judged.scorer
    sections: dict[str, Any] = {
        "format": "pgv_jax.health",
        "version": 2,
        "data": _data(episodes, rows, split, judged.history),
        "scorers": list(judged.scores),
        **_rankings(judged, at_steps),
        "calibration": few(len(set(rows.task_ids)), OUTCOMES, judged.limits)
        or _calibration(judged),
        "outcome_sum": _outcome_sum(scorer, rows, judged.scores[CRITIC]),
        **_goals(judged),
        "alike": alike(scorer, rows, judged.seed),
        "rewording": rewording(scorer, episodes, rows, judged.history, judged.seed),
        "controls": _controls(judged),
        "leaks": leaks.scan([*judged.beside.train, *episodes]),
    }
    if critics:
        sections["choices"] = choices(scorer, critics, episodes, rows, judged.history, judged.seed)
    return sections


def _rankings(judged: _Judged, at_steps: Sequence[int]) -> dict[str, Any]:
    """The sections ``auc``, ``same_task``, ``same_group``, ``spearman``, ``top1``, ``same_state``.

    ``same_group`` is there where groups are known.
    """
    rows, needs = judged.rows, judged.limits
    short = few(len(set(rows.task_ids)), OUTCOMES, needs)
    offered = decisions(judged.episodes, judged.history)
    scores = dict(judged.scores)
    if len(rows):
        scores["shuffled_thoughts"] = finite(
            "shuffled_thoughts", controls.shuffled_thoughts(judged.scorer, rows, judged.seed)
        )
    auc = short or ranking.auc_at_steps(rows, scores, at_steps, needs)
    sections = {"auc": auc}
    if auc["testable"]:
        tested = [entry["step"] for entry in auc["steps"] if entry["testable"]]
        within = (tested, needs)
        sections["same_task"] = ranking.auc_within(rows, scores, rows.task_ids, *within)
        if judged.beside.group is not None:
            kinds = {e.task_id: judged.beside.group(e) for e in judged.episodes}
            strata = [kinds[task_id] for task_id in rows.task_ids]
            sections["same_group"] = ranking.auc_within(rows, scores, strata, *within)
        gamma = 1.0 if judged.gamma is None else judged.gamma
        sections["spearman"] = ranking.spearman_at_steps(rows, scores, gamma, tested)
    else:
        sections |= {"same_task": auc, "spearman": auc}
        if judged.beside.group is not None:
            sections["same_group"] = auc
    sections["top1"] = few(len(set(offered.task_ids)), CANDIDATES, needs) or ranking.top1(
        offered, judged.columns, needs
    )
    sections["same_state"] = short or ranking.same_state(rows, judged.scores, needs, judged.seed)
    return sections


def _goals(judged: _Judged) -> dict[str, Any]:
    """The sections ``goals`` and ``goal_calibration``: state goals drawn in hindsight."""
    asked = judged.asked
    if not len(asked):
        return dict.fromkeys(("goals", "goal_calibration"), not_testable("no goal could be drawn"))
    q = q_goals(judged.scorer, asked)
    scores = {CRITIC: q, **controls.goal_controls(judged.scorer, asked, judged.seed)}
    if judged.beside.train:
        scores["popularity"] = Popularity(judged.beside.train).score(asked)
    if judged.beside.embed is not None:
        scores["similarity"] = similarity(judged.beside.embed, asked)
    section = judge_goals(asked, scores, judged.limits)
    return {"goals": section, "goal_calibration": _goal_calibration(judged, asked, q, section)}


def _goal_calibration(
    judged: _Judged, asked: GoalRows, q: np.ndarray, section: Mapping[str, Any]
) -> dict[str, Any]:
    if not section["testable"] or judged.goal_gamma is None:
        return not_testable(section.get("why", "the critic's gamma is not known"))
    outcome = asked.discounted(judged.goal_gamma)
    shown = {CRITIC: q}
    known = (judged.beside.calibration or {}).get("states")
    if known is not None:
        shown[CALIBRATED] = apply(known, q)
    found = _reliability(shown, outcome, asked.rows.task_ids)
    return {"testable": True, "gamma": judged.goal_gamma, **found}


def _reliability(
    scores: Mapping[str, np.ndarray],
    outcome: np.ndarray,
    task_ids: Sequence[str],
) -> dict[str, Any]:
    constant = float(outcome.mean())
    return {
        name: calibration(score, outcome, task_ids, constant=constant)
        for name, score in scores.items()
    }


def _controls(judged: _Judged) -> dict[str, Any]:
    """What the scores hang on: sensitivity to each text, disagreement, distance from training."""
    rows, q = judged.rows, judged.scores[CRITIC]
    if not len(rows):
        nothing = not_testable("no step with a known outcome")
        return dict.fromkeys(("success", "states", "disagreement", "distance"), nothing)
    asked = judged.asked
    likely = judged.calibrated()
    error_B = np.abs((q if likely is None else likely) - rows.success_B)
    success = controls.sensitivity(judged.scorer, rows, q, [SUCCESS] * len(rows), judged.seed)
    states = controls.sensitivity(
        judged.scorer, asked.rows, q_goals(judged.scorer, asked), asked.goals, judged.seed
    )
    found = {"success": success, "states": states}
    if isinstance(judged.scorer, controls.Ensemble):
        found["disagreement"] = controls.disagreement(judged.scorer, rows, error_B)
    else:
        found["disagreement"] = not_testable("the critic does not show its members")
    if judged.beside.embed is None:
        found["distance"] = not_testable("no embeddings were given")
    else:
        train = step_rows(judged.beside.train, judged.history)
        found["distance"] = controls.distance(
            judged.beside.embed, train, rows, error_B, judged.history, judged.seed
        )
    return found


def _data(episodes: list[Episode], rows: Rows, split: str, history: History) -> dict[str, Any]:
    known = [e for e in episodes if e.success is not None]
    return {
        "split": split,
        "episodes": len(episodes),
        "unknown_outcome": len(episodes) - len(known),
        "successes": sum(bool(e.success) for e in known),
        "tasks": len({e.task_id for e in episodes}),
        "steps": len(rows),
        "history": history,
    }


def _calibration(judged: _Judged) -> dict[str, Any]:
    """Scores as likelihoods of success, and of gamma^steps-to-success below gamma 1."""
    rows, gamma = judged.rows, judged.gamma
    success = rows.success_B.astype(np.float64)
    likely = judged.calibrated()
    shown = judged.scores if likely is None else {**judged.scores, CALIBRATED: likely}
    section = {
        "testable": True,
        "gamma": gamma,
        "calibrators": judged.beside.calibration,
        "success": _reliability(shown, success, rows.task_ids),
    }
    if gamma is not None and gamma < 1:
        critics = {c.name for c in judged.columns if isinstance(c, Critic)} | {"critic_v"}
        scores = {name: score for name, score in judged.scores.items() if name in critics}
        outcome = gamma**rows.steps_left_B * success
        section["discounted"] = _reliability(scores, outcome, rows.task_ids)
    return section


def _outcome_sum(scorer: Scorer, rows: Rows, q: np.ndarray) -> dict[str, Any]:
    """Mean of Q(success) + Q(failure): two ends that exclude each other cannot exceed 1."""
    if not len(rows):
        return not_testable("no step with a known outcome")
    goals = [FAILURE] * len(rows)
    failure = scorer.q_pairs(rows.tasks, rows.observations, rows.thoughts, goals)
    total = float((q + finite(CRITIC, failure)).mean())
    return {"testable": True, "mean": rounded(total), "alarm": total > 1.1}


def _v_success(scorer: Scorer, rows: Rows) -> np.ndarray:
    return np.asarray(scorer.v_pairs(rows.tasks, rows.observations, [SUCCESS] * len(rows)))
