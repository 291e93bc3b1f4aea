"""Search over candidates under a value function: greedy best-first, breadth-first and MCTS.

As in self-taught lookahead (Mendes & Ritter 2025, arXiv:2503.02878): a node is a state, expanding
it proposes thoughts, tries each out and asks V for what follows. No reward is read: a state where
the goal's sentence stands is worth 1, an end is worth what Q said of the step that led there, and
all else is worth V. A search ends with its budget, which it never passes.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from pgv_jax.agents.propose import Proposal
from pgv_jax.agents.search.search_world import Place, World
from pgv_jax.agents.select import Scorer
from pgv_jax.llm.client import ClientError
from pgv_jax.texts.templates import StepForm, observation_text, sentences, step_text
from pgv_jax.types import Candidate, Episode, Step

EXPLORATION = 0.5
"""UCT's constant, for values in [0, 1]."""


class StateValues(Protocol):
    """What ``ValueFunction.v_pairs`` is: aligned lists in, float [B] out."""

    def __call__(self, tasks: list[str], observations: list[str], goals: list[str]) -> np.ndarray:
        """V of each triple."""
        ...


Discount = Callable[[str], float]
"""A goal -> what its values shrink by a step; 1 where a value is the chance itself."""


@dataclass(frozen=True, slots=True)
class Values:
    """The critic of a search; ``discount``, ``history`` and ``step`` are its artifact's.

    ``ends`` is a Q for steps that end the task, whose states V was never taught; None: V.
    ``ends_discount`` is that of the critic of ``ends``; None: ``discount``.
    """

    v: StateValues
    discount: Discount
    history: int = 0
    ends: Scorer | None = None
    step: StepForm = "thought"
    ends_discount: Discount | None = None

    def _said(self, candidates: Sequence[Candidate]) -> list[str]:
        return [step_text(c.thought, c.action, self.step) for c in candidates]

    def after(
        self,
        task: str,
        node: Node,
        candidates: Sequence[Candidate],
        children: Sequence[Node],
        goals: Sequence[str],
    ) -> np.ndarray:
        """The value of each child for each goal: float [N, G]."""
        pairs = [(child, goal) for child in children for goal in goals]
        texts = [
            observation_text(child.so_far(task), child.depth, self.history) for child, _ in pairs
        ]
        value = np.asarray(self.v([task] * len(pairs), texts, [g for _, g in pairs]), float)
        value_NG = value.reshape(len(children), len(goals))
        if self.ends is not None and any(child.ended for child in children):
            seen = observation_text(node.so_far(task), node.depth, self.history)
            q_NG = self.ends(task, seen, self._said(candidates), list(goals))
            ended_N = np.asarray([child.ended for child in children])
            discount_G = np.asarray([(self.ends_discount or self.discount)(g) for g in goals])
            ends_NG = np.minimum(np.asarray(q_NG, float) / discount_G, 1.0)
            value_NG = np.where(ended_N[:, None], ends_NG, value_NG)
        holds_NG = np.asarray([[g in sentences(c.observation) for g in goals] for c in children])
        return np.where(holds_NG, 1.0, value_NG)


@dataclass(slots=True)
class Node:
    """A state of the tree. ``steps`` lead to it from the start of the episode; ``depth`` counts
    all of them and ``level`` those since the root. ``value`` is for the first goal."""

    observation: str
    place: Place
    steps: tuple[Step, ...] = ()
    level: int = 0
    ended: bool = False
    value: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0

    @property
    def depth(self) -> int:
        """Steps since the start of the episode."""
        return len(self.steps)

    def so_far(self, task: str) -> Episode:
        """The episode up to here, as ``observation_text`` reads it."""
        return Episode("", "", task, self.steps, self.observation)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a search goes: nodes expanded at most, levels, and nodes kept a level by ``bfs``."""

    expansions: int = 10
    depth: int = 5
    breadth: int = 5


Ask = Callable[[Node], Awaitable[Proposal]]
"""Proposals in a state, in which the environment stands."""


@dataclass(slots=True)
class Search:
    """One search from one root; ``expanded`` lists the nodes in the order of their expansion.

    ``goals[0]`` guides. ``more_goals(notes)`` may name further ones that the candidates are scored
    for, of the notes that an expansion led to.
    """

    world: World
    task: str
    ask: Ask
    values: Values
    goals: Sequence[str]
    limits: Limits
    more_goals: Callable[[Sequence[str]], Sequence[str]] = lambda notes: ()
    expanded: list[Node] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    spent: bool = False

    async def run(self, algorithm: str, root: Node) -> None:
        """Grow the tree below ``root`` until the budget or the tree ends; the world is put back."""
        try:
            await ALGORITHMS[algorithm](self, root)
        finally:
            self.world.go(root.place)

    def may_expand(self, node: Node) -> bool:
        """Whether the node can have children that are within the limits."""
        return not node.ended and not node.children and node.level < self.limits.depth

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return self.spent or len(self.expanded) >= self.limits.expansions

    async def expand(self, node: Node) -> bool:
        """Propose, try out, value; False where the budget does not allow it."""
        if self.over:
            return False
        self.world.go(node.place)
        try:
            proposal = await self.ask(node)
        except ClientError as error:
            if error.kind != "budget" or not self.expanded:
                raise
            self.spent = True
            return False
        self.proposals.append(proposal)
        children = []
        for i, candidate in enumerate(proposal.candidates):
            if i > 0:
                self.world.go(node.place)
            observation, ended = self.world.try_out(candidate.action)
            step = Step(node.observation, candidate.thought, candidate.action)
            place = self.world.here((*node.place.actions, candidate.action))
            children.append(Node(observation, place, (*node.steps, step), node.level + 1, ended))
        extra = self.more_goals([child.observation for child in children])
        goals = list(dict.fromkeys([*self.goals, *extra]))
        value_NG = self.values.after(self.task, node, proposal.candidates, children, goals)
        for child, row in zip(children, value_NG, strict=True):
            child.value = float(row[0])
        node.children = children
        node.candidates = tuple(
            replace(candidate, scores=dict(zip(goals, map(float, row), strict=True)))
            for candidate, row in zip(proposal.candidates, value_NG, strict=True)
        )
        self.expanded.append(node)
        return True

    def worth(self, node: Node) -> float:
        """The node's value seen from the root: discount^level V of the goal that guides."""
        return self.values.discount(self.goals[0]) ** node.level * node.value

    def best_below(self, node: Node) -> float:
        """The highest worth in the subtree: what the search found by going there."""
        return max([self.worth(node), *(self.best_below(child) for child in node.children)])


async def greedy(search: Search, root: Node) -> None:
    """Best-first: always the open node that is worth most."""
    open_nodes = [root]
    while open_nodes and not search.over:
        node = max(open_nodes, key=search.worth)  # of equals, the first found
        open_nodes.remove(node)
        if await search.expand(node):
            open_nodes += [child for child in node.children if search.may_expand(child)]


async def bfs(search: Search, root: Node) -> None:
    """Level by level, of each the ``breadth`` nodes that are worth most."""
    level = [root]
    while level and not search.over:
        following: list[Node] = []
        for node in level:
            if await search.expand(node):
                following += [child for child in node.children if search.may_expand(child)]
        level = sorted(following, key=search.worth, reverse=True)[: search.limits.breadth]


async def mcts(search: Search, root: Node) -> None:
    """UCT: go down by mean worth and novelty, expand, back up the best child's worth."""
    while not search.over:
        path = [root]
        while path[-1].children:
            path.append(_promising(search, path[-1]))
        node = path[-1]
        if search.may_expand(node):
            if not await search.expand(node):
                return
            found = max((search.worth(child) for child in node.children), default=0.0)
        elif node is root or _exhausted(search, root):
            return
        else:
            found = search.worth(node)
        for passed in path:
            passed.visits += 1
            passed.total += found


def _promising(search: Search, node: Node) -> Node:
    def bound(child: Node) -> float:
        mean = child.total / child.visits if child.visits else search.worth(child)
        return mean + EXPLORATION * math.sqrt(math.log(1 + node.visits) / (1 + child.visits))

    return max(node.children, key=bound)


def _exhausted(search: Search, node: Node) -> bool:
    """Whether no node below can be expanded any more."""
    if not node.children:
        return not search.may_expand(node)
    return all(_exhausted(search, child) for child in node.children)


ALGORITHMS = {"greedy": greedy, "bfs": bfs, "mcts": mcts}
