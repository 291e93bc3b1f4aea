"""Notes by a chat model behind a real server: one a line, resumed, paid once, within the budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.cli import main as cli
from pgv_jax.data.episodes import dataset_info, read_episodes, write_dataset
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout.settings import ApiConfig, BudgetConfig, RolloutConfig
from pgv_jax.rollout.summarize import parse_note, summarize
from pgv_jax.texts.templates import sentences
from pgv_jax.types import Episode, Step

STEPS = tuple(Step(f"Raw {t}.", "I go on.", f"go {t}") for t in range(3))
EPISODES = [Episode(f"e{i}", f"t{i}", f"Task {i}.", STEPS, "Raw end.", True) for i in range(6)]


def policy(request: Request, index: int) -> str:
    """Keeps the note's sentences and adds what was seen, as a list that models like to write."""
    asked = str(request.messages[-1]["content"])
    before, _, rest = asked.partition("The note so far:\n")[2].partition("\n\nWhat the agent did:")
    seen = rest.partition("What it saw then:\n")[2]
    known = [] if before == "(nothing yet)" else before.splitlines()
    return "\n".join(f"- {line}" for line in [*known, f"Seen: {seen}"])


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-secret-of-the-test")


def settings(server: ScriptedServer, **budget: int) -> RolloutConfig:
    return RolloutConfig(
        client="openai:scripted",
        api=ApiConfig(base_url=f"{server.url}/v1", key_env="TEST_KEY", tries=2, retry_base=0.001),
        budget=BudgetConfig(**budget),
        concurrency=3,
    )


def test_each_observation_becomes_a_note_that_knows_the_one_before(tmp_path: Path) -> None:
    with ScriptedServer(policy) as server:
        noted, model = summarize(EPISODES, settings(server), tmp_path)
    assert model.spent.requests == 24
    assert [e.episode_id for e in noted] == [e.episode_id for e in EPISODES]
    first = noted[0]
    assert first.steps[1].observation == "Seen: Raw 0.\nSeen: Raw 1."
    assert sentences(first.final_observation)[-1] == "Seen: Raw end."
    assert first.steps[1].metadata["observation"] == "Raw 1."
    assert first.metadata["final_observation"] == "Raw end."
    assert first.metadata["notes"]["model"] == "scripted"
    assert (first.steps[1].thought, first.steps[1].action) == ("I go on.", "go 1")
    text = str(server.calls[0].request.messages)
    assert "word for word" in text and "Task " in text and "sk-secret" not in text


def test_what_was_answered_is_not_paid_again(tmp_path: Path) -> None:
    with ScriptedServer(policy) as server:
        straight, _ = summarize(EPISODES, settings(server), tmp_path / "straight")
        server.forget()
        with pytest.raises(PgvError, match="budget"):
            summarize(EPISODES, settings(server, requests=10), tmp_path / "cut")
        assert len(server.calls) <= 10
        resumed, _ = summarize(EPISODES, settings(server), tmp_path / "cut")
        assert len(server.calls) == 24 and max(server.paid_calls().values()) == 1
        server.forget()
        again, _ = summarize(EPISODES, settings(server), tmp_path / "cut")
        assert not server.calls
    assert resumed == straight == again


@pytest.mark.part("openai")
def test_an_episode_without_answers_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    def silent(request: Request, index: int) -> str:
        return " \n" if "Task 2." in str(request.messages) else policy(request, index)

    with ScriptedServer(silent) as server:
        with pytest.raises(PgvError, match=r"1 of 6 episodes have no notes \(first: e2"):
            summarize(EPISODES, settings(server), tmp_path)
        server.forget()
        with pytest.raises(PgvError, match="1 of 6"):
            summarize(EPISODES, settings(server), tmp_path)
        assert all("Task 2." in str(call.request.messages) for call in server.calls)


@pytest.mark.parametrize("fault", ["429", "500", "reset"])
def test_what_passes_is_tried_again(tmp_path: Path, fault: str) -> None:
    with ScriptedServer(policy) as server:
        server.next_faults.append(fault)
        noted, _ = summarize(EPISODES[:1], settings(server), tmp_path)
    assert sentences(noted[0].steps[0].observation) == ["Seen: Raw 0."]


def test_a_scripted_player_writes_no_notes(tmp_path: Path) -> None:
    with pytest.raises(PgvError, match="openai:MODEL"):
        summarize(EPISODES, RolloutConfig(client="scripted:player"), tmp_path)


@pytest.mark.part("openai")
def test_the_command_makes_a_dataset_with_the_same_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "notes"
    write_dataset(raw, EPISODES, source="logs", licence="CC0-1.0")
    with ScriptedServer(policy) as server:
        words = [
            "summarize", str(raw), "--model", "openai:scripted", "--out", str(out),
            "--base-url", f"{server.url}/v1", "--key-env", "TEST_KEY",
        ]  # fmt: skip
        for calls in (24, 24):
            with pytest.raises(SystemExit) as ended:
                cli.main(words)
            assert ended.value.code == 0
            assert len(server.calls) == calls
    assert "notes of 6 episodes, 24 calls" in capsys.readouterr().out
    about = dataset_info(out)
    assert about["source"] == "notes by openai:scripted on logs" and about["licence"] == "CC0-1.0"
    tasks = {split: {e.task_id for e in read_episodes(raw, split)} for split in about["splits"]}
    for split, ids in tasks.items():
        noted = list(read_episodes(out, split))
        assert {e.task_id for e in noted} == ids
        assert all(e.steps[0].observation == "Seen: Raw 0." for e in noted)
    kept = [path for path in tmp_path.joinpath("notes.notes").rglob("*") if path.is_file()]
    assert kept and not any(b"sk-secret" in path.read_bytes() for path in kept)


def test_list_marks_and_repetitions_leave_a_note() -> None:
    text = "- The door is open.\n* You have a key. The door is open.\n\n2. It is 3.50 dollars.\n"
    assert parse_note(text) == "The door is open.\nYou have a key.\nIt is 3.50 dollars."
    assert parse_note(" \n\n") is None


@given(st.text())
def test_a_note_is_its_sentences_one_a_line(text: str) -> None:
    note = parse_note(text)
    if note is not None:
        assert sentences(note) == note.split("\n")
        assert parse_note(note) is not None
        json.dumps(note)
