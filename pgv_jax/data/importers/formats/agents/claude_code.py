"""Claude Code's session files and its ``stream-json`` output, with sub-agents and compaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, FileImporter, Options, Sample, Where
from pgv_jax.data.importers.conversation.messages import message_turns
from pgv_jax.data.importers.conversation.steps import episode_of
from pgv_jax.data.importers.conversation.turns import Turn, joined
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

SPOKEN = ("user", "assistant")
Line = Mapping[str, Any]


def is_line(record: Any) -> bool:
    """True for a line of a session that holds a message."""
    return (
        isinstance(record, Mapping)
        and record.get("type") in SPOKEN
        and isinstance(record.get("message"), Mapping)
        and ("sessionId" in record or "session_id" in record)
    )


class ClaudeCode(FileImporter):
    """A session is one episode; so is every sub-agent, and every branch that was taken back.

    A compaction stays where it was: the summary is what the agent saw from then on.
    """

    name = "claude-code"
    about = "Claude Code sessions (.claude/projects/**.jsonl, sub-agents too) and stream-json"
    logs_calls = True

    def detect(self, sample: Sample) -> Detection:
        """Sure of lines of type user or assistant with a message and a session's id."""
        if sample.kind in ("json", "jsonl") and any(is_line(r) for r in sample.records):
            return Detection(1.0, "lines of type user and assistant with a message and a session")
        return NO

    def runs(self, records: Sequence[Any], where: Where, options: Options) -> Iterable[Episode]:
        """Return the session, its sub-agents and the branches that were taken back."""
        lines = [record for record in records if isinstance(record, Mapping)]
        threads: dict[str, list[Line]] = {}
        agents: dict[str, str] = {}
        for line in lines:
            if is_line(line):
                threads.setdefault(_agent(line, agents), []).append(line)
        if not threads:
            raise FieldError("message", "no line of this file holds a message")
        out: list[Episode] = []
        for agent, thread in threads.items():
            for branch in _branches(thread):
                episode = _episode(branch, agent, lines, where, options)
                if episode is not None:
                    out.append(episode)
        return out


def _agent(line: Line, agents: dict[str, str]) -> str:
    """The id of the sub-agent that a line belongs to; "" for the session itself."""
    parent = str(line.get("parentUuid") or "")
    if not line.get("isSidechain"):
        return str(line.get("parent_tool_use_id") or "")
    agent = str(line.get("agentId") or agents.get(parent) or line.get("uuid") or "sidechain")
    agents[str(line.get("uuid"))] = agent
    return agent


def _is_prompt(line: Line) -> bool:
    """True for words of the user: neither a tool's result nor a note of the program."""
    content = line["message"].get("content")
    answered = isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") == "tool_result" for part in content
    )
    return line["type"] == "user" and not answered and not line.get("isMeta")


def _branches(thread: Sequence[Line]) -> Iterator[list[Line]]:
    """The conversations of a thread: a prompt that replaces an earlier one begins another branch.

    Lines stand in the order of the file, for parents of parallel results do not form a chain. The
    pieces of one response come together, also where a result was written between them.
    """
    current: list[Line] = []
    for line in thread:
        parent = line.get("parentUuid")
        places = {str(seen.get("uuid")): i for i, seen in enumerate(current)}
        if _is_prompt(line) and parent is not None and str(parent) in places:
            at = places[str(parent)] + 1
            if any(_is_prompt(later) for later in current[at:]):
                yield current
                current = current[:at]
        current = _placed(current, line)
    yield current


def _placed(current: list[Line], line: Line) -> list[Line]:
    number = line["message"].get("id")
    if line["type"] == "assistant" and number:
        same = [i for i, seen in enumerate(current) if seen["message"].get("id") == number]
        if same and same[-1] + 1 < len(current):
            return [*current[: same[-1] + 1], line, *current[same[-1] + 1 :]]
    return [*current, line]


def _episode(
    thread: Sequence[Line], agent: str, lines: Sequence[Line], where: Where, options: Options
) -> Episode | None:
    turns: list[Turn] = []
    for i, line in enumerate(thread):
        found = message_turns(line, f"line[{i}]", options.tally)
        note = line.get("isMeta") or line.get("isApiErrorMessage")
        note = note or line["message"].get("model") == "<synthetic>"
        turns += [replace(turn, context=True) for turn in found] if note else found
    turns = joined(turns)
    if not any(turn.role == "assistant" and not turn.context for turn in turns):
        return None  # a prompt that nothing answered
    session = next((str(v) for k in ("sessionId", "session_id") if (v := thread[-1].get(k))), "")
    record: dict[str, Any] = {"session": session or stem_of(where.path)}
    if agent:
        record["agent"] = agent
    for key in ("cwd", "version", "gitBranch"):
        if thread[-1].get(key):
            record[key] = thread[-1][key]
    others = Counter(str(line.get("type")) for line in lines if not is_line(line))
    if others and not agent:
        record["other_lines"] = dict(others)
    ending = next((line for line in reversed(lines) if line.get("type") == "result"), None)
    if ending is not None and not agent:
        record["exit_status"] = ending.get("subtype")
    name = f"{record['session']}:{agent}" if agent else str(record["session"])
    return episode_of(
        turns, {**record, "episode_id": name}, where, options, message_format="claude-code",
        kept=record,
    )  # fmt: skip
