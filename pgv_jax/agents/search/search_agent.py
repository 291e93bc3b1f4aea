"""An agent that looks ahead: each decision is a search in the world that it plays in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pgv_jax.agents.agent import Correct, Decision, View
from pgv_jax.agents.propose import Choice, Proposal, propose, request_seed
from pgv_jax.agents.search.search_world import World
from pgv_jax.agents.search.tree import Limits, Node, Search, Values
from pgv_jax.agents.select import REPEAT_PENALTY, penalise
from pgv_jax.errors import PgvError
from pgv_jax.llm.budget import Budget, Prices, Spend, worst_case
from pgv_jax.llm.client import Client, Completion, Request
from pgv_jax.texts.templates import EPISODE, SUCCESS, sentences
from pgv_jax.types import Candidate, Episode, Step

if TYPE_CHECKING:
    from pgv_jax.critic.value import ValueFunction


class MeteredClient:
    """A client that asks only what one decision's budget certainly covers."""

    def __init__(self, client: Client, budget: Budget, prices: Prices):
        self.model = client.model
        self._client, self._budget, self._prices = client, budget, prices

    async def complete(self, request: Request) -> list[Completion]:
        """Complete, or raise the ``ClientError`` of kind "budget" unasked."""
        worst = worst_case(request, request.n, self._prices, self.model)
        reservation = await self._budget.reserve(worst)
        try:
            completions = await self._client.complete(request)
        except BaseException:
            reservation.lost()
            raise
        reservation.settle(spend_of(completions))
        return completions


def spend_of(completions: Sequence[Completion]) -> Spend:
    """What completions cost."""
    return Spend(
        1,
        sum(c.prompt_tokens for c in completions),
        sum(c.completion_tokens for c in completions),
        sum(c.dollars for c in completions),
    )


@dataclass(slots=True)
class SearchAgent:
    """Plays the first step towards the best state that a search of ``algorithm`` found.

    ``limits``, ``tokens`` and ``dollars`` bound each decision. ``goals[0]`` guides; ``hindsight``
    sentences of what was seen are scored beside it, for goal-conditioned backups. Every expanded
    node is kept in the step's record, so that an episode is also data for the next value.
    """

    client: Client
    world: World
    values: Values
    algorithm: str = "greedy"
    goals: tuple[str, ...] = (SUCCESS,)
    limits: Limits = field(default_factory=Limits)
    tokens: int | None = None
    dollars: float | None = None
    prices: Prices = field(default_factory=Prices)
    candidates: int = 5
    root_candidates: int = 0
    """Candidates at the root; 0: as many as elsewhere."""
    hindsight: int = 0
    temperature: float = 1.0
    max_tokens: int = 256
    repeat_penalty: float = REPEAT_PENALTY
    correct: Correct | None = None
    system: str = ""
    choice: Choice | None = None
    _steps: list[Step] = field(default_factory=list)
    _chosen: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def decide(self, view: View) -> Decision:
        """Search from here, then take the candidate below which the best state was found."""
        budget = Budget(tokens=self.tokens, dollars=self.dollars)
        client = MeteredClient(self.client, budget, self.prices)
        tried = self.world.env_steps

        async def ask(node: Node) -> Proposal:
            return await propose(
                client,
                view.told,
                node.observation,
                self.world.env.admissible_actions(),
                n=(self.root_candidates if node is root else 0) or self.candidates,
                seed=self._seed(view, node, node is root),
                past=view.past if node is root else (),
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                system=self.system,
                choice=self.choice,
            )

        actions = [step.action for step in self._steps]
        root = Node(view.observation, self.world.here(actions), tuple(self._steps))
        rng = random.Random(f"hindsight/{view.seed}")
        search = Search(
            self.world,
            view.task,
            ask,
            self.values,
            self.goals,
            self.limits,
            lambda notes: self._more_goals(notes, rng),
        )
        await search.run(self.algorithm, root)
        # Those without an action stand last; they are taken where there is nothing else.
        playable = [c for c in root.candidates if c.action] or root.candidates
        worth = [self._worth(search, child) for child in root.children[: len(playable)]]
        times = [self._chosen[view.observation, c.action] for c in playable]
        penalised = penalise(np.asarray(worth), times, self.repeat_penalty)
        index = int(penalised.argmax())
        candidates = root.candidates
        if self.correct is not None:
            candidates = tuple(replace(c, correct=self.correct(c.action)) for c in candidates)
        chosen = candidates[index]
        self._chosen[view.observation, chosen.action] += 1
        self._steps.append(Step(view.observation, chosen.thought, chosen.action))
        about = {
            "expanded": True,
            "rationale": rationale(root, index),
            "expansions": len(search.expanded),
            "env_steps": self.world.env_steps - tried,
            "self_value": round(float(worth[index]), 6),
            "nodes": [_node_to_json(node, root) for node in search.expanded if node is not root],
        }
        completions = tuple(c for proposal in search.proposals for c in proposal.completions)
        counts = sum((Counter(proposal.counts) for proposal in search.proposals), Counter[str]())
        return Decision(candidates, index, completions, search.proposals[0].error, about, counts)

    def _seed(self, view: View, node: Node, is_root: bool) -> int:
        if is_root:
            return view.seed
        return request_seed(view.seed, "search", node.level, node.observation)

    def _worth(self, search: Search, child: Node) -> float:
        if self.algorithm == "mcts" and child.visits:
            return child.total / child.visits
        return search.best_below(child)

    def _more_goals(self, notes: Sequence[str], rng: random.Random) -> list[str]:
        if not self.hindsight:
            return []
        pool = sorted({sentence for note in notes for sentence in sentences(note)})
        return rng.sample(pool, min(self.hindsight, len(pool)))


def rationale(node: Node, index: int) -> str:
    """The best action, what comes of it and why, as text: what the paper teaches its model."""
    candidate, child = node.candidates[index], node.children[index]
    return (
        f"The best action is: {candidate.action}. {candidate.thought} Afterwards: "
        f"{child.observation} The value of that is {child.value:.2f}."
    )


def _node_to_json(node: Node, root: Node) -> dict[str, Any]:
    best = max(range(len(node.children)), key=lambda i: node.children[i].value)
    return {
        "past": [[s.observation, s.thought, s.action] for s in node.steps[root.depth :]],
        "observation": node.observation,
        "candidates": [
            {"thought": c.thought, "action": c.action, "scores": dict(c.scores)}
            for c in node.candidates
        ],
        "best": best,
        "after": node.children[best].observation,
        "rationale": rationale(node, best),
    }


def search_values(value: ValueFunction, ends: ValueFunction | None = None) -> Values:
    """A search by the V of ``value``; ``ends`` (or its own Q, where it has one) values ends."""
    judge = ends or (value if "q" in value.manifest["heads"] else None)
    if value.history == EPISODE:
        raise PgvError(
            "A search reads windows of turns, and this critic was trained on whole episodes; "
            "choose another strategy, or train with texts.history=3."
        )
    return Values(
        value.v_pairs,
        value.discount,
        value.history,
        judge.q if judge else None,
        value.step,
        judge.discount if judge else None,
    )


def unfolded(episode: Episode, history: int) -> list[Episode]:
    """A searched episode as data: its own steps, and one episode for each other expanded node.

    A node's episode has the ``history`` steps that lead to it, and only the last is an example.
    Outcomes are left out: the backups are all that is learned from.
    """
    plain = [_without_nodes(step) for step in episode.steps]
    bare = replace(episode, success=None, score=None, is_terminal=False)
    found = [replace(bare, steps=tuple(plain))]
    for t, step in enumerate(episode.steps):
        before = tuple(replace(s, candidates=(), metadata={}) for s in plain[:t])
        for i, node in enumerate(step.metadata.get("nodes", ())):
            candidates = tuple(
                Candidate(c["thought"], c["action"], c["scores"]) for c in node["candidates"]
            )
            best = candidates[node["best"]]
            about = {"expanded": True, "rationale": node["rationale"]}
            last = Step(node["observation"], best.thought, best.action, None, candidates, about)
            past = (*before, *(Step(*texts) for texts in node["past"]))
            past = past[len(past) - history :] if history else ()
            found.append(
                replace(
                    bare,
                    episode_id=f"{episode.episode_id}/{t}.{i}",
                    steps=(*past, last),
                    final_observation=node["after"],
                )
            )
    return found


def _without_nodes(step: Step) -> Step:
    kept = {key: value for key, value in step.metadata.items() if key != "nodes"}
    return replace(step, reward=None, metadata=kept)
