"""Targets of the objectives that do not bootstrap while they learn, computed from episodes.

Each function returns one list of ``Example`` an episode, in the episodes' order. ``TARGETS`` names
them by objective. Nothing here reads a vector or a critic.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pgv_jax.data.examples import Example
from pgv_jax.errors import PgvError
from pgv_jax.texts import templates as words
from pgv_jax.types import Candidate, Episode, Step

PerEpisode = list[list[Example]]


@dataclass(frozen=True)
class Targets:
    """How an objective's examples are made: the function and the configuration keys it takes.

    ``reads_outcome`` False: the table is built of episodes without success, score and rewards.
    """

    make: Callable[..., PerEpisode]
    options: tuple[str, ...]
    reads_outcome: bool


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


def agent_prm(
    episodes: Sequence[Episode],
    history: int,
    *,
    gamma: float,
    form: str = "points",
    discount: str = "to_end",
    by_candidates: bool = True,
    by_thought: bool = False,
    margin: float = 0.03,
    hindsight: int = 0,
) -> PerEpisode:
    """Monte-Carlo targets of AgentPRM (Choudhury 2025, arXiv:2502.10325, section 3).

    y(s, a) is the mean over all visits of (s, a) of (1 + gamma^k R) / 2, k = T - 1 - t
    ("from_start": t, as in the released code), and V's target is the mean over the visits of s.
    Visits are of one state by ``state_key`` and of one action by ``action_key``: what was done, as
    in the released code, or with ``by_thought`` only in the same words. Steps of unknown outcome
    are left out. "points": one example a visit, with its own thought. "pairs": one for each two
    actions of a state whose means differ by more than ``margin``, each in the words of its first
    visit; its target is the difference.

    ``hindsight`` goals a step join in: in turn a sentence of a later note and one of any note, with
    the mean of gamma^(steps until it first holds, less 1), or 0 where it never does.
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
            state = state_key(episode.task, seen, step, by_candidates, by_thought)
            power = t if discount == "from_start" else last - t
            value = (1.0 + gamma**power * final) / 2.0
            action = action_key(step, by_thought)
            q[state, action].add(value)
            v[state].add(value)
            own.append(_Visit(t, step.thought, state, action))
        visits.append(own)
    if form == "pairs":
        if hindsight:
            raise PgvError("objective.hindsight needs objective.form=points; set one of them.")
        return _pairs(visits, q, v, margin)
    made: PerEpisode = [
        [
            Example(t, thought, words.SUCCESS, q[state, action].value, v[state].value)
            for t, thought, state, action in own
        ]
        for own in visits
    ]
    if hindsight:
        more = _hindsight(episodes, history, gamma, by_candidates, by_thought, hindsight)
        made = [a + b for a, b in zip(made, more, strict=True)]
    return made


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
    history: int,
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


def inverse_prm(
    episodes: Sequence[Episode], history: int, *, next_thought: str = "policy"
) -> PerEpisode:
    """Labels of InversePRM: 1 for steps of episodes with ``metadata["expert"]``, 0 for the others.

    ``other`` is a', a thought of the policy in s': the next logged one at the policy's steps, the
    next step's ``metadata["policy_thought"]`` at an expert's. "logged" takes the expert's own next
    thought there: the loss then lowers q of what it raises, and where both act well now and then it
    ranks the expert's choice last. The last step of a task that ended has none; the last step of a
    log that was cut has no a' and is left out.
    """
    made: PerEpisode = []
    for episode in episodes:
        expert = bool(episode.metadata.get("expert"))
        own = []
        for t, step in enumerate(episode.steps):
            is_last = t + 1 == len(episode.steps)
            if is_last and not episode.is_terminal:
                continue
            other = None if is_last else episode.steps[t + 1].thought
            if expert and not is_last and next_thought == "policy":
                other = _policy_thought(episode, t + 1)
            label = float(expert)
            own.append(
                Example(t, step.thought, words.SUCCESS, label, other=other, group=int(not expert))
            )
        made.append(own)
    for is_expert, who in ((True, "expert"), (False, "policy")):
        if not any(p and (p[0].group == 0) == is_expert for p in made):
            raise PgvError(
                f"InversePRM compares an expert's steps with a policy's, but no episode is the "
                f"{who}'s; an expert's episodes carry metadata {{\"expert\": true}}, others do not."
            )
    return made


def _policy_thought(episode: Episode, t: int) -> str:
    thought = episode.steps[t].metadata.get("policy_thought")
    if not isinstance(thought, str):
        raise PgvError(
            f"Step {t} of expert episode '{episode.episode_id}' has no metadata.policy_thought, "
            "which objective.next_thought=policy reads; `pgv iterate inverse_prm` writes it where "
            "the expert is a client."
        )
    return thought


def lookahead(episodes: Sequence[Episode], history: int, *, gamma: float) -> PerEpisode:
    """Backups of a search (Mendes & Ritter 2025, arXiv:2503.02878).

    Expanded steps carry ``metadata["expanded"]`` and, in each candidate's ``scores``, the value of
    its successor by goal: y = gamma * the best of them for V, gamma * its own for Q. A goal that
    holds in the step's own note has V = 1.
    """
    made: PerEpisode = []
    for episode in episodes:
        own = []
        for t, step in enumerate(episode.steps):
            if not step.metadata.get("expanded"):
                continue
            held = set(words.sentences(step.observation))
            for goal in dict.fromkeys(g for c in step.candidates for g in c.scores):
                scored = [(c.thought, c.scores[goal]) for c in step.candidates if goal in c.scores]
                best = 1.0 if goal in held else gamma * max(score for _, score in scored)
                own += [Example(t, thought, goal, gamma * y, best) for thought, y in scored]
        if any(not math.isfinite(example.target) for example in own):
            raise PgvError(
                f"A candidate of episode '{episode.episode_id}' has a value that is not finite; "
                "search again with another critic."
            )
        made.append(own)
    if not any(made):
        raise PgvError(
            "No step of the data was expanded by a search; make such data with "
            "`pgv iterate lookahead`."
        )
    return made


TARGETS = {
    "agent_prm": Targets(
        agent_prm,
        ("gamma", "form", "discount", "by_candidates", "by_thought", "margin", "hindsight"),
        reads_outcome=True,
    ),
    "inverse_prm": Targets(inverse_prm, ("next_thought",), reads_outcome=False),
    "lookahead": Targets(lookahead, ("gamma",), reads_outcome=False),
}
"""Objectives that read examples; the others draw rows and relabel them."""
