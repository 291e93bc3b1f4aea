"""The iterations: each method runs end to end, continues, and learns what it may learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.cli import main as cli
from pgv_jax.config import load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import TASKS
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.workflows.iterate import IterateConfig, iterate
from tests.agents import toy

pytestmark = pytest.mark.slow

TINY = (
    "iterations=2",
    "rollout.task.name=corridor",
    "rollout.task.split=all",
    "rollout.task.repeats=8",
    "rollout.client=scripted:player:0.6",
    "rollout.candidates=3",
    "rollout.history=0",
    "learn.data.encoder=hash:16",
    "learn.texts.history=0",
    "learn.objective.gamma=0.9",
    "learn.critic.hidden=[16]",
    "learn.mesh.shards=2",
    "learn.train.batch=32",
    "learn.train.steps=150",
    "learn.train.log_every=50",
    "learn.train.eval_every=150",
    "learn.train.scan=50",
)
AGENT_PRM = ("learn.objective.name=agent_prm", "learn.objective.by_candidates=false")


@pytest.fixture(autouse=True)
def corridor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")


def settings(*overrides: str) -> Any:
    return load_config(None, [*TINY, *overrides], IterateConfig)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A critic of the corridor by AgentPRM, and its records."""
    out = tmp_path_factory.mktemp("agent_prm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
        asked = settings(*AGENT_PRM, "reset=0.5")
        records = iterate("agent_prm", asked, out)
        assert iterate("agent_prm", asked, out) == records  # nothing left to do
    return out


def test_agent_prm_plays_alone_and_then_by_its_own_critic(base):
    records = [json.loads(line) for line in (base / "iterations.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == [0, 1]
    assert records[1]["mean_steps"] < records[0]["mean_steps"]
    arms = [
        {e.metadata["arm"] for e in read_jsonl(base / f"iteration-{k}/rollout/episodes.jsonl")}
        for k in range(2)
    ]
    assert arms == [{"proposals"}, {"best-of-n"}]
    learned = list(read_episodes(base / "iteration-1/dataset"))
    assert len(learned) == 32  # both iterations'


def test_half_of_the_later_episodes_start_where_an_earlier_one_was(base):
    first = {e.episode_id: e for e in read_jsonl(base / "iteration-0/rollout/episodes.jsonl")}
    second = list(read_jsonl(base / "iteration-1/rollout/episodes.jsonl"))
    started = [e for e in second if "start" in e.metadata]
    assert 0 < len(started) < len(second)
    for episode in started:
        env = toy.Corridor()
        env.reset(options={"task": episode.task_id})
        for action in episode.metadata["start"]:
            observation = env.step(action)[0]
        assert episode.steps[0].observation == observation
    assert all("start" not in e.metadata for e in first.values())


def deleted(episode):
    """The episode without all that rewards it."""
    steps = tuple(replace(step, reward=None) for step in episode.steps)
    return replace(episode, success=None, score=None, steps=steps)


def test_inverse_prm_learns_without_a_reward_in_its_data(tmp_path, monkeypatch):
    """Success, score and rewards are deleted from all that it reads; it still prefers the way."""
    from pgv_jax.workflows import iterate as module

    original = module.Rollout.run
    monkeypatch.setattr(
        module.Rollout, "run", lambda self, *a: list(map(deleted, original(self, *a)))
    )
    monkeypatch.setattr(module, "read_jsonl", lambda path: map(deleted, read_jsonl(path)))
    monkeypatch.setattr(module, "_record", lambda *_: {})
    asked = settings(
        "learn.objective.name=inverse_prm",
        "learn.objective.next_thought=policy",
        "expert_repeats=4",
        "rollout.client=scripted:player:0",
        "learn.train.steps=300",
        "learn.train.eval_every=300",
    )
    iterate("inverse_prm", asked, tmp_path)
    data = list(read_episodes(tmp_path / "iteration-1/dataset"))
    assert all(e.success is None and e.score is None for e in data)
    assert all(step.reward is None for e in data for step in e.steps)
    expert = [e for e in data if e.metadata.get("expert")]
    assert len(expert) == 8 and len(data) == 8 + 2 * 16  # negatives of both iterations
    assert all("policy_thought" in step.metadata for e in expert for step in e.steps)
    value = ValueFunction.load(tmp_path / "iteration-1/critic/artifact")
    env = toy.Corridor()
    thoughts = [env.thought_for(action) for action in toy.ACTIONS]
    for room in range(2):
        q = value.q("Reach the last room.", f"You are in room {room}.", thoughts, [SUCCESS])[:, 0]
        assert toy.ACTIONS[int(q.argmax())] == "go right"
    with pytest.raises(PgvError, match="head 'v' was not trained"):
        value.v("Reach the last room.", "You are in room 0.", [SUCCESS])


def test_goals_in_hindsight_give_goal_conditioned_agent_prm_and_lookahead(tmp_path):
    """Asked in room 2 of the corridor for what lies behind, both point back; for the task, on."""

    def better(artifact: Path, goal: str) -> str:
        value = ValueFunction.load(artifact)
        thoughts = [toy.Corridor().thought_for(action) for action in toy.ACTIONS]
        q = value.q("Reach the last room.", "You are in room 2.", thoughts, [goal])[:, 0]
        return toy.ACTIONS[int(q.argmax())]

    wanted = {"You are in room 0.": "go left", SUCCESS: "go right"}
    common = ("iterations=1", "rollout.client=scripted:player:0.2", "learn.train.steps=600")
    asked = settings(
        *common,
        *AGENT_PRM,
        "learn.objective.hindsight=4",
        "learn.train.early_stop=false",
        "rollout.task.repeats=24",
    )
    iterate("agent_prm", asked, tmp_path / "agent_prm")
    base = tmp_path / "agent_prm/iteration-0/critic/artifact"
    assert {goal: better(base, goal) for goal in wanted} == wanted
    asked = settings(
        *common,
        "learn.objective.name=lookahead",
        "learn.objective.hindsight=2",
        "rollout.search.expansions=4",
        f"base={base}",
    )
    iterate("lookahead", asked, tmp_path / "lookahead")
    artifact = tmp_path / "lookahead/iteration-0/critic/artifact"
    assert {goal: better(artifact, goal) for goal in wanted} == wanted
    goals = {
        goal
        for e in read_episodes(tmp_path / "lookahead/iteration-0/dataset")
        for step in e.steps
        for c in step.candidates
        for goal in c.scores
    }
    assert {"You are in room 0.", "You are in room 2.", SUCCESS} <= goals


@pytest.mark.parametrize("search", ["greedy-search", "mcts"])
def test_lookahead_starts_from_a_value_and_keeps_no_outcome(base, tmp_path, search):
    asked = settings(
        "learn.objective.name=lookahead",
        "iterations=1",
        "rollout.task.repeats=2",
        "rollout.search.expansions=4",
        f"search={search}",
        f"base={base / 'iteration-0/critic/artifact'}",
        "learn.objective.hindsight=1",
    )
    iterate("lookahead", asked, tmp_path)
    data = list(read_episodes(tmp_path / "iteration-0/dataset"))
    assert all(e.success is None and e.score is None and not e.is_terminal for e in data)
    assert any("rationale" in step.metadata for e in data for step in e.steps)
    value = ValueFunction.load(tmp_path / "iteration-0/critic/artifact")
    rooms = [value.v("Reach the last room.", f"You are in room {r}.", [SUCCESS]) for r in range(3)]
    assert all(0 <= float(v[0]) <= 1 for v in rooms)


@pytest.mark.parametrize(
    ("method", "overrides", "words"),
    [
        ("agent_prm", (), "learn.objective.name is gc_iql"),
        ("lookahead", ("learn.objective.name=lookahead",), "give base=ARTIFACT"),
        ("agent_prm", (*AGENT_PRM, "steer=0.5"), "give steering"),
        ("gc_iql", (), "gc_iql learns from a log as it is"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_played(tmp_path, method, overrides, words):
    with pytest.raises(PgvError, match=words):
        iterate(method, settings(*overrides), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_run_in_the_same_folder_is_refused(base):
    with pytest.raises(PgvError, match="an iteration with reset ="):
        iterate("agent_prm", settings(*AGENT_PRM), base)


def test_steered_episodes_are_told_their_strategy(tmp_path, monkeypatch):
    from pgv_jax.rollout.launch import Rollout

    told = []
    plain = Rollout._system
    monkeypatch.setattr(Rollout, "_system", lambda *asked: told.append(plain(*asked)) or told[-1])
    asked = settings(
        *AGENT_PRM,
        "iterations=1",
        "steer=0.5",
        "steering=['Try every door.']",
    )
    iterate("agent_prm", asked, tmp_path)
    steered = [system.endswith("\nTry every door.") for system in told]
    assert any(steered) and not all(steered)


def test_the_command_says_how_it_went(base, tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text("{}")
    words = ["iterate", "agent_prm", str(config), *TINY, *AGENT_PRM]
    with pytest.raises(SystemExit) as done:
        cli.main([*words, "reset=0.5", "--out", str(base)])
    assert done.value.code == 0
    assert "Iteration 1: success" in capsys.readouterr().out
