"""Counts on real logs that lie beside the checkout; skipped where they do not."""

from pathlib import Path

import pytest

from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import detect
from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.data.importers.pipeline import expand
from pgv_jax.data.importers.to_openai import to_openai
from pgv_jax.data.storage.jsonl import parse_json
from pgv_jax.types import Episode

DATA = Path(__file__).parents[5] / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real logs are not beside this checkout (../shared/data)"
)


def read(*names: str, agent: str | None = None) -> list[Episode]:
    out: list[Episode] = []
    for path in expand([DATA / name for name in names]):
        for item in detect(path).importer.read(path, Options(agent=agent)):
            assert not isinstance(item, BadRecord), str(item)
            out.append(item)
    return out


def test_tool_calls_come_back_in_order() -> None:
    episodes = read("tau-bench/gpt-4o-airline.json")
    logged = parse_json((DATA / "tau-bench/gpt-4o-airline.json").read_bytes())
    assert len(episodes) == 200
    assert sum(len(e.steps) for e in episodes) == 2454
    assert [to_openai(e) for e in episodes] == [record["traj"] for record in logged]
    assert [e.metadata["reward"] for e in episodes] == [record["reward"] for record in logged]
    assert sum(e.success is True for e in episodes) == 84
    secret = [record["info"]["task"]["instruction"] for record in logged]
    for episode, hidden in zip(episodes, secret, strict=True):
        assert hidden not in episode.task
        assert all(hidden not in step.observation for step in episode.steps)


@pytest.mark.parametrize(
    ("task", "episodes", "steps", "tasks", "won"),
    [("ALFWorld", 1020, 17937, 510, 316), ("HotpotQA", 1000, 3757, 500, 272)],
)
def test_react_rounds(task: str, episodes: int, steps: int, tasks: int, won: int) -> None:
    found = read(*(f"knowagent/KnowAgent{task}_llama-2-13b_D{i}.jsonl" for i in (0, 1)))
    assert (len(found), sum(len(e.steps) for e in found)) == (episodes, steps)
    assert len({e.task_id for e in found}) == tasks
    assert sum(e.success is True for e in found) == won
    assert sum(e.success is False for e in found) == episodes - won
    assert not any("CORRECT" in e.final_observation for e in found)


def test_the_notebook_of_webshop() -> None:
    found = read("react-webshop/WebShop.ipynb")
    assert (len(found), sum(len(e.steps) for e in found)) == (500, 2348)
    assert sum(e.score or 0 for e in found) / 500 == pytest.approx(0.6379833, abs=1e-6)
    assert sum(e.success is True for e in found) / 500 == 0.358
    assert not any("score" in e.final_observation for e in found)


def test_persuasion_with_the_donation_as_outcome() -> None:
    found = read("persuasionforgood/full_dialog.csv", agent="0")
    table = DATA / "persuasionforgood/full_info.csv"
    rewards = Rewards(table, "B2", "B6", where=("B4=1",))
    joined = [rewards.apply(e) for e in found]
    assert (len(joined), sum(len(e.steps) for e in joined)) == (1017, 10600)
    assert sum(e.metadata["reward"] > 0 for e in joined) == 545
    assert len(rewards.used) == len(rewards.values) == 1017


def test_the_small_ones() -> None:
    (atif,) = read("atif/sample_atif_v1_7.json")
    assert atif.steps[0].thought == "User wants to list files"
    people = read("webshop/human_trajs")
    assert len(people) == 9 and all(e.score is not None for e in people)
    games = read("avalon-nlu/dataset")
    assert len(games) == 20 and all(e.success is not None for e in games)
    assert sum(e.success is True for e in games) == 7
