"""AgentPRM: a process reward model from Monte-Carlo returns (Choudhury 2025, arXiv:2502.10325).

    points   L = l(Q(s, a), y),   y = mean over the visits of (s, a) of (1 + gamma^k R) / 2
    pairs    L = -log sigmoid(q(s, a) - q(s, a')),   y(s, a) - y(s, a') > margin

R = 2 score - 1, k the steps that are left; q is the head's raw output.
V is fitted to the mean return of the state in both forms.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from pgv_jax.data.examples import Example
from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import ExampleObjective, PerEpisode
from pgv_jax.objectives.losses import Metrics
from pgv_jax.objectives.regression import regression, value_loss
from pgv_jax.texts import templates as words
from pgv_jax.types import Batch, Candidate, Episode, Predictions, Step


class AgentPRM(ExampleObjective):
    """A process reward model of the policy that played; see the module's formulas."""

    other = "now"
    plays = "policy"

    name: str = "agent_prm"
    form: Literal["points", "pairs"] = Field("points", description="regress or compare")
    discount: Literal["to_end", "from_start"] = Field(
        "to_end", description="gamma^(steps left), or gamma^(steps done) as released"
    )
    by_candidates: bool = Field(
        True, description="two visits are of one state only under the same candidates"
    )
    by_thought: bool = Field(
        False, description="two visits are of one action only under the same thought"
    )
    margin: float = Field(0.03, ge=0, description="least difference of a pair's targets")
    hindsight: int = Field(0, ge=0, description="goals beside success")

    @property
    def state_goals(self) -> int:
        """``hindsight`` sentences a step."""
        return self.hindsight

    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Regression on the targets, or the comparison of two actions of a state."""
        if self.form == "points":
            return regression(predictions, batch, head=self.head)
        assert predictions.other_q_EB is not None
        gap_EB = predictions.q_EB - predictions.other_q_EB
        q_loss = jnp.logaddexp(0.0, -gap_EB).mean()
        v_loss = value_loss(predictions, batch, head=self.head)
        metrics = {
            "loss": q_loss + v_loss,
            "q_loss": q_loss,
            "v_loss": v_loss,
            "right": (gap_EB.mean(0) > 0).mean(dtype=jnp.float32),
        }
        return q_loss + v_loss, metrics

    def targets(self, episodes: Sequence[Episode], history: words.History) -> PerEpisode:
        """Monte-Carlo targets of AgentPRM (Choudhury 2025, arXiv:2502.10325, section 3).

        y(s, a) is the mean over all visits of (s, a) of (1 + gamma^k R) / 2, k = T - 1 - t
        ("from_start": t, as in the released code), and V's target is the mean over the visits of s.
        Visits are of one state by ``state_key`` and of one action by ``action_key``: what was done,
        as in the released code, or with ``by_thought`` only in the same words. Steps of unknown
        outcome are left out. "points": one example a visit, with its own thought. "pairs": one for
        each two actions of a state whose means differ by more than ``margin``, each in the words of
        its first visit; its target is the difference.

        ``hindsight`` goals a step join in: in turn a sentence of a later note and one of any note,
        with the mean of gamma^(steps until it first holds, less 1), or 0 where it never does.
        """
        visits: list[list[_Visit]] = []
        q: dict[tuple[str, tuple[str, str]], _Mean] = defaultdict(_Mean)
        v: dict[str, _Mean] = defaultdict(_Mean)
        for episode in episodes:
            own = []
            final, last = outcome_return(episode), len(episode.steps) - 1
            for t, step in enumerate(episode.steps if final is not None else ()):
                assert final is not None
                seen = words.observation_text(episode, t, history)
                state = state_key(episode.task, seen, step, self.by_candidates, self.by_thought)
                power = t if self.discount == "from_start" else last - t
                value = (1.0 + self.gamma**power * final) / 2.0
                action = action_key(step, self.by_thought)
                q[state, action].add(value)
                v[state].add(value)
                own.append(_Visit(t, step.thought, state, action))
            visits.append(own)
        if self.form == "pairs":
            if self.hindsight:
                raise PgvError("objective.hindsight needs objective.form=points; set one of them.")
            return _pairs(visits, q, v, self.margin)
        made: PerEpisode = [
            [
                Example(t, thought, words.SUCCESS, q[state, action].value, v[state].value)
                for t, thought, state, action in own
            ]
            for own in visits
        ]
        if self.hindsight:
            more = _hindsight(
                episodes, history, self.gamma, self.by_candidates, self.by_thought, self.hindsight
            )
            made = [a + b for a, b in zip(made, more, strict=True)]
        return made


def action_key(step: Step | Candidate, by_thought: bool) -> tuple[str, str]:
    """What tells two actions of a state apart: (action, ""), or (action, thought) if asked.

    Where no action was logged the thought stands in for it.
    """
    return step.action, step.thought if by_thought or not step.action else ""


def state_key(
    task: str, observation: str, step: Step, by_candidates: bool, by_thought: bool
) -> str:
    """A hash of what a decision depends on: task, observation field and, if asked, candidates."""
    offered = sorted({action_key(c, by_thought) for c in step.candidates}) if by_candidates else []
    parts = json.dumps([task, observation, offered])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def outcome_return(episode: Episode) -> float | None:
    """R = 2 score - 1 in [-1, 1]; success stands in for a missing score; None where unknown."""
    if episode.score is not None:
        return 2.0 * episode.score - 1.0
    return None if episode.success is None else 2.0 * episode.success - 1.0


@dataclass
class _Mean:
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


class _Visit(NamedTuple):
    """A step of known outcome: where and in which words, and the keys of its two means."""

    step: int
    thought: str
    state: str
    action: tuple[str, str]


def _pairs(
    visits: list[list[_Visit]],
    q: dict[tuple[str, tuple[str, str]], _Mean],
    v: dict[str, _Mean],
    margin: float,
) -> PerEpisode:
    """The pairs of a state, where its better action was taken first."""
    taken: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for own in visits:
        for _, thought, state, action in own:
            taken[state].setdefault(action, thought)
    made: PerEpisode = []
    done = set()
    for own in visits:
        pairs = []
        for t, thought, state, action in own:
            if (state, action) in done:
                continue
            done.add((state, action))
            for worse, other in taken[state].items():
                gap = q[state, action].value - q[state, worse].value
                if gap > margin:
                    pairs.append(
                        Example(t, thought, words.SUCCESS, gap, v[state].value, other=other)
                    )
        made.append(pairs)
    if not any(made):
        raise PgvError(
            f"No state was left by two actions whose targets differ by more than {margin}, so "
            "there are no pairs; collect more episodes a task, or use objective.form=points."
        )
    return made


def _hindsight(
    episodes: Sequence[Episode],
    history: words.History,
    gamma: float,
    by_candidates: bool,
    by_thought: bool,
    count: int,
) -> PerEpisode:
    """Examples of goals in hindsight, their targets averaged over the visits that drew the goal."""
    notes = [
        [words.sentences(words.own_observation(e, t)) for t in range(len(e.steps) + 1)]
        for e in episodes
    ]
    everything = [sentence for episode in notes for note in episode for sentence in note]
    drawn: list[list[tuple[int, tuple[str, tuple[str, str], str], str, str]]] = []
    q: dict[tuple[str, tuple[str, str], str], _Mean] = defaultdict(_Mean)
    v: dict[tuple[str, str], _Mean] = defaultdict(_Mean)
    for episode, held in zip(episodes, notes, strict=True):
        own = []
        rng = random.Random(f"hindsight/{episode.episode_id}")
        for t, step in enumerate(episode.steps):
            seen = words.observation_text(episode, t, history)
            state = state_key(episode.task, seen, step, by_candidates, by_thought)
            for i in range(count):
                source = held[rng.randrange(t + 1, len(held))] if i % 2 == 0 else everything
                if not source:
                    continue
                goal = rng.choice(source)
                if goal in held[t]:
                    continue
                ahead = next((d for d, note in enumerate(held[t + 1 :]) if goal in note), None)
                value = 0.0 if ahead is None else gamma**ahead
                key = (state, action_key(step, by_thought), goal)
                q[key].add(value)
                v[state, goal].add(value)
                own.append((t, key, step.thought, goal))
        drawn.append(own)
    return [
        [
            Example(t, thought, goal, q[key].value, v[key[0], goal].value)
            for t, key, thought, goal in own
        ]
        for own in drawn
    ]
