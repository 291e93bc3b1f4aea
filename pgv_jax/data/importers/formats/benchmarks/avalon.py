"""Avalon games of people (the Avalon-NLU layout): users with hidden roles, messages, beliefs.

One episode a player that is the agent (``--agent ROLE``, ``player-N`` or ``all``; merlin by
default). The agent sees the table's messages and what its role may know, never the other roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.outcomes.outcome import Outcome, with_outcome
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step

EVIL = ("assassin", "morgana", "mordred", "minion", "oberon")
OUTCOME = re.compile(r"evil wins|evil has failed|forces of good win|good wins|and wins", re.I)
GOOD_WINS = re.compile(r"forces of good win|good wins", re.I)


class Avalon(RecordImporter):
    """Records with users, messages and beliefs of one game."""

    name = "avalon"
    about = "Avalon games (users, messages, beliefs); --agent names the role, merlin by default"

    def detect(self, sample: Sample) -> Detection:
        """Sure of users with a role beside messages with a player."""
        for record in sample.objects:
            users, messages = record.get("users"), record.get("messages")
            if isinstance(users, Mapping) and isinstance(messages, Mapping):
                roles = [u.get("role") for u in users.values() if isinstance(u, Mapping)]
                if any(_base(str(role)) in EVIL for role in roles):
                    return Detection(1.0, f"users with the roles {', '.join(map(str, roles))}")
        return NO

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return an episode for every player that is the agent."""
        if not isinstance(record, Mapping):
            raise FieldError("game", f"must be an object, not {kind_of(record)}")
        roles = _roles(record)
        wanted = options.agent or "merlin"
        players = [
            name for name, role in roles.items() if wanted in ("all", name, role, _base(role))
        ]
        if not players:
            raise FieldError(
                "users", f"nobody is '{wanted}'; there are {', '.join(roles.values())}"
            )
        made = [_episode(record, roles, player, where) for player in players]
        return [episode for episode in made if episode.steps] or made  # some say nothing


def _base(role: str) -> str:
    return re.sub(r"-\d+$", "", role)


def _roles(record: Mapping[str, Any]) -> dict[str, str]:
    users = record.get("users")
    if not isinstance(users, Mapping):
        raise FieldError("users", f"must be an object, not {kind_of(users)}")
    roles = {}
    for key, user in users.items():
        if not isinstance(user, Mapping):
            raise FieldError(f"users.{key}", f"must be an object, not {kind_of(user)}")
        name = text_field(user.get("name"), f"users.{key}.name")
        roles[name] = text_field(user.get("role"), f"users.{key}.role")
    return roles


def knowledge(roles: Mapping[str, str], player: str) -> str:
    """What a player knows before the first word, by the rules of the game."""
    own = _base(roles[player])
    others = {name: _base(role) for name, role in roles.items() if name != player}
    seen: list[str] = []
    if own == "merlin":
        seen = [n for n, r in others.items() if r in EVIL and r != "mordred"]
        told = f"The evil players are {', '.join(seen)}."
    elif own == "percival":
        seen = [n for n, r in others.items() if r in ("merlin", "morgana")]
        told = f"Merlin is one of {', '.join(seen)}."
    elif own in EVIL and own != "oberon":
        seen = [n for n, r in others.items() if r in EVIL and r != "oberon"]
        told = f"The other evil players are {', '.join(seen)}."
    else:
        told = ""
    return f"You are {player}. Your role is {own}." + (f" {told}" if seen else "")


def _episode(
    record: Mapping[str, Any], roles: Mapping[str, str], player: str, where: Where
) -> Episode:
    messages = record.get("messages")
    if not isinstance(messages, Mapping):
        raise FieldError("messages", f"must be an object, not {kind_of(messages)}")
    labels = record.get("persuasion")
    by_message = {
        label.get("mid"): {k: label.get(k) for k in ("persuasion", "deception")}
        for label in (labels.values() if isinstance(labels, Mapping) else ())
        if isinstance(label, Mapping)
    }
    heard = [knowledge(roles, player)]
    steps: list[Step] = []
    outcome = ""
    for key, message in messages.items():
        if not isinstance(message, Mapping):
            raise FieldError(f"messages.{key}", f"must be an object, not {kind_of(message)}")
        speaker = text_field(message.get("player"), f"messages.{key}.player")
        said = text_field(message.get("msg"), f"messages.{key}.msg")
        if speaker == "system" and OUTCOME.search(said):
            outcome = said
        elif speaker == player or (
            speaker == "system" and said.startswith(f"{player} proposed a party:")
        ):
            action = said.split("proposed a party:", 1)[-1].strip() if speaker == "system" else said
            act = f"propose[{action}]" if speaker == "system" else f"say[{action}]"
            metadata: dict[str, Any] = {
                "thought_from": "words",
                **{k: message.get(k) for k in ("mid", "quest", "turn")},
                **{k: v for k, v in by_message.get(message.get("mid"), {}).items() if v},
            }
            words = f"Propose the party {action}." if speaker == "system" else said
            steps.append(Step("\n".join(heard), words, act, metadata=metadata))
            heard = []
        else:
            heard.append(said if speaker == "system" else f"{speaker}: {said}")
    evil = _base(roles[player]) in EVIL
    won = None if not outcome else bool(GOOD_WINS.search(outcome)) != evil
    game = where.episode_id if where.index else where.path.name.split(".")[0]
    side = "evil" if evil else "good"
    episode = Episode(
        episode_id=f"{game}:{player}",
        task_id=game,
        task=f"Play the game Avalon as {_base(roles[player])}, so that {side} wins.",
        steps=tuple(steps),
        final_observation="\n".join(heard),
        metadata={
            "format": "avalon",
            "player": player,
            "roles": dict(roles),
            "outcome_text": outcome,
            "beliefs": list((record.get("beliefs") or {}).values())
            if isinstance(record.get("beliefs"), Mapping)
            else [],
        },
    )
    return with_outcome(episode, Outcome(success=won))
