"""From a dataset to a critic that reads whole episodes, and to an agent that it guides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pgv_jax.cli import main as cli
from pgv_jax.cli.commands.evaluate import evaluate
from pgv_jax.cli.commands.score import score
from pgv_jax.config import Config, load_config
from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import write_dataset
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.embed.episode_mode import EpisodeEncoder
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout.settings import ApiConfig, RolloutConfig
from pgv_jax.rollout.summarize import summarize
from pgv_jax.tasks.base import TASKS
from pgv_jax.texts.templates import EPISODE, SUCCESS, observation_text, thought_text
from pgv_jax.types import Candidate, Episode, Step
from pgv_jax.workflows.training import fit, prepare
from tests.embed import folders


def episode(number: int) -> Episode:
    good = bool(number % 2)
    steps = tuple(
        Step(
            f"You are in room {t}.",
            f"I go {'on' if good else 'back'} {number}.",
            "go",
            candidates=(Candidate("I wait.", correct=False), Candidate("I go.", correct=True)),
        )
        for t in range(3)
    )
    return Episode(f"e{number}", f"k{number}", "Reach room 3.", steps, "The end.", good)


EPISODES = [episode(number) for number in range(20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.write_folder(
        tmp_path_factory.mktemp("qwen3"), {**folders.QWEN3, "max_position_embeddings": 512}
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder, EPISODES)
    return folder


def settings(dataset: Path, encoder: str, history: object) -> Any:
    return load_config(
        None,
        [
            f"data.dataset={dataset}", f"data.encoder={encoder}", f"texts.history={history}",
            "train.steps=4", "train.scan=2", "train.batch=16",
            "train.log_every=2", "train.eval_every=2",
            "mesh.shards=2", "critic.hidden=[8]",
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def artifact(dataset: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config: Config = settings(dataset, f"hf:{model}?mode=episode&max_tokens=512", "episode")
    workdir = tmp_path_factory.mktemp("run")
    return fit(config, prepare(config, workdir / "tables"), workdir)


def test_the_table_holds_the_vectors_of_prefixes(dataset: Path, model: Path, tmp_path: Path):
    config = settings(dataset, f"hf:{model}?mode=episode&max_tokens=512", "episode")
    prepared = prepare(config, tmp_path)
    (first,) = [s for s in prepared.train.shards if len(s.row_obs)][:1]
    rows = first.vectors[first.row_obs[:3]]
    seen = {observation_text(e, t, EPISODE) for e in EPISODES for t in range(3)}
    known = prepared.store.lookup(sorted(seen & set(_stored(prepared.store, seen))))
    assert all(np.abs(known - row).max(1).min() < 1e-6 for row in rows)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def _stored(store: Any, texts: set[str]) -> set[str]:
    return texts - set(store.missing(texts))


@pytest.mark.slow
def test_the_artifact_remembers_and_scores_an_episode_as_it_happens(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = artifacts.load(artifact).manifest
    assert manifest["texts"]["history"] == "episode"
    assert manifest["encoder"]["describe"]["mode"] == "episode"
    value, offline = ValueFunction.load(artifact), ValueFunction.load(artifact)
    assert value.history == EPISODE
    thoughts, goals = ["I go on.", "I wait.", "I go."], [SUCCESS, "You are in room 2."]
    read: list[int] = []
    tokenize = EpisodeEncoder.segment_ids
    monkeypatch.setattr(
        EpisodeEncoder, "segment_ids", lambda self, s: (read.append(len(s)), tokenize(self, s))[1]
    )
    for t in range(3):
        seen = observation_text(EPISODES[0], t, EPISODE)
        read.clear()
        live = value.q(EPISODES[0].task, seen, thoughts, goals)
        # Each thought; and what has happened since the last decision.
        assert sum(read) <= len(thoughts) + (2 if t == 0 else 3) + len(goals) + 1
        n = len(thoughts) * len(goals)
        pairs = offline.q_pairs(
            [EPISODES[0].task] * n, [seen] * n, np.repeat(thoughts, len(goals)).tolist(), goals * 3
        )
        np.testing.assert_allclose(live.reshape(-1), pairs, atol=1e-4)
        assert np.ptp(live[:, 0]) > 0


def test_a_thought_is_told_apart_by_its_past(artifact: Path) -> None:
    value = ValueFunction.load(artifact)
    seen = [observation_text(EPISODES[0], t, EPISODE) for t in range(2)]
    assert thought_text(seen[0], "I go.", EPISODE) != thought_text(seen[1], "I go.", EPISODE)
    one, two = (value.q(EPISODES[0].task, text, ["I go."], [SUCCESS])[0, 0] for text in seen)
    assert one != two


@pytest.mark.slow
def test_it_is_judged_and_it_guides(
    artifact: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged = CliRunner().invoke(
        evaluate, [str(artifact), "--dataset", str(dataset), "--out", str(tmp_path / "health")]
    )
    assert judged.exit_code == 0, judged.output
    report = json.loads((tmp_path / "health" / "report.json").read_text())
    assert report["data"]["history"] == "episode"
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    config = tmp_path / "rollout.yaml"
    config.write_text(
        f"task: {{name: corridor, repeats: 1}}\nclient: scripted:player:1\nartifact: {artifact}\n"
        "strategy: best-of-n\ncandidates: 2\n"
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", str(config), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0, capsys.readouterr()


def test_a_bare_observation_is_no_prefix(artifact: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"observation": "A door.", "thought": "I go.", "goal": SUCCESS}))
    with pytest.raises(PgvError, match=r"whole episodes.*observation_text"):
        CliRunner().invoke(
            score,
            [str(artifact), "--in", str(pairs), "--out", str(tmp_path / "out.jsonl")],
            catch_exceptions=False,
        )


@pytest.mark.slow
def test_a_critic_of_notes_has_the_model_write_them_as_it_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def policy(request: Request, index: int) -> str:
        if "You keep the progress note" in str(request.messages[0]["content"]):
            asked = str(request.messages[-1]["content"])
            return "Noted: " + asked.rpartition("What it saw then:\n")[2]
        return "Thought: I go on.\nAction: go right"

    monkeypatch.setenv("TEST_KEY", "sk-secret-of-the-test")
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    config = tmp_path / "rollout.yaml"
    with ScriptedServer(policy) as server:
        api = ApiConfig(base_url=f"{server.url}/v1", key_env="TEST_KEY")
        asked = RolloutConfig(client="openai:scripted", api=api)
        noted, _ = summarize(EPISODES[:8], asked, tmp_path / "answers")
        write_dataset(tmp_path / "notes", noted)
        learning = settings(tmp_path / "notes", "hash:8", 1)
        artifact = fit(learning, prepare(learning, tmp_path / "tables"), tmp_path / "run")
        assert artifacts.load(artifact).manifest["texts"]["notes"]["model"] == "scripted"
        config.write_text(
            "task: {name: corridor}\nstrategy: best-of-n\ncandidates: 2\nclient: openai:scripted\n"
            f"api: {{base_url: '{server.url}/v1', key_env: TEST_KEY}}\nartifact: {artifact}\n"
        )
        seen: list[str] = []
        q = ValueFunction.q

        def watched(self: ValueFunction, task: str, observation: str, *more: Any) -> np.ndarray:
            seen.append(observation)
            return q(self, task, observation, *more)

        monkeypatch.setattr(ValueFunction, "q", watched)
        with pytest.raises(SystemExit) as ended:
            cli.main(["rollout", str(config), "--out", str(tmp_path / "out")])
        assert ended.value.code == 0, capsys.readouterr()
    (first, *_) = read_jsonl(tmp_path / "out" / "episodes.jsonl")
    assert first.steps[0].observation == "You are in room 0."
    assert first.steps[0].metadata["note"] == "Noted: You are in room 0."
    # A window of one past turn, of notes.
    assert any(
        text.startswith("Observation: Noted: You are in room 0") and "room 1" in text
        for text in seen
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", str(config), "client=scripted:player", "--out", str(tmp_path / "no")])
    assert ended.value.code == 2 and "writes none; choose an API model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "history", "named"),
    [("episode", 3, "texts.history=episode"), ("text", "episode", "mode=episode")],
)
def test_texts_and_encoder_must_agree(
    dataset: Path, model: Path, tmp_path: Path, mode: str, history: object, named: str
) -> None:
    with pytest.raises(PgvError, match=named):
        prepare(settings(dataset, f"hf:{model}?mode={mode}", history), tmp_path)
