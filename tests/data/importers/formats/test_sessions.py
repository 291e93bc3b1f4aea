"""Sessions of coding agents as they write them; every value stated by hand."""

import json
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.detection import detect

from ..reading import imported, jsonl, rows


def line(kind: str, number: int, before: int | None, message: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": str(number),
        "parentUuid": None if before is None else str(before),
        "sessionId": "S1",
        "isSidechain": False,
        "cwd": "/w",
        "message": message,
        **more,
    }


def said(number: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "role": "assistant", "type": "message", "content": list(blocks)}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def use(number: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": number, "name": name, "input": arguments}


def answered(number: str, content: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": number, "content": content}
    return {"role": "user", "content": [block]}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


SESSION = [
    {"type": "summary", "summary": "A bug", "leafUuid": "99"},
    line("user", 1, None, user("fix the bug")),
    line("assistant", 2, 1,
         said("m1", {"type": "thinking", "thinking": "look first", "signature": "s"})),
    line("assistant", 3, 2, said("m1", words("I look."))),
    line("assistant", 4, 3, said("m1", use("t1", "Read", path="a.py"))),
    line("user", 5, 4, answered("t1", "x = 1"), toolUseResult={"file": 1}),
    line("assistant", 6, 5, said("m2", use("t2", "Task", prompt="sub"))),
    line("user", 7, None, user("sub"), isSidechain=True, agentId="ag1"),
    line("assistant", 8, 7, said("m3", words("sub done")), isSidechain=True, agentId="ag1"),
    line("user", 9, 6, answered("t2", [words("sub done")])),
    {"type": "system", "subtype": "compact_boundary", "sessionId": "S1", "uuid": "b"},
    line("user", 10, None, user("This goes on: summary"), isCompactSummary=True),
    line("assistant", 11, 10, said("m4", words("fixed"))),
]  # fmt: skip


def test_a_session_with_a_sub_agent_and_a_compaction(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *SESSION)
    assert detect(path).importer.name == "claude-code"
    (session, agent), _ = imported(path)
    assert rows(session) == [
        ("fix the bug", "look first", 'Read({"path": "a.py"})'),
        ("x = 1", "Call Task with prompt sub.", 'Task({"prompt": "sub"})'),
        ("sub done\n\nThis goes on: summary", "fixed", "fixed"),
    ]
    assert (session.episode_id, session.task, session.success) == ("S1", "fix the bug", None)
    assert session.steps[0].metadata["words"] == "I look."
    assert session.metadata["record"]["other_lines"] == {"summary": 1, "system": 1}
    assert rows(agent) == [("sub", "sub done", "sub done")]
    assert (agent.episode_id, agent.task) == ("S1:ag1", "sub")


def test_a_prompt_that_was_taken_back_is_a_branch(tmp_path: Path) -> None:
    lines = [
        line("user", 1, None, user("go")),
        line("assistant", 2, 1, said("m1", words("where?"))),
        line("user", 3, 2, user("left")),
        line("assistant", 4, 3, said("m2", words("went left"))),
        line("user", 5, 2, user("right")),
        line("assistant", 6, 5, said("m3", words("went right"))),
    ]
    episodes, _ = imported(jsonl(tmp_path / "x.jsonl", *lines))
    assert [[s.observation for s in e.steps] for e in episodes] == [["go", "left"], ["go", "right"]]


def test_a_stream_of_json_lines(tmp_path: Path) -> None:
    lines = [
        {"type": "system", "subtype": "init", "session_id": "s", "cwd": "/"},
        {"type": "user", "message": user("list"), "session_id": "s"},
        {"type": "assistant", "session_id": "s",
         "message": said("m", use("t", "Bash", command="ls"))},
        {"type": "user", "message": answered("t", "a"), "session_id": "s"},
        {"type": "assistant", "message": said("n", words("one file")), "session_id": "s"},
        {"type": "result", "subtype": "error_max_turns", "session_id": "s"},
    ]  # fmt: skip
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *lines))
    assert rows(episode) == [
        ("list", "Call Bash with command ls.", 'Bash({"command": "ls"})'),
        ("a", "one file", "one file"),
    ]
    assert episode.metadata["record"]["exit_status"] == "error_max_turns"
    assert not episode.is_terminal


def item(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": "2026-01-01T00:00:00Z", "type": kind, "payload": payload}


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


CODEX = [
    item("session_meta", {"id": "c1", "cwd": "/w", "cli_version": "1", "instructions": None}),
    item("response_item", message("user", "<environment_context>x</environment_context>")),
    item("response_item", message("user", "fix")),
    item("event_msg", {"type": "user_message", "message": "fix"}),
    item("event_msg", {"type": "agent_reasoning", "text": "Looking"}),
    item("response_item", {"type": "reasoning", "encrypted_content": "gAAA",
                           "summary": [{"type": "summary_text", "text": "Looking"}]}),
    item("response_item", {"type": "function_call", "name": "shell", "call_id": "k1",
                           "arguments": '{"command": ["ls"]}'}),
    item("response_item", {"type": "function_call_output", "call_id": "k1", "output": "a.py"}),
    item("compacted", {"message": "so far: ls"}),
    item("response_item", message("assistant", "done")),
]  # fmt: skip


def test_a_codex_session(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rollout-1.jsonl", *CODEX)
    assert detect(path).importer.name == "codex"
    (episode,), _ = imported(path)
    assert rows(episode) == [
        ("fix", "Looking", 'shell({"command": ["ls"]})'),
        ("a.py\n\nso far: ls", "done", "done"),
    ]
    assert (episode.episode_id, episode.task) == ("c1", "fix")
    assert episode.metadata["record"]["cwd"] == "/w"


def test_a_codex_compaction_that_replaces_the_history(tmp_path: Path) -> None:
    history = [message("user", "fix"), message("user", "so far: ls")]
    compacted = item("compacted", {"message": "", "replacement_history": history})
    lines = [compacted if entry["type"] == "compacted" else entry for entry in CODEX]
    (episode,), _ = imported(jsonl(tmp_path / "rollout-1.jsonl", *lines))
    assert rows(episode)[1] == ("a.py\n\nso far: ls", "done", "done")


def test_a_warning_of_codex_exec_is_no_action(tmp_path: Path) -> None:
    items = [{"id": "1", "type": "error", "message": "slow model"},
             {"id": "2", "type": "agent_message", "text": "done"}]  # fmt: skip
    lines = [{"type": "thread.started", "thread_id": "t"},
             *({"type": "item.completed", "item": one} for one in items)]  # fmt: skip
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", *lines))
    assert rows(episode) == [("", "done", "done")]
    assert dict(report.tally.unread) == {"error": 1}


def test_an_old_codex_session(tmp_path: Path) -> None:
    items = [entry["payload"] for entry in CODEX if entry["type"] == "response_item"]
    lines = [{"id": "c0", "timestamp": "t", "instructions": "be brief"}, *items]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *lines))
    assert [s.action for s in episode.steps] == ['shell({"command": ["ls"]})', "done"]
    assert (episode.episode_id, episode.task) == ("c0", "fix")


def test_events_of_codex_exec(tmp_path: Path) -> None:
    def done(**facts: Any) -> dict[str, Any]:
        return {"type": "item.completed", "item": {"id": "i", **facts}}

    lines = [
        {"type": "thread.started", "thread_id": "th"},
        {"type": "turn.started"},
        done(type="reasoning", text="Looking"),
        done(type="command_execution", command="ls", aggregated_output="a.py\n", exit_code=2),
        done(type="agent_message", text="done"),
        {"type": "turn.completed", "usage": {"input_tokens": 9, "output_tokens": 4}},
    ]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *lines))
    assert rows(episode) == [
        ("", "Looking", 'shell({"command": "ls"})'),
        ("a.py\nexit code 2", "done", "done"),
    ]
    assert episode.steps[-1].metadata["prompt_tokens"] == 9


def test_swe_agents_trajectory(tmp_path: Path) -> None:
    path = tmp_path / "django__1.traj"
    record = {
        "environment": "swe",
        "trajectory": [
            {"action": "ls\n", "observation": "a.py", "thought": "Look.", "response": "r"},
            {"action": "submit", "observation": "", "thought": "Done."},
        ],
        "history": [
            {"role": "system", "content": "sys"},
            {"role": "user", "content": "an example", "is_demo": True},
            {"role": "user", "content": "Issue: bug"},
            {"role": "assistant", "content": "x"},
        ],
        "info": {"exit_status": "submitted (exit_cost)", "submission": "diff", "resolved": False},
    }
    path.write_text(json.dumps(record, indent=1))
    assert detect(path).importer.name == "swe-agent"
    (episode,), _ = imported(path)
    assert rows(episode) == [("Issue: bug", "Look.", "ls"), ("a.py", "Done.", "submit")]
    assert (episode.episode_id, episode.task_id) == ("django__1", "django__1")
    assert (episode.success, episode.is_terminal) == (False, False)


def test_openhands_events_of_both_generations(tmp_path: Path) -> None:
    first = [
        {"id": 0, "source": "user", "action": "message", "args": {"content": "fix it"}},
        {"id": 1, "source": "agent", "action": "run", "args": {"command": "ls", "thought": "look"}},
        {"id": 2, "source": "agent", "observation": "run", "content": "a.py", "cause": 1},
        {"id": 3, "source": "environment", "observation": "agent_state_changed", "content": "x"},
        {"id": 4, "source": "agent", "action": "finish", "args": {"final_thought": "good"}},
    ]
    record = {"instance_id": "i1", "history": first, "report": {"resolved": True}}
    path = jsonl(tmp_path / "output.jsonl", record)
    assert detect(path).importer.name == "openhands"
    (episode,), _ = imported(path)
    end = 'finish({"final_thought": "good"})'
    assert rows(episode) == [
        ("fix it", "look", 'run({"command": "ls"})'),
        ("a.py", "Call finish with final_thought good.", end),
    ]
    assert (episode.task_id, episode.success) == ("i1", True)
    call = {"id": "c", "name": "bash", "arguments": '{"command": "ls"}'}
    second = [
        {"kind": "SystemPromptEvent", "source": "agent", "system_prompt": {"text": "sys"}},
        {"kind": "MessageEvent", "source": "user", "llm_message": user("fix it")},
        {"kind": "ActionEvent", "source": "agent", "thought": [], "reasoning_content": "look",
         "tool_name": "bash", "tool_call_id": "c", "tool_call": call},
        {"kind": "ObservationEvent", "source": "environment", "tool_call_id": "c",
         "observation": {"kind": "BashObservation", "content": [words("a.py")]}},
        {"kind": "MessageEvent", "source": "agent", "llm_message": said("m", words("good"))},
    ]  # fmt: skip
    path = tmp_path / "events.json"
    path.write_text(json.dumps(second))
    (episode,), _ = imported(path)
    assert rows(episode) == [
        ("fix it", "look", 'bash({"command": "ls"})'),
        ("a.py", "good", "good"),
    ]
