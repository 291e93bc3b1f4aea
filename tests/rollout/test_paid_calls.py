"""Rollouts against a server that charges: what a stopped run keeps, and what answers are worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgv_jax.cli.main import pgv
from pgv_jax.config import load_config
from pgv_jax.llm.client import ClientError
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TASKS

ANSWERS = ["No idea.", "Action: go right", "Action: go right", "Action: dance"]


@pytest.fixture(autouse=True)
def corridor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda request, index: ANSWERS[(index + 1) % 4]) as running:
        yield running


def words(server: ScriptedServer, *more: str) -> list[str]:
    """Two episodes of five steps, one after the other."""
    task = ["task.name=corridor", "task.args={last: 5}", "concurrency=1", "rounds=0"]
    api = ["client=openai:scripted", f"api.base_url={server.url}/v1", "api.key_env=none"]
    return [*task, *api, *more]


def rollout(out: Path, server: ScriptedServer, *more: str) -> Rollout:
    return Rollout(load_config(None, words(server, *more), RolloutConfig), out)


@pytest.mark.parametrize("strategy", ["react", "proposals"])
def test_decisions_of_an_unfinished_episode_are_not_paid_again(
    tmp_path: Path, server: ScriptedServer, strategy: str
) -> None:
    how = (f"strategy={strategy}", "candidates=3")
    with pytest.raises(ClientError, match="budget of 3 requests"):
        rollout(tmp_path / "a", server, *how, "budget.requests=3").run()
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (record["state"], record["finished"], record["spent"]["requests"]) == ("stopped", 0, 3)
    stopped = rollout(tmp_path / "a", server, *how, "budget.requests=100")
    first, second = stopped.run()
    cached = [step.metadata.get("cached", 0) > 0 for step in first.steps]
    assert cached == [True, True, True, False, False]
    assert not any("cached" in step.metadata for step in second.steps)
    paid = server.paid_calls()
    assert set(paid.values()) == {1} and paid.total() == stopped.model.spent.requests == 10
    whole = rollout(tmp_path / "b", server, *how).run()
    for resumed, at_once in zip((first, second), whole, strict=True):
        assert [s.candidates for s in resumed.steps] == [s.candidates for s in at_once.steps]
        tokens = [[s.metadata["prompt_tokens"] for s in e.steps] for e in (resumed, at_once)]
        assert tokens[0] == tokens[1]  # the record says what they cost, whenever it was paid


def test_answers_of_little_use_are_counted_told_and_never_played_first(
    tmp_path: Path, server: ScriptedServer
) -> None:
    server._policy = lambda request, index: ANSWERS[index]
    options = words(server, "strategy=proposals", "candidates=4")
    config = tmp_path / "empty.yaml"
    config.write_text("{}")
    out = tmp_path / "out"
    done = CliRunner().invoke(pgv, ["rollout", str(config), *options, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "of 40 proposals 25 % unusable, 25 % inadmissible, 25 % repeated" in done.output
    assert "Note:" not in done.output
    record = json.loads((out / "run.json").read_text())
    counts = {"read": 40, "unusable": 10, "inadmissible": 10, "repeated": 10}
    assert record["proposals"] == counts and record["succeeded"] == 2


def test_more_than_a_third_of_little_use_is_a_warning(
    tmp_path: Path, server: ScriptedServer
) -> None:
    run = rollout(tmp_path / "a", server, "strategy=proposals", "candidates=2")
    run.run()
    (sentence,) = run.watch.warnings()
    assert sentence.startswith("50 % of 20 proposals are repeated: their action was proposed")
    run = rollout(tmp_path / "b", server, "strategy=react")
    run.run()
    assert run.watch.warnings() == [] and run.watch.proposals_in_words() == ""
