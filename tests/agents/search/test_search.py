"""Search: it finds what V promises, keeps every budget to the unit, and never reads a reward."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from pgv_jax.agents.agent import View
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.propose import build_messages
from pgv_jax.agents.search.search_agent import SearchAgent, search_values, unfolded
from pgv_jax.agents.search.search_world import Place, World
from pgv_jax.agents.search.tree import ALGORITHMS, Limits, Node, Search, Values
from pgv_jax.critic.artifact import discount
from pgv_jax.llm.budget import Prices, worst_case
from pgv_jax.llm.client import ClientError, Completion, Request
from pgv_jax.objectives.lookahead import Lookahead
from pgv_jax.rollout.runner import play
from pgv_jax.texts.templates import SUCCESS
from tests.agents import toy

GAMMA, LAST = 0.9, 3
SPEC = EpisodeSpec("e", "north wing")


def v(tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]) -> np.ndarray:
    """gamma^(rooms to the last), the true value of the corridor."""
    rooms = [int(text.partition("room ")[2].partition(".")[0]) for text in observations]
    return np.asarray([GAMMA ** abs(LAST - room) for room in rooms])


VALUES = Values(v, lambda goal: GAMMA)


class Snapshots(toy.Corridor):
    """The same corridor, of a task that can be copied."""

    def snapshot(self) -> Any:
        return self.room, self.steps

    def restore(self, snapshot: Any) -> None:
        self.room, self.steps = snapshot


def agent(env: toy.Corridor, client: Any = None, **options: Any) -> SearchAgent:
    client = client or toy.says("go left", "wait", "go right")
    options = {"candidates": 3, **options}
    return SearchAgent(client, World(env, SPEC), VALUES, **options)


def view(observation: str = "You are in room 0.", seed: int = 0) -> View:
    return View("Reach the last room.", observation, observation, toy.ACTIONS, seed=seed)


def decide(env: toy.Corridor, searching: SearchAgent):
    observation, _ = env.reset(seed=0, options={"task": "north wing"})
    return asyncio.run(searching.decide(view(observation)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", [toy.Corridor, Snapshots])
def test_each_algorithm_walks_to_the_end_where_the_model_alone_does_not(algorithm, kind):
    env = kind(LAST)
    searching = agent(env, algorithm=algorithm, limits=Limits(4, 3, 2))
    episode = asyncio.run(play(env, searching, SPEC))
    assert [step.action for step in episode.steps] == ["go right"] * LAST
    assert episode.success


def test_replayed_and_copied_worlds_give_the_same_search_for_more_steps():
    said = []
    for kind in (toy.Corridor, Snapshots):
        said.append(decide(env := kind(LAST), agent(env, limits=Limits(3, 3))))
        assert env.room == env.steps == 0  # as it was before
    replayed, copied = (dict(decision.metadata) for decision in said)
    assert replayed.pop("env_steps") > copied.pop("env_steps") == 9
    assert replayed == copied and said[0].candidates == said[1].candidates


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("expansions", range(1, 8))
def test_expansions_are_kept_to_the_unit(algorithm, expansions):
    env = Snapshots(50, 100)
    limits = Limits(expansions, 20, 3)
    decision = decide(env, agent(env, algorithm=algorithm, limits=limits))
    assert decision.metadata["expansions"] == expansions
    assert decision.metadata["env_steps"] == 3 * expansions
    assert len(decision.metadata["nodes"]) == expansions - 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_node_is_deeper_than_the_depth_and_none_below_an_end(algorithm):
    env = Snapshots(LAST)
    decision = decide(env, agent(env, algorithm=algorithm, limits=Limits(100, 2, 9)))
    levels = [len(node["past"]) for node in decision.metadata["nodes"]]
    assert max(levels) == 1 and decision.metadata["expansions"] == 4  # the root and its three
    env = Snapshots(1)
    decision = decide(env, agent(env, algorithm=algorithm, limits=Limits(100, 3, 99)))
    assert all(node["observation"] != "You are in room 1." for node in decision.metadata["nodes"])


class Billed:
    """A model that uses exactly what its worst case is, and counts."""

    model = "m"

    def __init__(self, prices: Prices):
        self.tokens, self.dollars, self.calls, self.prices = 0, 0.0, 0, prices
        self.inner = toy.says("go left", "wait", "go right")

    async def complete(self, request: Request) -> list[Completion]:
        worst = worst_case(request, request.n, self.prices, self.model)
        self.calls += 1
        self.tokens += worst.tokens
        self.dollars += worst.dollars
        texts = [done.text for done in await self.inner.complete(request)]
        first = Completion(
            texts[0], worst.prompt_tokens, worst.completion_tokens, dollars=worst.dollars
        )
        return [first, *(Completion(text) for text in texts[1:])]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("unit", ["tokens", "dollars"])
def test_tokens_and_dollars_are_never_passed_and_used_as_far_as_they_go(algorithm, unit):
    prices = Prices({"m": {"input": 1.0, "output": 2.0}})
    messages = build_messages("Reach the last room.", "You are in room 0.", toy.ACTIONS)
    one = worst_case(Request(messages, n=3, max_tokens=9), 3, prices, "m")
    cost = getattr(one, unit)
    least = 1 if unit == "tokens" else 1e-6
    for limit, calls in ((cost, 1), (2 * cost - least, 1), (2 * cost, 2), (3 * cost, 3)):
        client, env = Billed(prices), Snapshots(50, 100)
        searching = agent(
            env,
            client,
            algorithm=algorithm,
            limits=Limits(100, 20),
            prices=prices,
            max_tokens=9,
            **{unit: limit},
        )
        decision = decide(env, searching)
        assert client.calls == calls == decision.metadata["expansions"]
        assert getattr(client, unit) <= limit + 1e-12
    env = Snapshots(50, 100)
    with pytest.raises(ClientError, match="budget of"):
        poor = agent(env, Billed(prices), prices=prices, max_tokens=9, **{unit: cost - least})
        decide(env, poor)


class Trap:
    """A true reward: whoever looks at it is caught."""

    def _caught(self, *_: Any) -> Any:
        raise AssertionError("The search read a reward.")

    __float__ = __bool__ = __add__ = __mul__ = __eq__ = __lt__ = __gt__ = __repr__ = _caught
    __hash__ = None


class TrappedInfo(dict):
    """What a step tells beside the observation: success and score are traps."""

    def __getitem__(self, key: str) -> Any:
        assert key not in ("success", "score"), "The search read the outcome."
        return super().__getitem__(key)

    get = __getitem__


class Trapped(Snapshots):
    """A corridor whose rewards, outcomes and oracle must not be touched."""

    def step(self, action: str):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, Trap(), terminated, truncated, TrappedInfo(info)

    def preferences(self, actions: Sequence[str]):
        raise AssertionError("The search asked the oracle.")

    def expert_action(self):
        raise AssertionError("The search asked the expert.")

    def correct(self, action: str):
        raise AssertionError("The search asked which action is right.")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_reward_outcome_or_oracle_is_read(algorithm):
    env = Trapped(2)
    decision = decide(env, agent(env, algorithm=algorithm, limits=Limits(12, 4)))
    assert decision.chosen.action == "go right"


def test_a_goal_that_holds_is_worth_one_and_ends_ask_q():
    def q(task: str, observation: str, thoughts: list[str], goals: list[str]) -> np.ndarray:
        return np.asarray(
            [[0.45 if "right" in thought else 0.1] * len(goals) for thought in thoughts]
        )

    env = Snapshots(1)  # going right ends the task
    ended = SearchAgent(
        toy.says(*toy.ACTIONS),
        World(env, SPEC),
        Values(v, lambda goal: GAMMA, ends=q),
        candidates=3,
    )
    scores = {c.action: c.scores[SUCCESS] for c in decide(env, ended).candidates}
    assert scores == pytest.approx({"go left": GAMMA**3, "wait": GAMMA**3, "go right": 0.5})
    there = agent(env, goals=("You are in room 1.",))
    scores = {c.action: c.scores["You are in room 1."] for c in decide(env, there).candidates}
    assert scores["go right"] == 1.0 and scores["wait"] == pytest.approx(GAMMA**3)


class Probe:
    """A critic whose success goal is answered by a probe: .92 to go right, V .8 in each state."""

    manifest: ClassVar[dict[str, Any]] = {
        "objective": {"gamma": 0.95},
        "recipe": {"gamma": 1.0},
        "heads": ["q", "v"],
    }
    history, step = 0, "thought"

    def discount(self, goal: str) -> float:
        return discount(self.manifest, goal) or 1.0

    def q(self, task: str, observation: str, thoughts: list[str], goals: list[str]) -> np.ndarray:
        return np.full((len(thoughts), len(goals)), 0.92)

    def v_pairs(self, tasks: list[str], observations: list[str], goals: list[str]) -> np.ndarray:
        return np.full(len(tasks), 0.8)


def test_a_chance_is_not_discounted_and_a_state_goal_is():
    values = search_values(Probe())
    env = Snapshots(1)  # going right ends the task
    searching = SearchAgent(
        toy.says(*toy.ACTIONS),
        World(env, SPEC),
        values,
        goals=(SUCCESS, "You are in room 7."),
        candidates=3,
    )
    scores = {c.action: c.scores for c in decide(env, searching).candidates}
    assert scores["go right"] == pytest.approx({SUCCESS: 0.92, "You are in room 7.": 0.92 / 0.95})
    assert scores["wait"][SUCCESS] == 0.8
    deep = Node("", Place(()), level=3, value=0.8)
    for goal, worth in ((SUCCESS, 0.8), ("You are in room 7.", 0.95**3 * 0.8)):
        search = Search(World(env, SPEC), "", None, values, [goal], Limits())
        assert search.worth(deep) == pytest.approx(worth)


def test_an_end_is_worth_what_the_critic_that_judges_it_says():
    base = Probe()
    base.manifest = {**Probe.manifest, "recipe": {"gamma": 0.5}}
    values = search_values(Probe(), base)
    assert (values.discount(SUCCESS), values.ends_discount(SUCCESS)) == (1.0, 0.5)


def test_an_episode_unfolds_into_one_example_a_node_and_candidate_without_outcomes():
    env = Snapshots(LAST)
    searching = agent(env, limits=Limits(4, 3), hindsight=2)
    episode = asyncio.run(play(env, searching, SPEC))
    data = unfolded(episode, history=0)
    nodes = sum(step.metadata["expansions"] for step in episode.steps)
    assert len(data) == 1 + nodes - len(episode.steps)
    assert len({e.episode_id for e in data}) == len(data)
    assert all(e.success is None and e.score is None for e in data)
    assert all(step.reward is None for e in data for step in e.steps)
    assert "The best action is: go right." in data[0].steps[0].metadata["rationale"]
    made = [example for own in Lookahead(gamma=GAMMA).targets(data, 0) for example in own]
    assert len([e for e in made if e.goal == SUCCESS]) == 3 * nodes
    assert {e.goal for e in made} > {SUCCESS}
    best = {
        e.steps[x.step].observation: x.value
        for e, own in zip(data, Lookahead(gamma=GAMMA).targets(data, 0), strict=True)
        for x in own
        if x.goal == SUCCESS
    }
    wanted = {f"You are in room {room}.": GAMMA ** (LAST - room) for room in range(LAST)}
    assert best == pytest.approx(wanted)


def test_with_history_a_nodes_episode_has_the_steps_that_its_text_needs():
    env = Snapshots(LAST)
    episode = asyncio.run(play(env, agent(env, limits=Limits(4, 3)), SPEC))
    for other in unfolded(episode, history=2)[1:]:
        assert len(other.steps) <= 3
        assert [bool(s.metadata.get("expanded")) for s in other.steps] == [False] * (
            len(other.steps) - 1
        ) + [True]
