"""How a model is asked for the next step, and how its answers are read.

Everything above this module sees candidates only; everything below sees text only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

from pgv_jax.agents.prompt import Prompt
from pgv_jax.data.importers.conversation.asking import candidate_in
from pgv_jax.data.importers.conversation.pieces import parse_arguments
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, ClientError, Completion, Message, Request, object_schema
from pgv_jax.texts.unicode import clean, cleaned
from pgv_jax.types import Candidate


class Turn(NamedTuple):
    """A past step; ``message`` is the model's own one where it called tools."""

    observation: str
    action: str
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a model proposed for one step: distinct candidates, and the completions behind them.

    Candidates without an action come last. ``error`` says why samples are missing, where the model
    did not give all of them; ``counts`` are those of ``proposal_counts``.
    """

    candidates: tuple[Candidate, ...]
    completions: tuple[Completion, ...]
    error: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    votes: tuple[int, ...] = ()
    """Of each candidate: how many samples have its action."""
    messages: Mapping[str, Message] = field(default_factory=dict)
    """Of each action that calls tools: the first answer that has it."""


MOST_ACTIONS = 250
"""As many as OpenAI's strict schemas take without a limit on the letters of all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Answers are JSON whose action is one of those that are offered, where a task lists them.

    ``system`` asks for it in words. ``rounds``: calls beyond the first, while the proposals have
    fewer distinct actions than were asked for; each offers only what is not yet proposed.
    ``thought_length``: most characters of a thought; 0 for servers that know no such limit.
    ``thinks`` False: the action alone is asked for, and stands for its thought.
    """

    system: str
    rounds: int = 1
    thought_length: int = 0
    thinks: bool = True

    def form(self, actions: Sequence[str]) -> dict[str, Any]:
        """The schema of an answer, as a ``response_format``."""
        length = {"maxLength": self.thought_length} if self.thought_length else {}
        thought = {"thought": {"type": "string", **length}} if self.thinks else {}
        properties = {**thought, "action": {"type": "string", "enum": list(actions)}}
        return object_schema("step", properties)


@cache
def system_prompt(name: str = "act") -> str:
    """A prompt of ``pgv_jax/agents/prompts``."""
    return files("pgv_jax.agents").joinpath(f"prompts/{name}.txt").read_text("utf-8").strip()


def request_seed(seed: int, episode: str, step: int, observation: str) -> int:
    """A 31-bit seed that depends on these alone, so that every arm in one state asks alike."""
    key = json.dumps([seed, episode, step, observation]).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


def build_messages(
    task: str,
    observation: str,
    admissible: Sequence[str] = (),
    past: Sequence[Turn] = (),
    system: str = "",
) -> list[Message]:
    """The system prompt and one user message: task, past turns, what is known, what is possible.

    A ``system`` with a line ``---`` is a whole prompt: below the line stands the user's message,
    with $task, $past, $observation and $actions.
    """
    if "\n---\n" in system:
        return Prompt("act", system, "the prompt act.txt").messages(
            task=task,
            past=_told(past),
            observation=observation,
            actions="\n".join(f"- {action}" for action in admissible),
        )
    parts = [f"Task: {task}"]
    if past:
        parts.append(f"What happened before:\n{_told(past)}")
    parts.append(f"What you know now:\n{observation}")
    if admissible:
        parts.append("Possible actions:\n" + "\n".join(f"- {action}" for action in admissible))
    return [
        {"role": "system", "content": system or system_prompt()},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _told(past: Sequence[Turn]) -> str:
    return "\n".join(f"Observation: {turn.observation}\nAction: {turn.action}" for turn in past)


def build_conversation(
    task: str, observation: str, past: Sequence[Turn] = (), system: str = ""
) -> list[Message]:
    """The messages for a task with tools: each past call goes back as it came, with its result."""
    system = system or system_prompt("act_tools")
    if "\n---\n" in system:
        raise PgvError(
            "The prompt act_tools.txt has a line ---, but with tools the user's message is not "
            "written by a prompt; leave the line and what is below it out."
        )
    seen = [*(turn.observation for turn in past), observation]
    messages: list[Message] = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"Task: {task}\n\nWhat you know now:\n{seen[0]}"},
    ]
    for turn, brought in zip(past, seen[1:], strict=True):
        message = turn.message or {"role": "assistant", "content": turn.action}
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        messages.append(message)
        if not calls:
            messages.append({"role": "user", "content": brought})
        for i, call in enumerate(calls):
            result = "The result stands with the first call." if i else brought
            messages.append({"role": "tool", "tool_call_id": call, "content": result})
    return messages


# No newline within: a label in each of a thousand empty lines would be sought a thousand times.
_LABEL = r"(?im)^[ \t>*_#`\-]*{}[ \t*_`]*(?:\d+[ \t*_`]*)?:[\s*_`]*"
_THOUGHT = re.compile(_LABEL.format(r"(?:thought|think|reasoning)"))
_ACTION = re.compile(_LABEL.format(r"(?:action|act|command)"))
_FENCE = re.compile(r"(?m)^[ \t]*```\w*[ \t]*$")


def parse_answer(text: str, admissible: Sequence[str] = ()) -> Candidate:
    """Read "Thought: ... / Action: ..." tolerantly; the action is "" where none is found.

    Markdown, code fences, JSON objects, missing labels and other capitals are survived. Where the
    admissible actions are known, the action is given their spelling, and one that prose alone
    mentions is taken. JSON that is cut off, or whose action is null, has none.
    """
    plain = _FENCE.sub("", text).strip()
    fields, is_json = _json_fields(plain), plain.startswith("{")
    if fields is not None:
        thought, action = fields
    else:
        thought, action = _labelled(plain)
    thought = " ".join(thought.split()).strip("*_` ")
    action = _admissible(" ".join(action.split()).strip("*_`\"' "), admissible)
    if not action and not is_json and fields is None:
        mentioned = [a for a in admissible if re.search(rf"\b{re.escape(a)}\b", plain, re.I)]
        longest = max(mentioned, key=len, default="")
        action = longest if all(a in longest for a in mentioned) else ""
    return Candidate(thought=thought or action, action=action)


def _json_fields(text: str) -> tuple[str, str] | None:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end <= start:
        return None
    try:
        value: Any = cleaned(json.loads(text[start : end + 1]))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    lower = {str(key).lower(): value[key] for key in value}
    if "action" not in lower:
        return None
    return str(lower.get("thought") or lower.get("reasoning") or ""), str(lower["action"] or "")


def _labelled(text: str) -> tuple[str, str]:
    """(thought, action) by the first labels of each; text before an action label is the thought."""
    action_at = _ACTION.search(text)
    head = text[: action_at.start()] if action_at else text
    thought_at = _THOUGHT.search(head)
    thought = head[thought_at.end() :] if thought_at else head
    if action_at is None:
        return thought, ""
    rest = text[action_at.end() :].strip()
    if not thought.strip() and (late := _THOUGHT.search(rest)):
        return rest[late.end() :], rest[: late.start()]
    return thought, rest.splitlines()[0] if rest else ""


def _admissible(action: str, admissible: Sequence[str]) -> str:
    def plain(words: str) -> str:
        return words.lower().strip(" .!,;:")

    for known in admissible:
        if plain(known) == plain(action):
            return known
    return action


def distinct(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates without later ones of the same action (of the same thought, where none).

    Those without an action come last, so that none is taken before one that can be played.
    """
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        seen.setdefault(candidate.action or f"\n{candidate.thought}", candidate)
    return tuple(sorted(seen.values(), key=lambda candidate: not candidate.action))


def proposal_counts(
    candidates: Sequence[Candidate], admissible: Sequence[str] = ()
) -> dict[str, int]:
    """How many answers were read, and how many of them are of little use.

    ``unusable``: no action was found; ``inadmissible``: the action is none of those that are
    offered; ``repeated``: an answer before it has the same action. One may be both of the latter.
    """
    actions = [candidate.action for candidate in candidates if candidate.action]
    offered = set(admissible)
    return {
        "read": len(candidates),
        "unusable": len(candidates) - len(actions),
        "inadmissible": sum(a not in offered for a in actions) if offered else 0,
        "repeated": len(actions) - len(set(actions)),
    }


async def propose(
    client: Client,
    task: str,
    observation: str,
    admissible: Sequence[str] = (),
    *,
    n: int,
    seed: int,
    past: Sequence[Turn] = (),
    temperature: float = 1.0,
    max_tokens: int = 256,
    system: str = "",
    choice: Choice | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Proposal:
    """Ask for ``n`` samples of the next step and read them; at least one candidate comes back.

    With ``choice``, and where ``admissible`` is a list of at most ``MOST_ACTIONS``, the answers are
    held to it, and ``choice.system`` stands for ``system``. A model that refuses, or whose prompt
    is too long, has answered with nothing: the candidate is empty, and the step is lost but not the
    run. With ``tools`` (as in ``Request``) the answers are
    calls, in the words that importers have for them; ``choice`` is then of no account.

    Raises:
        ClientError: the failure may pass (retries are exhausted) or would hit every request.
    """
    offered = list(dict.fromkeys(admissible))
    if choice is not None and not 0 < len(offered) <= MOST_ACTIONS:
        choice = None
    if tools:
        choice, messages = None, build_conversation(task, observation, past, system)
    else:
        asked = choice.system if choice else system
        messages = build_messages(task, observation, admissible, past, asked)
    request = Request(
        messages=messages,
        n=n,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        response_format=choice.form(offered) if choice else None,
        tools=tuple(tools),
    )
    completions, error = await _samples(client, request)
    read = _called if tools else partial(_spoken, admissible)
    answers = [read(done) for done in completions]
    for _ in range(choice.rounds if choice else 0):
        left = [a for a in offered if a not in {answer.action for answer in answers}]
        missing = min(n - (len(offered) - len(left)), len(left))
        if error or missing < 1:
            break
        assert choice is not None
        more = replace(
            request, n=missing, first=len(completions), response_format=choice.form(left)
        )
        found, error = await _samples(client, more)
        completions += found
        answers += [read(done) for done in found]
    return _proposal(answers, completions, error, admissible)


def _proposal(
    answers: Sequence[Candidate],
    completions: Sequence[Completion],
    error: str,
    admissible: Sequence[str],
) -> Proposal:
    """What the answers amount to; ``completions`` are what they were read from."""
    candidates = distinct(answers) or (Candidate(thought=""),)
    said = Counter(answer.action for answer in answers)
    messages_of: dict[str, Message] = {}
    for answer, done in zip(answers, completions, strict=True):
        if done.message is not None and answer.action:
            messages_of.setdefault(answer.action, done.message)
    return Proposal(
        candidates,
        tuple(completions),
        error,
        proposal_counts(answers, admissible),
        tuple(said[candidate.action] for candidate in candidates),
        messages_of,
    )


def _spoken(admissible: Sequence[str], done: Completion) -> Candidate:
    return parse_answer(done.text, admissible)


def _called(done: Completion) -> Candidate:
    """A call, or words, as the importers have it; a call whose arguments are none has no action."""
    calls = (done.message or {}).get("tool_calls") or ()
    told = [parse_arguments(call["function"].get("arguments")) for call in calls]
    if not all(isinstance(arguments, Mapping | None) for arguments in told):
        return Candidate(thought=done.text)
    found = candidate_in(done.message or done.text)
    return Candidate(thought=clean(found.thought), action=clean(found.action))


async def _samples(client: Client, request: Request) -> tuple[list[Completion], str]:
    """The samples that came, and why others are missing, or ""."""
    try:
        return await client.complete(request), ""
    except ClientError as failure:
        if failure.stops_run or failure.kind == "exhausted":
            raise
        return [failure.completions[i] for i in sorted(failure.completions)], str(failure)
