"""A rollout with a critic: what it scores, what it keeps, and what happens where it fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgv_jax.agents.value_words import SCORES
from pgv_jax.config import load_config
from pgv_jax.critic import artifact
from pgv_jax.data.episodes import write_dataset
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.record import Shard, alone
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TASKS
from pgv_jax.texts.templates import SUCCESS
from tests.agents.toy import Corridor
from tests.critic.toy import ENCODER


@dataclass(frozen=True)
class Wish:
    task_id: str
    sentence: str
    kind: str = "be in"


class Wishes(Corridor):
    """A corridor with goals of its own."""

    def run_time_goals(self, task_id: str, max_steps: int = 20) -> list[Wish]:
        return [Wish(task_id, f"You are in room {i}.") for i in range(1, self.last)]


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    monkeypatch.setitem(TASKS, "wishes", f"{__name__}:Wishes")


def rollout(out: Path, *words: str, shard: Shard | None = None) -> Rollout:
    base = ["task.name=corridor", "task.args={last: 2, max_steps: 4}"]
    return Rollout(load_config(None, [*base, *words], RolloutConfig), out, shard)


def test_the_critic_picks_and_its_scores_and_embeddings_are_kept(tmp_path, toy_critic):
    run = rollout(tmp_path / "a", "strategy=best-of-n", f"artifact={toy_critic}", "candidates=3")
    episodes = run.run()
    scores = [[c.scores[SUCCESS] for c in s.candidates] for e in episodes for s in e.steps]
    assert all(0 < score < 1 for step in scores for score in step)
    assert len({score for step in scores for score in step}) > 3
    first = episodes[0].steps[0]
    best = max(first.candidates, key=lambda c: c.scores[SUCCESS])
    assert first.action == best.action
    store = EmbeddingStore(tmp_path / "a" / "embeddings", ENCODER)
    assert not store.missing([first.thought, SUCCESS])  # flushed at the end
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert len(record["critic"]["sha256"]) == 64


def test_where_the_critic_fails_the_first_proposal_is_taken_and_counted(tmp_path, toy_critic):
    run = rollout(tmp_path / "a", "strategy=best-of-n", f"artifact={toy_critic}", "candidates=2")

    class Broken:
        history = 0
        step = "thought"

        def q(self, *texts: Any) -> np.ndarray:
            raise RuntimeError("out of memory")

        def flush(self) -> None:
            pass

    run.value = Broken()
    episodes = run.run()
    steps = [step for episode in episodes for step in episode.steps]
    assert all(s.metadata["scorer_failed"] == "RuntimeError: out of memory" for s in steps)
    assert all(s.action == s.candidates[0].action or s.observation for s in steps)
    (sentence,) = run.watch.warnings()
    assert f"{len(steps)} of {len(steps)} decisions were unguided" in sentence


@pytest.mark.parametrize("scores", SCORES)
def test_refinement_and_each_control_run_from_the_config_alone(tmp_path, toy_critic, scores):
    run = rollout(
        tmp_path / "a",
        *("strategy=propose-and-refine", f"artifact={toy_critic}", "client=scripted:listener:2"),
        *(f"scores={scores}", "refine.goals=1", "candidates=2", "task.repeats=1"),
    )
    episodes = run.run()
    records = [s.metadata["refinement"] for e in episodes for s in e.steps]
    assert {record["outcome"] for record in records} <= {"kept", "rewritten"}
    assert {e.metadata["arm"] for e in episodes} == {run.settings.arm}
    assert (run.value is not None) == (scores in ("critic", "shuffled", "permuted", "scalar"))


def test_calibrated_numbers_need_a_calibration_and_show_it(tmp_path, toy_critic):
    words = ["strategy=refine", "client=scripted:listener:2", "refine.goals=1"]
    words += ["refine.numbers=calibrated", "task.repeats=1"]
    with pytest.raises(PgvError, match="no calibration for the goals that are shown"):
        rollout(tmp_path / "a", *words, f"artifact={toy_critic}")
    assert not (tmp_path / "a" / "episodes.jsonl").exists()
    calibrated = tmp_path / "artifact"
    shutil.copytree(toy_critic, calibrated)
    known = {"kind": "constant", "rate": 0.25}
    artifact.annotate(calibrated, "calibration", {"outcomes": {SUCCESS: known}})
    with pytest.raises(PgvError, match=r"refine\.numbers=raw or rank"):  # no other goal has one
        rollout(tmp_path / "a", *words, f"artifact={calibrated}")
    run = rollout(tmp_path / "b", *words, f"artifact={calibrated}", "scores=scalar")
    rounds = [r for e in run.run() for s in e.steps for r in s.metadata["refinement"]["rounds"]]
    assert {r["shown"] for r in rounds} == {"- The task will succeed: 25 %"}
    artifact.annotate(calibrated, "calibration", {"states": known})
    run = rollout(tmp_path / "c", *words, f"artifact={calibrated}")
    rounds = [r for e in run.run() for s in e.steps for r in s.metadata["refinement"]["rounds"]]
    assert rounds and all(r["shown"].count(" 25 %") == 2 for r in rounds)
    guessed = rollout(tmp_path / "d", *words, "scores=guess").run()
    shown = [s.metadata["refinement"]["rounds"][0]["shown"] for e in guessed for s in e.steps]
    assert all(said.count(" %") == 2 for said in shown)  # its own percentages, as they are


def test_goals_are_grounded_in_the_sentences_of_a_dataset(tmp_path, toy_critic):
    played = rollout(tmp_path / "a").run()
    write_dataset(tmp_path / "data", played)
    run = rollout(
        tmp_path / "b",
        *("strategy=refine", f"artifact={toy_critic}", "client=scripted:listener:2"),
        *("refine.grounding=report", f"refine.dataset={tmp_path / 'data'}", "refine.goals=1"),
    )
    rounds = [r for e in run.run() for s in e.steps for r in s.metadata["refinement"]["rounds"]]
    assert {g["nearest"] for r in rounds for g in r["goals"]} <= set(run.index.texts)


def test_run_time_goals_are_dealt_with_their_tasks(tmp_path):
    words = ["task.name=wishes", "task.args={last: 4}", "client=scripted:player:1"]
    run = rollout(tmp_path / "a", *words, "task.goals=4", shard=Shard(1, 2))
    episodes = run.run()
    assert {e.task_id for e in episodes} == {"south wing"} and len(episodes) == 2
    assert all(e.success and e.metadata["goal_kind"] == "be in" for e in episodes)
    assert len({e.metadata["goal"] for e in episodes}) == 2
    assert len(rollout(tmp_path / "b", *words, "task.goals=99").specs) == 6


def test_two_processes_do_not_play_the_same_run(tmp_path):
    run = rollout(tmp_path / "a", "task.repeats=2")
    with alone(tmp_path / "a"), pytest.raises(PgvError, match="Another process plays this rollout"):
        run.run()
    with alone(tmp_path / "a", "-1-of-2"):  # another shard
        assert len(run.run()) == 4
