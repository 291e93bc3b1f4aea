"""``pgv import`` and ``pgv describe`` as a person meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pgv_jax.cli.commands.describe import describe
from pgv_jax.cli.commands.importing import import_
from pgv_jax.data.episodes import dataset_info, read_episodes
from pgv_jax.errors import PgvError
from tests.data.importers import samples

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    samples.write(tmp_path)

    def call(command: str, *args: object) -> Result:
        chosen = {"import": import_, "describe": describe}[command]
        result = CliRunner().invoke(chosen, [str(arg) for arg in args])
        if isinstance(result.exception, PgvError):
            raise result.exception
        return result

    return call


def test_import_says_what_it_found_and_shows_an_episode(run: Run, tmp_path: Path) -> None:
    said = run(
        "import",
        tmp_path / "chat.jsonl",
        "--out",
        tmp_path / "d",
        "--licence",
        "MIT",
        "--source",
        "us",
    )
    assert said.exit_code == 0
    assert "chat.jsonl: openai, because messages in 'messages' with the roles" in said.stderr
    assert "action      find({" in said.stdout
    assert "holds 1 episodes, 2 steps of 1 tasks (train 1)." in said.stdout
    assert "Outcomes: 1 success, 0 failure, 0 unknown." in said.stdout
    info = dataset_info(tmp_path / "d")
    assert (info["licence"], info["source"]) == ("MIT", "us")
    again = run(
        "import",
        tmp_path / "chat.jsonl",
        "--out",
        tmp_path / "d",
        "--licence",
        "MIT",
        "--source",
        "us",
        "--quiet",
    )
    assert "already held 1 episodes" in again.stdout and "find({" not in again.stdout


def test_import_with_everything(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rewards.csv").write_text(samples.REWARDS)
    said = run(
        "import",
        tmp_path / "talk.csv",
        *(
            "--out",
            tmp_path / "d",
            "--agent",
            "0",
            "--task",
            "Get a gift.",
            "--column",
            "text=Unit",
        ),
        *("--rewards", tmp_path / "rewards.csv", "--rewards-key", "B2", "--rewards-value", "B6"),
        *("--rewards-where", "B4=1", "--success", "reward > 0", "--redact", "who=Yes"),
    )
    assert "Outcomes: 1 success, 1 failure, 0 unknown." in said.stdout
    assert "Redacted: who 1." in said.stdout or "Redacted: who" in said.stdout
    episodes = {e.episode_id: e for e in read_episodes(tmp_path / "d")}
    assert {e.task for e in episodes.values()} == {"Get a gift."}
    assert episodes["d2"].final_observation == "[REDACTED:who]?"


def test_import_sets_aside(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(PgvError, match=r"chat.jsonl:2: json"):
        run("import", path, "--out", tmp_path / "d")
    said = run("import", path, "--out", tmp_path / "d", "--on-error", "skip", "--quiet")
    assert "1 records were set aside in" in said.stdout and "chat.jsonl:2: json" in said.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("absent.jsonl",), "does not exist"),
        (("chat.jsonl", "--format", "chat"), "--format 'chat' is unknown"),
        (("chat.jsonl", "--success", "import os"), "--success"),
        (("chat.jsonl", "--redact", "x"), "--redact"),
        (("chat.jsonl", "--column", "x"), "NAME=VALUE"),
        (("chat.jsonl", "--rewards", "absent.csv"), "absent.csv does not exist"),
        (("talk.csv",), "--agent ROLE"),
        (("human.jsonl", "--format", "openai"), "human.jsonl:1: messages: is missing"),
        (("chat.jsonl", "--task-field", "info.task"), "info.task: is missing"),
    ],
)
def test_wrong_words_are_sentences(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PgvError, match=message):
        run("import", *args, "--out", "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.part("report")
def test_describe_a_dataset_and_a_log(run: Run, tmp_path: Path) -> None:
    run("import", tmp_path / "chat.jsonl", "--out", tmp_path / "d", "--quiet")
    page, facts = tmp_path / "out" / "d.html", tmp_path / "out" / "d.json"
    said = run("describe", tmp_path / "d", "--html", page, "--json", facts)
    assert said.exit_code == 0
    assert "Look at these first:" in said.stdout and "Every known outcome is success" in said.stdout
    told = json.loads(facts.read_text())
    assert (told["episodes"], told["steps"], told["share_with_own_thought"]) == (1, 2, 0.5)
    assert "<svg" in page.read_text() and "http" not in page.read_text().split("</style>")[
        1
    ].replace("http://www.w3.org", "")
    log = run("describe", tmp_path / "atif.json")
    assert "Log" in log.stdout and "atif, because schema_version" in log.stderr
    assert "prompt tokens 100" in log.stdout
    (tmp_path / "chat.jsonl").write_text("{\n" + json.dumps(samples.TOOL_LOG))
    assert "left out: " in run("describe", tmp_path / "chat.jsonl").stderr
    with pytest.raises(PgvError, match="no split 'val'"):
        run("describe", tmp_path / "d", "--split", "val")


def test_a_log_cannot_speak_to_the_terminal(run: Run, tmp_path: Path) -> None:
    said = "\x1b]0;owned\x07\x1b[31mred\x9b0m\u202e"
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
    (tmp_path / "x.jsonl").write_text(json.dumps({"messages": messages, "task_id": said}))
    imported = run("import", tmp_path / "x.jsonl", "--out", tmp_path / "d")
    described = run("describe", tmp_path / "d")
    from_log = run("describe", tmp_path / "x.jsonl")
    for text in (imported.output, described.output, from_log.output):
        assert "\\x1b]0;owned\\x07\\x1b[31mred\\x9b0m\\u202e" in text
        assert not any(active in text for active in "\x1b\x07\x9b\u202e")


TABLE = """run,t,screen,why,did,points,goal,solved
a,2,a door,,open it,1,get out,yes
a,1,a room,doors lead out,look,0,get out,no
b,1,a wall,walls break,hit it,0,get out,no
"""
NAMES = ["episode=run", "step=t", "observation=screen", "thought=why", "action=did"]
NAMES += ["reward=points", "task=goal", "success=solved"]


def test_a_strangers_step_table_in_one_command(run: Run, tmp_path: Path) -> None:
    table, out = tmp_path / "steps.csv", tmp_path / "d"
    table.write_text(TABLE)
    said = run("import", table, "--out", out, "--format", "steps", "--column", *NAMES)
    assert said.exit_code == 0
    assert f"read as {', '.join(NAMES)}" in said.stderr
    assert "Outcomes: 1 success, 1 failure, 0 unknown." in said.stdout
    assert "67% of the steps have reasoning of their own" in said.stdout
    assert "'screen' is read as what the agent saw before its action" in said.stdout
    first, _ = sorted(read_episodes(out), key=lambda e: e.episode_id)
    assert [(s.observation, s.thought, s.action) for s in first.steps] == [
        ("a room", "doors lead out", "look"),
        ("a door", "open it", "open it"),
    ]
    with pytest.raises(PgvError, match="no column of ours named 'stp'; is it step"):
        run("import", table, "--out", out, "--column", "action=did", "stp=t", "--overwrite")


def test_what_is_not_read_is_counted_and_strict_refuses_it(run: Run, tmp_path: Path) -> None:
    content = [{"type": "hologram", "shape": [1]}, {"type": "text", "text": "look"}]
    log = tmp_path / "odd.jsonl"
    messages = [{"role": "user", "content": "T"}, {"role": "assistant", "content": content}]
    log.write_text(json.dumps({"messages": messages, "reward": 1}) + "\n")
    said = run("import", log, "--out", tmp_path / "d")
    assert "1 parts of type 'hologram' were not read" in said.stdout
    assert "Outcomes are read from 'reward' (1); rewards: 1: 1." in said.stdout
    with pytest.raises(PgvError, match=r"--strict: .*'hologram' \(1\).*odd\.jsonl:1"):
        run("import", log, "--out", tmp_path / "e", "--strict")
    assert not (tmp_path / "e").exists()
    assert "1 parts of type 'hologram'" in run("describe", log).stderr
