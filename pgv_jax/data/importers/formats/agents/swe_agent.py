"""SWE-agent's trajectories: ``.traj`` files with thought, action and observation of every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation.messages import message_turns
from pgv_jax.data.importers.outcomes.outcome import outcome_of, with_outcome
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step

KEPT = ("response", "state", "execution_time", "extra_info")


def _is_step(step: Any) -> bool:
    return isinstance(step, Mapping) and {"action", "observation"} <= set(step)


class SWEAgent(RecordImporter):
    """The task is the file's name: attempts of several runs at one instance belong together."""

    name = "swe-agent"
    about = "SWE-agent trajectories (.traj: trajectory, history, info)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of a trajectory of steps with action and observation beside an info."""
        for record in sample.objects:
            steps = record.get("trajectory")
            if isinstance(steps, list) and steps and all(_is_step(step) for step in steps[:20]):
                return Detection(1.0, "'trajectory' holds steps with action and observation")
        return NO

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a trajectory."""
        rows = record.get("trajectory") if isinstance(record, Mapping) else None
        if not isinstance(rows, list):
            raise FieldError("trajectory", f"must be a list, not {kind_of(rows)}")
        asked = _prompt(record, rows, options)
        steps, seen = [], asked
        for t, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise FieldError(f"trajectory[{t}]", f"must be an object, not {kind_of(row)}")
            action = text_field(row.get("action") or "", f"trajectory[{t}].action").strip()
            thought = text_field(row.get("thought") or "", f"trajectory[{t}].thought").strip()
            own = bool(thought) and thought != action
            metadata = {"thought_from": "reasoning" if own else "action"}
            metadata.update({key: row[key] for key in KEPT if row.get(key) not in (None, "")})
            steps.append(Step(seen, thought or action, action, metadata=metadata))
            seen = text_field(row.get("observation") or "", f"trajectory[{t}].observation").strip()
        alone = where.index == 0
        about = {"instance_id": stem_of(where.path), **record} if alone else dict(record)
        task_id, task = identity.name_task(about, asked, options)
        rest = identity.leftover(record, ("trajectory", "replay_config"))
        name = stem_of(where.path) if alone else where.episode_id
        facts: dict[str, Any] = {"format": "swe-agent", "record": rest}
        episode = Episode(name, task_id, task, tuple(steps), seen, metadata=facts)
        return [with_outcome(episode, outcome_of(record))]


def _prompt(record: Mapping[str, Any], rows: list[Any], options: Options) -> str:
    """What the agent was asked: the last words of the user before its first turn, no example."""
    query = rows[0].get("query") if rows and isinstance(rows[0], Mapping) else None
    for messages in (record.get("history"), query):
        said = ""
        for i, message in enumerate(messages if isinstance(messages, list) else ()):
            if not isinstance(message, Mapping) or message.get("is_demo"):
                continue
            (turn, *_) = message_turns(message, f"history[{i}]", options.tally)
            if turn.role == "assistant":
                break
            said = turn.text if turn.role == "user" else said
        if said:
            return said.strip()
    return ""
